"""What is scraped of a running webhook."""

from collections.abc import Mapping

import pytest

from tests.chart.monitored import scrapes
from tests.prometheus import Scrape


@pytest.fixture(scope="session")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Scrape]:
    """What was scraped after each step of tests/chart/monitored.py."""
    return scrapes(tmp_path_factory.mktemp("monitored"))
