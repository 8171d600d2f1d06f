"""Every panel of the dashboard has an answer: the real promtool asks its queries of what was really scraped."""

import json
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from tests.prometheus import DASHBOARD, TARGET, Promtool, Scrape, panels, queries, series, unknown_names
from tools.dashboard import text

Json = dict[str, Any]

MONITORING = Path(__file__).parents[2] / "docs" / "monitoring.md"
OURS = {panel["title"]: panel for panel in panels() if "apiserver_" not in json.dumps(panel)}


@pytest.mark.parametrize("panel", OURS.values(), ids=OURS)
def test_a_panel_has_an_answer(panel: Json, scraped: Mapping[str, Scrape], promtool: Promtool) -> None:
    given = series(scraped["started"], scraped["certificate refused"], **TARGET, pod="webhook-1")
    promtool.try_queries(given, queries(panel))


@pytest.mark.parametrize("panel", OURS.values(), ids=OURS)
def test_a_panel_names_what_is_scraped(panel: Json, scraped: Mapping[str, Scrape]) -> None:
    known = {sample for each in scraped.values() for sample in each}
    assert [name for target in panel["targets"] for name in unknown_names(target["expr"], known)] == []


@pytest.mark.parametrize("panel", panels(), ids=[panel["title"] for panel in panels()])
def test_a_panel_says_what_it_answers_and_in_which_unit(panel: Json) -> None:
    assert panel["title"]
    assert "?" in panel["description"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]


def test_no_two_panels_are_alike_or_overlap() -> None:
    everything = json.loads(DASHBOARD.read_text())["panels"]
    for one, other in combinations(everything, 2):
        assert one["id"] != other["id"]
        assert one["title"] != other["title"]
        assert not overlap(one["gridPos"], other["gridPos"]), (one["title"], other["title"])


def overlap(one: Json, other: Json) -> bool:
    return all(one[at] < other[at] + other[size] and other[at] < one[at] + one[size] for at, size in ("xw", "yh"))


def test_the_dashboard_is_up_to_date() -> None:
    assert DASHBOARD.read_text() == text(), "run python tools/dashboard.py"


def test_the_page_about_monitoring_says_what_each_panel_answers() -> None:
    rows = [f"| {panel['title']} | {panel['description']} |" for panel in panels()]
    page = MONITORING.read_text().splitlines()
    assert [line for line in page if line in rows] == rows
