"""What all tests share: in CI nothing is skipped, and properties are tried on the same examples every time."""

import os
from collections.abc import Generator

import pytest
from hypothesis import settings

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
