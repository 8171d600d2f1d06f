"""The chart, and the Helm that renders it."""

from collections.abc import Mapping

import pytest

from tests.chart.rendering import Chart, Json


@pytest.fixture(scope="session")
def chart(programs: Mapping[str, str]) -> Chart:
    """The chart, to be rendered."""
    return Chart(programs["helm"])


@pytest.fixture(scope="session")
def defaults(chart: Chart) -> dict[str, Json]:
    """All objects with the chart's own values."""
    return chart.objects({})
