"""The webhook configurations of the chart are those of the example."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.rendering import NAMESPACE, Chart, Json, at

EXAMPLE = Path(__file__).parents[2] / "examples" / "webhook-configuration.yaml"
MUTATING, VALIDATING = "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"


def test_the_configurations_are_those_of_the_example_with_an_authority(defaults: dict[str, Json]) -> None:
    for example in yaml.safe_load_all(EXAMPLE.read_text()):
        rendered = defaults[example["kind"]]
        assert rendered["metadata"]["name"] == example["metadata"]["name"]
        (webhook,), (expected,) = rendered["webhooks"], example["webhooks"]
        expected["clientConfig"]["caBundle"] = defaults["Secret-tls"]["data"]["ca.crt"]
        assert webhook == expected


def test_a_url_takes_the_place_of_the_service(chart: Chart) -> None:
    rendered = chart.objects({"webhooks.url": "https://webhook.example.com/task-resources"})
    for kind, verb in ((MUTATING, "mutate"), (VALIDATING, "validate")):
        client = at(rendered[kind], "webhooks.0.clientConfig")
        assert client.keys() == {"caBundle", "url"}
        assert client["url"] == f"https://webhook.example.com/task-resources/{verb}"


@pytest.mark.parametrize(
    "values",
    [{}, {"webhooks.namespaces.exclude": ["calico"]}, {"webhooks.namespaces.mode": "OptOut"}],
    ids=["OptIn", "more excluded", "OptOut"],
)
@pytest.mark.parametrize("kind", [MUTATING, VALIDATING])
def test_the_system_and_the_webhook_itself_never_obey(chart: Chart, values: dict[str, Any], kind: str) -> None:
    expressions = at(chart.objects(values)[kind], "webhooks.0.namespaceSelector.matchExpressions")
    (names,) = [each for each in expressions if each["key"] == "kubernetes.io/metadata.name"]
    assert names["operator"] == "NotIn"
    assert {"kube-system", "kube-public", "kube-node-lease", NAMESPACE} <= {*names["values"]}


def test_the_namespace_that_the_pods_are_in_is_the_one_that_never_obeys(chart: Chart) -> None:
    rendered = chart.objects({"namespaceOverride": "elsewhere"})
    expressions = at(rendered[MUTATING], "webhooks.0.namespaceSelector.matchExpressions")
    assert "elsewhere" in expressions[1]["values"]
    assert at(rendered[MUTATING], "webhooks.0.clientConfig.service.namespace") == "elsewhere"


def test_conditions_are_added_to_the_chart_s_own(chart: Chart, defaults: dict[str, Json]) -> None:
    condition = {"name": "no-jobs", "expression": "true"}
    conditions = at(chart.objects({"webhooks.matchConditions": [condition]})[MUTATING], "webhooks.0.matchConditions")
    assert conditions == [*at(defaults[MUTATING], "webhooks.0.matchConditions"), condition]


def test_no_pod_exempts_itself_by_a_label(defaults: dict[str, Json]) -> None:
    for kind in (MUTATING, VALIDATING):
        assert "objectSelector" not in defaults[kind]["webhooks"][0]
