"""What the chart installs."""

from pathlib import Path
from typing import Any

import pytest
import yaml

import webhook
from tests.chart.rendering import CHART, NAME, NAMESPACE, Chart, Json, at
from webhook.cli.serve import serve
from webhook.sources.policy_files import load_policies

RBAC = Path(__file__).parents[2] / "examples" / "rbac.yaml"

POD = "spec.template.spec"
CLUSTER_SCOPED = {"ClusterRole", "ClusterRoleBinding", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"}
PEM = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"

EVERYTHING = {
    "autoscaling.enabled": True,
    "certificates.certManager.enabled": True,
    "certificates.caBundle": PEM,
    "certificates.client.existingSecret": "api",
    "certificates.client.names": ["kube-apiserver"],
    "server.host": "::",
    "server.metricsByProject": True,
    "metrics.serviceMonitor.enabled": True,
    "metrics.prometheusRule.enabled": True,
    "metrics.dashboard.enabled": True,
    "networkPolicy.enabled": True,
}

FEWEST = {"certificates.existingSecret": "ours", "webhooks.url": "https://webhook.example.com"}


def test_a_chart_is_of_the_version_that_it_installs() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == webhook.__version__


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_helm_has_no_complaint(chart: Chart, values: dict[str, Any]) -> None:
    result = chart.run(["lint", "--strict", str(CHART)], values)
    assert result.returncode == 0, result.stdout
    assert "[WARNING]" not in result.stdout


def test_without_values_there_is_what_a_cluster_needs(defaults: dict[str, Json]) -> None:
    assert defaults.keys() == {
        "ClusterRole",
        "ClusterRoleBinding",
        "ConfigMap-policies",
        "Deployment",
        "MutatingWebhookConfiguration",
        "Pod-probe",
        "PodDisruptionBudget",
        "Secret-ca",
        "Secret-tls",
        "Service",
        "Service-metrics",
        "ServiceAccount",
        "ValidatingWebhookConfiguration",
    }


@pytest.mark.parametrize("release", [NAME, "a", "r" * 53])
def test_every_object_has_a_short_name_a_namespace_and_the_usual_labels(chart: Chart, release: str) -> None:
    for document in chart.objects(EVERYTHING, release=release).values():
        metadata = document["metadata"]
        assert len(metadata["name"]) <= 63
        assert metadata.get("namespace") == (None if document["kind"] in CLUSTER_SCOPED else NAMESPACE)
        assert metadata["labels"]["app.kubernetes.io/instance"] == release
        assert metadata["labels"]["app.kubernetes.io/managed-by"] == "Helm"


def test_services_and_budgets_and_rules_of_the_network_are_about_the_pods_of_the_release(chart: Chart) -> None:
    rendered = chart.objects({**EVERYTHING, "podLabels": {"app.kubernetes.io/name": "else"}})
    labels = at(rendered["Deployment"], "spec.template.metadata.labels")
    selectors = [
        at(rendered["Deployment"], "spec.selector.matchLabels"),
        at(rendered["Service"], "spec.selector"),
        at(rendered["Service-metrics"], "spec.selector"),
        at(rendered["PodDisruptionBudget"], "spec.selector.matchLabels"),
        at(rendered["NetworkPolicy"], "spec.podSelector.matchLabels"),
        at(rendered["Deployment"], f"{POD}.topologySpreadConstraints.0.labelSelector.matchLabels"),
    ]
    assert all(selector.items() <= labels.items() for selector in selectors)
    monitored = at(rendered["ServiceMonitor"], "spec.selector.matchLabels").items()
    assert monitored <= rendered["Service-metrics"]["metadata"]["labels"].items()
    assert not monitored <= rendered["Service"]["metadata"]["labels"].items()


def test_a_new_replica_is_ready_before_an_old_one_goes(defaults: dict[str, Json]) -> None:
    assert at(defaults["Deployment"], "spec.replicas") == 2
    assert at(defaults["Deployment"], "spec.strategy.rollingUpdate") == {"maxSurge": 1, "maxUnavailable": 0}


def test_an_autoscaler_is_not_fought(chart: Chart) -> None:
    assert "replicas" not in chart.objects({"autoscaling.enabled": True})["Deployment"]["spec"]


def test_replicas_are_spread_over_nodes_and_zones_where_there_are_some(defaults: dict[str, Json]) -> None:
    spread = at(defaults["Deployment"], f"{POD}.topologySpreadConstraints")
    assert [each["topologyKey"] for each in spread] == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    assert {each["whenUnsatisfiable"] for each in spread} == {"ScheduleAnyway"}


@pytest.mark.parametrize(("drain", "grace"), [(15, 30), (0, 15), (2.5, 18), (120, 135)])
def test_a_replica_has_the_time_to_drain_and_finish(chart: Chart, drain: float, grace: int) -> None:
    rendered = chart.objects({"server.drainSeconds": drain})
    assert at(rendered["Deployment"], f"{POD}.terminationGracePeriodSeconds") == grace


def test_pods_are_restricted(defaults: dict[str, Json]) -> None:
    assert at(defaults["Deployment"], f"{POD}.securityContext") == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert at(defaults["Deployment"], f"{POD}.containers.0.securityContext") == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


@pytest.mark.parametrize("values", [{}, FEWEST, EVERYTHING], ids=["defaults", "fewest", "everything"])
def test_the_server_knows_every_option_that_it_is_given(chart: Chart, values: dict[str, Any]) -> None:
    command, *options = at(chart.objects(values)["Deployment"], f"{POD}.containers.0.args")
    assert command == serve.name
    serve.make_context(command, options)


def test_probes_ask_the_management_port(defaults: dict[str, Json]) -> None:
    container = at(defaults["Deployment"], f"{POD}.containers.0")
    asked = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert asked == {
        "startup": {"path": "/livez", "port": "management"},
        "liveness": {"path": "/livez", "port": "management"},
        "readiness": {"path": "/readyz", "port": "management"},
    }
    assert {"name": "management", "containerPort": 8080} in container["ports"]


def test_the_role_is_that_of_the_example(defaults: dict[str, Json]) -> None:
    _, role, binding = yaml.safe_load_all(RBAC.read_text())
    assert defaults["ClusterRole"]["rules"] == role["rules"]
    assert {key: defaults["ClusterRoleBinding"][key] for key in ("roleRef", "subjects")} == {
        key: binding[key] for key in ("roleRef", "subjects")
    }


@pytest.mark.parametrize("namespaces", ["cluster", "none"])
def test_only_who_follows_namespaces_has_a_token_and_a_role(chart: Chart, namespaces: str) -> None:
    rendered = chart.objects({"server.namespaces": namespaces})
    follows = namespaces == "cluster"
    assert at(rendered["Deployment"], f"{POD}.automountServiceAccountToken") is follows
    assert rendered["ServiceAccount"]["automountServiceAccountToken"] is False
    assert ("ClusterRole" in rendered) == ("ClusterRoleBinding" in rendered) == follows


def test_a_service_account_of_somebody_else_is_bound(chart: Chart) -> None:
    rendered = chart.objects({"serviceAccount.create": False, "serviceAccount.name": "theirs"})
    assert at(rendered["Deployment"], f"{POD}.serviceAccountName") == "theirs"
    assert at(rendered["ClusterRoleBinding"], "subjects.0.name") == "theirs"


def test_without_policies_the_sample_warns_and_changes_nothing(defaults: dict[str, Json], tmp_path: Path) -> None:
    for name, text in defaults["ConfigMap-policies"]["data"].items():
        (tmp_path / name).write_text(text)
    (document,) = load_policies([tmp_path]).documents
    assert document.choices["mode"].value == "Warn"


def test_policies_are_taken_as_they_are_written(chart: Chart) -> None:
    text = "# {{ no template }}\nspec: {container: {max: {cpu: null, memory: 1073741824}}}\n"
    rendered = chart.objects({"policies": {"files": {"a.yaml": text, "taken-away.yaml": None}}})
    assert rendered["ConfigMap-policies"]["data"] == {"a.yaml": text}


def test_policies_of_somebody_else_are_mounted_instead(chart: Chart) -> None:
    assert "ConfigMap-policies" not in chart.objects({"policies.existingConfigMap": "theirs"})


def test_changed_policies_and_certificates_restart_nothing(chart: Chart, defaults: dict[str, Json]) -> None:
    """The second rendering has other certificates, too."""
    changed = chart.objects({"policies": {"files": {"a.yaml": "# none\n"}}})
    assert changed["Secret-tls"] != defaults["Secret-tls"]
    assert changed["Deployment"] == defaults["Deployment"]


@pytest.mark.parametrize(("value", "policy"), [(False, None), (True, "ClusterFirstWithHostNet")])
def test_names_of_the_cluster_are_found_in_the_nodes_network(chart: Chart, value: bool, policy: str | None) -> None:
    assert at(chart.objects({"hostNetwork": value})["Deployment"], f"{POD}.dnsPolicy") == policy


def test_alerts_and_the_dashboard_are_installed_as_they_are(chart: Chart) -> None:
    rendered = chart.objects(EVERYTHING)
    assert rendered["PrometheusRule"]["spec"] == yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
    (dashboard,) = rendered["ConfigMap-dashboard"]["data"].values()
    assert dashboard == (CHART / "files" / "dashboard.json").read_text()


@pytest.mark.parametrize(
    ("namespaces", "egress"),
    [
        pytest.param(
            "cluster",
            [
                {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]},
                {"ports": [{"port": 443}, {"port": 6443}]},
            ],
            id="the API server and DNS",
        ),
        pytest.param("none", [], id="nowhere"),
    ],
)
def test_a_network_policy_lets_reviews_in_and_out_only_what_is_needed(
    chart: Chart, namespaces: str, egress: list[Json]
) -> None:
    policy = chart.objects({"networkPolicy.enabled": True, "server.namespaces": namespaces})["NetworkPolicy"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["ingress"] == [{"ports": [{"port": "reviews"}]}]
    assert policy["egress"] == egress


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({}, "kubectl label namespace NAMESPACE task-resources.io/enforce=enabled"),
        ({}, "The policies are the chart's sample"),
        ({"webhooks.namespaces.mode": "OptOut"}, "task-resources.io/enforce=disabled"),
        ({}, "Every pod that reaches port 8443 may ask for reviews"),
        ({"replicas": 1}, "WARNING: with one replica"),
        ({"webhooks.failurePolicy": "Fail"}, "WARNING: failurePolicy Fail with 2 replicas"),
        ({"webhooks.failurePolicy": "Fail", "replicas": 3}, "WARNING: failurePolicy Fail at the first installation"),
        (
            {"webhooks.failurePolicy": "Fail", "webhooks.namespaces.mode": "OptOut"},
            "WARNING: failurePolicy Fail in all namespaces",
        ),
        ({"webhooks.validating.enabled": False}, "WARNING: without the second look"),
    ],
)
def test_the_notes_say_what_to_do_next_and_what_is_risky(chart: Chart, values: dict[str, Any], text: str) -> None:
    assert text in chart.notes(values)
    assert not text.startswith("WARNING") or text not in chart.notes({})


@pytest.mark.parametrize(
    "values",
    [
        {"networkPolicy.enabled": True, "networkPolicy.reviewsFrom": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]},
        {"certificates.client.existingSecret": "api-servers"},
    ],
    ids=["network-policy", "client-certificates"],
)
def test_the_notes_say_nothing_of_strangers_where_they_are_kept_away(chart: Chart, values: dict[str, Any]) -> None:
    assert "may ask for reviews" not in chart.notes(values)
