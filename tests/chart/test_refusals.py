"""What the chart refuses, and by which words."""

from typing import Any

import pytest

from tests.chart.rendering import NAME, Chart, nested
from tools.pages import chart_values

PEM = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {
                "certificates.certManager.enabled": True,
                "certificates.existingSecret": "a",
                "certificates.caBundle": PEM,
            },
            "certificates.certManager.enabled and certificates.existingSecret: choose one of them",
        ),
        ({"certificates.existingSecret": "a"}, "certificates.existingSecret needs certificates.caBundle"),
        (
            {"certificates.certManager.issuerRef.name": "a"},
            "certificates.certManager.issuerRef is given, but certificates.certManager.enabled is false",
        ),
        ({"certificates.client.names": ["a"]}, "certificates.client.names needs certificates.client.existingSecret"),
        (
            {"policies": {"files": {"a.yaml": ""}, "existingConfigMap": "b"}},
            "policies.files and policies.existingConfigMap: choose one of them",
        ),
        ({"autoscaling.minReplicas": 9}, "autoscaling.minReplicas is above autoscaling.maxReplicas"),
        (
            {"metrics.serviceMonitor.enabled": True, "metrics.podMonitor.enabled": True},
            "metrics.serviceMonitor.enabled and metrics.podMonitor.enabled: choose one",
        ),
        (
            {"metrics.serviceMonitor.enabled": True, "metrics.service.enabled": False},
            "metrics.serviceMonitor.enabled needs metrics.service.enabled",
        ),
        (
            {"terminationGracePeriodSeconds": 24},
            "terminationGracePeriodSeconds is 24, too short for server.drainSeconds: at least 25",
        ),
    ],
    ids=lambda value: value[:60] if isinstance(value, str) else "",
)
def test_values_that_contradict_each_other_are_refused(chart: Chart, values: dict[str, Any], message: str) -> None:
    assert message in chart.refusal(values)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("replica", 3),
        ("image.registy", "a"),
        ("image.digest", "sha256:1"),
        ("fullnameOverride", "Name"),
        ("fullnameOverride", "n" * 51),
        ("server.namespaces", "all"),
        ("server.keepAliveSeconds", 90),
        ("server.namespaceTemplate", "{domain}"),
        ("server.domains", []),
        ("policies.rolloutSeconds", -1),
        ("webhooks.failurePolicy", "ignore"),
        ("webhooks.timeoutSeconds", 31),
        ("webhooks.namespaces.mode", "All"),
        ("webhooks.url", "http://host"),
        ("webhooks.url", "https://host/?a"),
        ("webhooks.url", "https://host/"),
        ("webhooks.matchConditions", [{"name": "a"}]),
        ("webhooks.objectSelector", {"matchLabels": {"a": "b"}}),
        ("certificates.caBundle", "ca.crt"),
        ("certificates.certManager.issuerRef", {"names": "a"}),
        ("certificates.certManager.duration", "90d"),
        ("podDisruptionBudget.maxUnavailable", "half"),
        ("commonLabels", {"a": 1}),
        ("livenessProbe", {"httpGet": {}}),
        ("topologySpreadConstraints", [{}]),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_by_its_name(chart: Chart, path: str, value: Any) -> None:
    refusal = chart.refusal({path: value})
    assert "values don't meet the specifications of the schema" in refusal
    assert path.rpartition(".")[2] in refusal


@pytest.mark.parametrize("name", ["platform", "a/b.yaml", ".hidden.yaml"])
def test_a_policy_file_needs_a_name_that_the_server_reads(chart: Chart, name: str) -> None:
    assert name in chart.refusal({"policies": {"files": {name: ""}}})


def test_every_value_has_its_own_type(chart: Chart) -> None:
    """A list for each value that is none: all are refused at once, and each by its name."""
    wrong: dict[str, Any] = {".".join(path): [[]] for path, default, _ in chart_values()}
    refusal = chart.refusal(wrong)
    assert [path for path in wrong if f"at '/{path.replace('.', '/')}" not in refusal] == []


def test_the_defaults_are_refused_by_an_old_kubernetes(chart: Chart) -> None:
    result = chart.run(["template", NAME, "charts/task-resource-webhook", "--kube-version", "1.32.9"], nested({}))
    assert "1.33.0-0" in result.stderr
