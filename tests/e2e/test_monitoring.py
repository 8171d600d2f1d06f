"""Alerts and panels about the API server's own metrics, tried on what a real one counts when calls go wrong."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, connected
from tests.e2e.control_plane import ControlPlane, another_api_server
from tests.e2e.pods import GREEDY, LIMITS, pod
from tests.e2e.processes import eventually, free_ports
from tests.e2e.registration import MUTATING, VALIDATING, FailurePolicy, another_webhook, registered_for
from tests.prometheus import (
    Alarm,
    Promtool,
    Scrape,
    panels,
    queries,
    rules,
    scrape,
    series,
    slowed,
    unknown_names,
)

pytestmark = pytest.mark.e2e

Json = dict[str, Any]
Scrapes = Mapping[str, Scrape]

UNUSABLE = pod(annotations={LIMITS: "?"})
MIRROR = pod(annotations={"kubernetes.io/config.mirror": "x"}, nodeName="node-1")
UNGUARDED = "object.metadata.labels['kind'] == 'task'"
NO_PATCH = {"op": "remove", "path": "/spec/nothing/here"}

COUNTED = ("apiserver_admission_webhook_", "apiserver_admission_match_condition_")
REJECTIONS = "apiserver_admission_webhook_rejection_count"
FAIL_OPEN = "apiserver_admission_webhook_fail_open_count"
CONDITION_ERRORS = "apiserver_admission_match_condition_evaluation_errors_total"
NOT_CALLED = {"error_type": "calling_webhook_error"}
NOT_USED = {"error_type": "apiserver_internal_error"}

# What becomes of a pod while nobody answers, and what counts it.
AWAY: Sequence[tuple[FailurePolicy, str, str, Mapping[str, str]]] = (
    ("Ignore", "let in", FAIL_OPEN, {}),
    ("Fail", "refused", REJECTIONS, NOT_CALLED),
)

TARGET = {"job": "apiserver", "instance": "10.0.0.9:6443"}
ALERTS = {name: rule.expression for name, rule in rules().items() if "apiserver_" in rule.expression}
PANELS = {panel["title"]: panel for panel in panels() if "apiserver_" in json.dumps(panel)}
EXPRESSIONS = ALERTS | {title: query for title, panel in PANELS.items() for query in queries(panel)}


@pytest.fixture(scope="module")
def scraped(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Scrapes:
    """What an API server that nobody else asks says after each step."""
    with another_api_server(cluster.plane, tmp_path_factory.mktemp("watched")) as plane, connected(plane) as api:
        steps = _steps(cluster, Cluster(plane, cluster.service, api))
        return {step: admission_metrics(plane) for step in steps}


def admission_metrics(plane: ControlPlane) -> Scrape:
    lines = plane.kubectl("get", "--raw", "/metrics").stdout.splitlines()
    return scrape("\n".join(line for line in lines if line.startswith(COUNTED)))


def _steps(cluster: Cluster, watched: Cluster) -> Iterator[str]:
    """What goes wrong; `watched` is the cluster by way of that API server."""
    yield "started"
    namespace = cluster.namespace()
    eventually(lambda: watched.try_out(namespace, UNUSABLE).status == 422, "the API server asks")
    assert watched.try_out(namespace, GREEDY).status == 201
    yield "reviewed"
    with connected(watched.plane, "node") as kubelet:
        Cluster(watched.plane, watched.service, kubelet).try_out(namespace, MIRROR)
    yield "excluded"
    (nobody,) = free_ports(1)
    for failure_policy, step, metric, labels in AWAY:
        namespace = cluster.namespace(labels={})
        with registered_for(cluster, namespace, f"https://127.0.0.1:{nobody}", failure_policy):
            _create_until(watched, namespace, metric, **labels)
        yield step
    namespace = cluster.namespace(labels={})
    with registered_for(cluster, namespace, cluster.service.url, "Ignore"):
        webhook = {"name": MUTATING, "matchConditions": [{"name": "unguarded", "expression": UNGUARDED}]}
        cluster.registry.patch_mutating_webhook_configuration(namespace, {"webhooks": [webhook]})
        _create_until(watched, namespace, CONDITION_ERRORS)
    yield "without a condition"
    operations: list[Json] = []
    namespace = cluster.namespace(labels={})
    with another_webhook(watched, namespace, lambda _: operations, webhook=MUTATING):
        operations.append(NO_PATCH)
        assert watched.try_out(namespace, GREEDY).status == 500
    yield "patch refused"


def _create_until(watched: Cluster, namespace: str, metric: str, **labels: str) -> None:
    """Creates pods until the API server counts it."""

    def is_counted() -> bool:
        watched.try_out(namespace, GREEDY)
        return counted(admission_metrics(watched.plane), metric, MUTATING, **labels) > 0

    eventually(is_counted, f"{metric} is counted")


def counted(scraped: Scrape, metric: str, webhook: str, **labels: str) -> float:
    wanted = {"name": webhook, **labels}.items()
    return sum(value for (name, found), value in scraped.items() if name == metric and wanted <= set(found))


@dataclass(frozen=True)
class Case:
    """What an alert counts, and between which steps that begins; when it is quiet and fires, in minutes after that.

    `minutes` is how long it counts for what it says.
    """

    alert: str
    before: str
    after: str
    metric: str
    labels: Mapping[str, str] = field(default_factory=dict)
    webhooks: tuple[str, ...] = (MUTATING,)
    quiet: int = -1
    fires: int = 0
    minutes: int = 1


CASES = (
    Case("TaskResourceWebhookPatchRefused", "without a condition", "patch refused", REJECTIONS, NOT_USED),
    Case("TaskResourceWebhookCallsFail", "let in", "refused", REJECTIONS, NOT_CALLED, quiet=4, fires=7, minutes=5),
    Case("TaskResourceWebhookFailsOpen", "excluded", "let in", FAIL_OPEN, webhooks=(MUTATING, VALIDATING)),
    Case("TaskResourceWebhookMatchConditionFails", "refused", "without a condition", CONDITION_ERRORS),
)


@pytest.mark.parametrize("case", CASES, ids=[case.alert for case in CASES])
def test_an_alert_fires_when_calls_go_wrong_at_once_where_one_failure_matters(
    case: Case, scraped: Scrapes, promtool: Promtool
) -> None:
    before, after = scraped[case.before], scraped[case.after]
    counts = {webhook: counted(after, case.metric, webhook, **case.labels) for webhook in case.webhooks}
    assert all(count > 0 for count in counts.values())
    assert not any(counted(before, case.metric, webhook, **case.labels) for webhook in counts)
    alarms = [Alarm(case.alert, {"name": name}, f"{case.minutes * count:.0f}") for name, count in counts.items()]
    promtool.try_alarms(series(before, after, **TARGET), *alarms, quiet=case.quiet, fires=case.fires)


def test_an_alert_fires_when_calls_take_long(scraped: Scrapes, promtool: Promtool) -> None:
    slow = slowed(scraped["reviewed"], above=0.5)
    alarms = [Alarm("TaskResourceWebhookCallsSlow", {"name": name}, "995ms") for name in (MUTATING, VALIDATING)]
    promtool.try_alarms(series(scraped["started"], slow, **TARGET), *alarms, quiet=14, fires=20)


def test_no_alert_fires_while_the_api_server_gets_its_answers(scraped: Scrapes, promtool: Promtool) -> None:
    promtool.try_silence(series(scraped["started"], scraped["excluded"], **TARGET), ALERTS)


def test_every_alert_about_calls_is_tried() -> None:
    assert {case.alert for case in CASES} | {"TaskResourceWebhookCallsSlow"} == ALERTS.keys()


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
def test_a_panel_has_an_answer(panel: Json, scraped: Scrapes, promtool: Promtool) -> None:
    promtool.try_queries(series(scraped["started"], scraped["patch refused"], **TARGET), queries(panel))


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_an_expression_names_what_is_scraped(expression: str, scraped: Scrapes) -> None:
    assert unknown_names(expression, scraped["patch refused"]) == []
