"""The chart with the Helm that renders it, and what is scraped of a running webhook."""

from collections.abc import Mapping

import pytest

from tests.chart.monitored import scrapes
from tests.chart.rendering import Chart, Json
from tests.prometheus import Scrape


@pytest.fixture(scope="session")
def chart(programs: Mapping[str, str]) -> Chart:
    """The chart, to be rendered."""
    return Chart(programs["helm"])


@pytest.fixture(scope="session")
def defaults(chart: Chart) -> dict[str, Json]:
    """All objects with the chart's own values."""
    return chart.objects({})


@pytest.fixture(scope="session")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Scrape]:
    """What was scraped after each step of tests/chart/monitored.py."""
    return scrapes(tmp_path_factory.mktemp("monitored"))
