"""What all tests share: CI skips nothing and tries the same examples every time; programs are real ones."""

import os
from collections.abc import Generator, Mapping
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import settings

from tests.programs import CHART_TOOLS, CONTROL_PLANE, DEFINITIONS, build
from tests.prometheus import Promtool

IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}

# No deadline: it would judge the machine. The daily loop tries few examples, new ones each time; CI tries many, always
# the same, so that a build fails by a change and never by luck.
settings.register_profile("local", deadline=None, max_examples=40)
settings.register_profile("ci", deadline=None, max_examples=100, derandomize=True, print_blob=True)
# By hand, after a change of the rules: pytest --hypothesis-profile long tests/unit/test_properties.py
settings.register_profile("long", deadline=None, max_examples=3000)
settings.load_profile("ci" if IN_CI else "local")


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not accept: {report.longrepr}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_skip(report)
    return report


# What the tests of a folder run.
NEEDED = {"chart": CHART_TOOLS, "e2e": (*CONTROL_PLANE, *CHART_TOOLS, *DEFINITIONS)}
PROGRAMS = pytest.StashKey[Mapping[str, str]]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Builds what is missing before the first test starts: it takes longer than any test may."""
    here = Path(__file__).parent
    folders = {item.path.relative_to(here).parts[0] for item in session.items if item.path.is_relative_to(here)}
    names = {name for folder in folders for name in NEEDED.get(folder, ())}
    if names and not session.config.option.collectonly:
        capture = session.config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled() if capture else nullcontext():
            session.config.stash[PROGRAMS] = build(sorted(names))


@pytest.fixture(scope="session")
def programs(pytestconfig: pytest.Config) -> Mapping[str, str]:
    """The path of each program, or folder of definitions, that is needed."""
    return pytestconfig.stash[PROGRAMS]


@pytest.fixture
def promtool(programs: Mapping[str, str], tmp_path: Path) -> Promtool:
    """The real promtool."""
    return Promtool(programs["promtool"], tmp_path)
