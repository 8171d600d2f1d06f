"""An alert fires when it should and only then: the real promtool tries every rule on what was really scraped."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.prometheus import RULES, TARGET, Alarm, Promtool, Rule, Scrape, rules, series, slowed, unknown_names

Scrapes = Mapping[str, Scrape]

DOCS = Path(__file__).parents[2] / "docs"
ALERTS = rules().values()
OURS = {rule.name: rule for rule in ALERTS if "apiserver_" not in rule.expression}
INSTALLATION = {"job": TARGET["job"], "namespace": TARGET["namespace"]}
DAY = 86400.0

PANICS = ("task_resources_panics_total", frozenset[tuple[str, str]]())
END = ("task_resources_certificate_not_after_timestamp_seconds", frozenset({("which", "serving")}))
LAST_SYNC = ("task_resources_namespaces_last_sync_timestamp_seconds", frozenset[tuple[str, str]]())


def start(scraped: Scrapes) -> float:
    return scraped["started"][LAST_SYNC]


def certificate_end(scraped: Scrapes) -> float:
    return scraped["started"][END]


def as_utc(timestamp: float) -> str:
    """As Go prints a time of whole milliseconds."""
    milliseconds = f".{int(timestamp * 1000) % 1000:03}".rstrip("0.")
    return f"{datetime.fromtimestamp(int(timestamp), UTC):%Y-%m-%d %H:%M:%S}{milliseconds} +0000 UTC"


@dataclass(frozen=True)
class Case:
    """One change of what is scraped: when the alert is still quiet, and when it fires, in minutes after the change.

    `value` is what its annotations make of its value.
    """

    alert: str
    before: str
    after: str | Callable[[Scrapes], Scrape]
    quiet: int
    fires: int
    labels: Mapping[str, str] = field(default_factory=lambda: INSTALLATION)
    value: str | Callable[[Scrapes], str] = ""
    changed_at: Callable[[Scrapes], float] = start


CASES = (
    Case("TaskResourceWebhookAbsent", "reviewed", lambda _: {}, quiet=4, fires=6, labels={}),
    Case(
        "TaskResourceWebhookBug",
        "reviewed",
        lambda scraped: {**scraped["reviewed"], PANICS: 1.0},
        quiet=-1,
        fires=0,
        value="1",
    ),
    Case("TaskResourceWebhookRefusesReviews", "denied", "refusing", quiet=9, fires=20, value="100%"),
    Case(
        "TaskResourceWebhookSlow",
        "started",
        lambda scraped: slowed(scraped["reviewed"], above=0.05),
        quiet=14,
        fires=20,
        value="99.5ms",
    ),
    Case("TaskResourceWebhookPolicyRefused", "without namespaces", "policies refused", quiet=4, fires=6),
    Case(
        "TaskResourceWebhookCertificateEndsSoon",
        "reviewed",
        "reviewed",
        quiet=0,
        fires=70,
        labels={**INSTALLATION, "which": "serving"},
        value=lambda scraped: as_utc(certificate_end(scraped)),
        changed_at=lambda scraped: certificate_end(scraped) - 14 * DAY,
    ),
    Case(
        "TaskResourceWebhookCertificateEnds",
        "reviewed",
        "reviewed",
        quiet=0,
        fires=20,
        labels={**INSTALLATION, "which": "serving"},
        value=lambda scraped: as_utc(certificate_end(scraped)),
        changed_at=lambda scraped: certificate_end(scraped) - 2 * DAY,
    ),
    Case("TaskResourceWebhookCertificateRefused", "policies changed", "certificate refused", quiet=4, fires=6),
    Case(
        "TaskResourceWebhookNamespacesStale",
        "reviewed",
        "reviewed",
        quiet=9,
        fires=16,
        value=lambda scraped: as_utc(start(scraped)),
    ),
    Case("TaskResourceWebhookDenialSurge", "reviewed", "denied", quiet=0, fires=20, value="600"),
)


@pytest.mark.parametrize("case", CASES, ids=[case.alert for case in CASES])
def test_an_alert_fires_when_it_should_and_not_before(case: Case, scraped: Scrapes, promtool: Promtool) -> None:
    after = scraped[case.after] if isinstance(case.after, str) else case.after(scraped)
    value = case.value if isinstance(case.value, str) else case.value(scraped)
    promtool.try_alarms(
        series(scraped[case.before], after, **TARGET, pod="webhook-1"),
        Alarm(case.alert, case.labels, value),
        quiet=case.quiet,
        fires=case.fires,
        changed_at=case.changed_at(scraped),
    )


def test_an_alert_fires_when_one_of_two_replicas_stays_with_its_policies(scraped: Scrapes, promtool: Promtool) -> None:
    before, after = scraped["policies refused"], scraped["policies changed"]
    stays = series(before, before, **TARGET, pod="webhook-1")
    changes = series(before, after, **{**TARGET, "instance": "10.0.0.2:8080"}, pod="webhook-2")
    alarm = Alarm("TaskResourceWebhookPoliciesDiffer", INSTALLATION, "2")
    promtool.try_alarms([*stays, *changes], alarm, quiet=14, fires=16)


def test_no_alert_fires_while_all_is_well(scraped: Scrapes, promtool: Promtool) -> None:
    given = series(scraped["started"], scraped["reviewed"], **TARGET, pod="webhook-1")
    promtool.try_silence(given, rules(), changed_at=start(scraped))


def test_every_alert_about_the_webhook_is_tried() -> None:
    assert {case.alert for case in CASES} | {"TaskResourceWebhookPoliciesDiffer"} == OURS.keys()


def test_promtool_finds_nothing_to_complain_about(promtool: Promtool) -> None:
    result = promtool.run("check", "rules", "--lint=all", "--lint-fatal", str(RULES))
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("rule", OURS.values(), ids=OURS)
def test_an_alert_names_what_is_scraped(rule: Rule, scraped: Scrapes) -> None:
    assert unknown_names(rule.expression, {sample for each in scraped.values() for sample in each}) == []


@pytest.mark.parametrize("rule", ALERTS, ids=rules())
def test_an_alert_says_how_bad_it_is_and_where_the_runbook_goes_on(rule: Rule) -> None:
    assert rule.labels.keys() == {"severity"}
    assert rule.labels["severity"] in {"critical", "warning", "info"}
    assert rule.annotations.keys() == {"summary", "description", "runbook"}
    headings = re.findall(r"^## (.+)$", (DOCS / "runbook.md").read_text(), re.MULTILINE)
    assert rule.annotations["runbook"] in headings


def test_the_page_about_monitoring_has_every_alert_with_its_section_of_the_runbook() -> None:
    page = (DOCS / "monitoring.md").read_text()
    rows = re.findall(r"^\| \[`(\w+)`\]\(runbook\.md#([\w-]+)\) \| (\w+) \|", page, re.MULTILINE)
    assert rows == [(rule.name, anchor(rule.annotations["runbook"]), rule.labels["severity"]) for rule in ALERTS]


def anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_prometheus_accepts_the_scrape_configuration_of_the_page_about_monitoring(
    promtool: Promtool, tmp_path: Path
) -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```", (DOCS / "monitoring.md").read_text(), re.DOTALL | re.MULTILINE)
    (block,) = (block for block in blocks if "scrape_configs:" in block)
    file = tmp_path / "prometheus.yml"
    file.write_text(block)
    (tmp_path / RULES.name).write_text(RULES.read_text())
    result = promtool.run("check", "config", "--lint=all", "--lint-fatal", str(file))
    assert result.returncode == 0, result.stdout + result.stderr
