"""Each value of the chart reaches its place."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.chart.rendering import NAME, NAMESPACE, Chart, at
from tools.pages import chart_values

POD = "spec.template.spec"
CONTAINER = f"{POD}.containers.0"
PEM = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"
SAME = object()


@dataclass(frozen=True)
class Reach:
    """Where a value stands: an object, a path in it, and what stands there, the value itself unless given."""

    value: Any
    kind: str
    path: str
    expected: Any = SAME
    beside: dict[str, Any] = field(default_factory=dict)

    @property
    def there(self) -> Any:
        """What is expected at the path; as an element where there is a list."""
        return self.value if self.expected is SAME else self.expected


def _argument(value: Any, argument: str) -> Reach:
    return Reach(value, "Deployment", f"{CONTAINER}.args", argument)


def _pod(value: Any, name: str) -> Reach:
    return Reach(value, "Deployment", f"{POD}.{name}")


def _container(value: Any, name: str, expected: Any = SAME) -> Reach:
    return Reach(value, "Deployment", f"{CONTAINER}.{name}", expected)


def _webhook(value: Any, path: str, expected: Any = SAME) -> Reach:
    return Reach(value, "ValidatingWebhookConfiguration", f"webhooks.0.{path}", expected)


def _scraped(kind: str, name: str, endpoints: str) -> dict[str, Reach]:
    enabled = {f"metrics.{name}.enabled": True}
    endpoint = f"spec.{endpoints}.0"
    rule = [{"action": "labeldrop", "regex": "pod"}]
    return {
        f"metrics.{name}.enabled": Reach(True, kind, f"{endpoint}.path", "/metrics"),
        f"metrics.{name}.labels": Reach({"release": "main"}, kind, "metadata.labels", beside=enabled),
        f"metrics.{name}.interval": Reach("5s", kind, f"{endpoint}.interval", beside=enabled),
        f"metrics.{name}.scrapeTimeout": Reach("4s", kind, f"{endpoint}.scrapeTimeout", beside=enabled),
        f"metrics.{name}.relabelings": Reach(rule, kind, f"{endpoint}.relabelings", beside=enabled),
        f"metrics.{name}.metricRelabelings": Reach(rule, kind, f"{endpoint}.metricRelabelings", beside=enabled),
    }


AUTOSCALED = {"autoscaling.enabled": True}
GUARDED = {"networkPolicy.enabled": True}
CERT_MANAGER = {"certificates.certManager.enabled": True}
DASHBOARD = {"metrics.dashboard.enabled": True}
PEER = [{"podSelector": {"matchLabels": {"app": "prometheus"}}}]
EXPRESSION = {"key": "team", "operator": "Exists"}
CONDITION = {"name": "no-jobs", "expression": "true"}
VOLUME = {"name": "more", "emptyDir": {}}
MOUNT = {"name": "more", "mountPath": "/more"}
SPREAD = {"topologyKey": "rack", "maxSkew": 2, "whenUnsatisfiable": "DoNotSchedule"}

REACHES: dict[str, Reach] = {
    "nameOverride": Reach("bounds", "Deployment-bounds", "metadata.labels", {"app.kubernetes.io/name": "bounds"}),
    "fullnameOverride": Reach(f"{NAME}-2", "Deployment-2", "metadata.name"),
    "namespaceOverride": Reach("elsewhere", "Deployment", "metadata.namespace"),
    "commonLabels": Reach({"team": "ml"}, "Deployment", "spec.template.metadata.labels"),
    "commonAnnotations": Reach({"owner": "ml"}, "Service", "metadata.annotations"),
    "image.registry": _container("host:5000/ml", "image", f"host:5000/ml/{NAME}:0.1.0"),
    "image.repository": _container("webhook", "image", "webhook:0.1.0"),
    "image.tag": _container("2", "image", f"{NAME}:2"),
    "image.digest": _container(f"sha256:{'0' * 64}", "image", f"{NAME}@sha256:{'0' * 64}"),
    "image.pullPolicy": _container("Always", "imagePullPolicy"),
    "imagePullSecrets": _pod([{"name": "registry"}], "imagePullSecrets"),
    "server.namespaces": _argument("none", "--namespaces=none"),
    "server.namespaceTemplate": _argument("{domain}.{project}", "--namespace-template={domain}.{project}"),
    "server.domains": _argument(["dev", "prod"], "--domains=dev,prod"),
    "server.host": _argument("::", "--host=::"),
    "server.port": _argument(10250, "--port=10250"),
    "server.managementPort": _argument(9090, "--management-port=9090"),
    "server.maxInFlight": _argument(12_000_000, "--max-in-flight=12000000"),
    "server.drainSeconds": _argument(2.5, "--drain-seconds=2.5"),
    "server.keepAliveSeconds": _argument(100, "--keep-alive-seconds=100"),
    "server.connectionMaxRequests": _argument(7, "--connection-max-requests=7"),
    "server.connectionMaxAgeSeconds": _argument(8, "--connection-max-age-seconds=8"),
    "server.tlsMinVersion": _argument("1.3", "--tls-min-version=1.3"),
    "server.metricsByProject": _argument(True, "--metrics-by-project"),
    "server.logLevel": _argument("debug", "--log-level=debug"),
    "server.logFormat": _argument("text", "--log-format=text"),
    "extraArgs": _argument(["--log-level=error"], "--log-level=error"),
    "extraEnv": _container([{"name": "A", "value": "b"}], "env"),
    "extraEnvFrom": _container([{"configMapRef": {"name": "a"}}], "envFrom"),
    "extraVolumes": Reach([VOLUME], "Deployment", f"{POD}.volumes", VOLUME),
    "extraVolumeMounts": Reach([MOUNT], "Deployment", f"{CONTAINER}.volumeMounts", MOUNT),
    "extraObjects": Reach(
        [{"kind": "Lease", "metadata": {"name": "{{ .Release.Name }}-more"}}],
        "Lease-more",
        "metadata.name",
        f"{NAME}-more",
    ),
    "policies.files": Reach({"a.yaml": "# none\n"}, "ConfigMap-policies", "data"),
    "policies.existingConfigMap": Reach("ours", "Deployment", f"{POD}.volumes.0.configMap.name"),
    "policies.rolloutSeconds": _argument(0, "--policy-rollout-seconds=0"),
    "webhooks.failurePolicy": _webhook("Fail", "failurePolicy"),
    "webhooks.timeoutSeconds": _webhook(5, "timeoutSeconds"),
    "webhooks.annotations": Reach({"a": "b"}, "MutatingWebhookConfiguration", "metadata.annotations"),
    "webhooks.namespaces.mode": _webhook(
        "OptOut",
        "namespaceSelector.matchExpressions",
        {"key": "task-resources.io/enforce", "operator": "NotIn", "values": ["disabled"]},
    ),
    "webhooks.namespaces.exclude": _webhook(["calico"], "namespaceSelector.matchExpressions.1.values", "calico"),
    "webhooks.namespaces.matchExpressions": _webhook([EXPRESSION], "namespaceSelector.matchExpressions", EXPRESSION),
    "webhooks.matchConditions": _webhook([CONDITION], "matchConditions", CONDITION),
    "webhooks.url": _webhook("https://10.0.0.1:8443", "clientConfig.url", "https://10.0.0.1:8443/validate"),
    "webhooks.validating.enabled": Reach(False, "ValidatingWebhookConfiguration", "", None),
    "certificates.caBundle": Reach(
        PEM, "ConfigMap-ca-bundle", "data", {"ca.crt": PEM}, beside={"certificates.existingSecret": "ours"}
    ),
    "certificates.existingSecret": Reach(
        "ours",
        "Deployment",
        f"{POD}.volumes.1.projected.sources.0.secret.name",
        beside={"certificates.caBundle": PEM},
    ),
    "certificates.certManager.enabled": Reach(True, "Certificate-serving", "spec.secretName", f"{NAME}-serving"),
    "certificates.certManager.issuerRef": Reach(
        {"name": "platform", "kind": "ClusterIssuer"}, "Certificate-serving", "spec.issuerRef", beside=CERT_MANAGER
    ),
    "certificates.certManager.duration": Reach("48h", "Certificate-serving", "spec.duration", beside=CERT_MANAGER),
    "certificates.certManager.renewBefore": Reach(
        "24h", "Certificate-serving", "spec.renewBefore", beside=CERT_MANAGER
    ),
    "certificates.client.existingSecret": Reach("api", "Deployment", f"{POD}.volumes.2.secret.secretName"),
    "replicas": Reach(3, "Deployment", "spec.replicas"),
    "autoscaling.enabled": Reach(True, "HorizontalPodAutoscaler", "spec.scaleTargetRef.name", NAME),
    "autoscaling.minReplicas": Reach(3, "HorizontalPodAutoscaler", "spec.minReplicas", beside=AUTOSCALED),
    "autoscaling.maxReplicas": Reach(9, "HorizontalPodAutoscaler", "spec.maxReplicas", beside=AUTOSCALED),
    "autoscaling.targetCPUUtilizationPercentage": Reach(
        50, "HorizontalPodAutoscaler", "spec.metrics.0.resource.target.averageUtilization", beside=AUTOSCALED
    ),
    "autoscaling.behavior": Reach(
        {"scaleDown": {"stabilizationWindowSeconds": 60}}, "HorizontalPodAutoscaler", "spec.behavior", beside=AUTOSCALED
    ),
    "podDisruptionBudget.enabled": Reach(False, "PodDisruptionBudget", "", None),
    "podDisruptionBudget.maxUnavailable": Reach("50%", "PodDisruptionBudget", "spec.maxUnavailable"),
    "revisionHistoryLimit": Reach(0, "Deployment", "spec.revisionHistoryLimit"),
    "rollingUpdate": Reach({"maxSurge": 0, "maxUnavailable": 1}, "Deployment", "spec.strategy.rollingUpdate"),
    "terminationGracePeriodSeconds": _pod(25, "terminationGracePeriodSeconds"),
    "resources": _container({"limits": {"memory": "1Gi"}}, "resources"),
    "priorityClassName": _pod("system-cluster-critical", "priorityClassName"),
    "nodeSelector": _pod({"pool": "system"}, "nodeSelector"),
    "tolerations": _pod([{"key": "system", "operator": "Exists"}], "tolerations"),
    "affinity": _pod({"nodeAffinity": {}}, "affinity"),
    "topologySpreadConstraints": Reach([SPREAD], "Deployment", f"{POD}.topologySpreadConstraints.0", SPREAD),
    "hostNetwork": _pod(True, "hostNetwork"),
    "dnsPolicy": _pod("Default", "dnsPolicy"),
    "podLabels": Reach({"a": "b"}, "Deployment", "spec.template.metadata.labels"),
    "podAnnotations": Reach({"a": "b"}, "Deployment", "spec.template.metadata.annotations"),
    "podSecurityContext": _pod({"fsGroup": 65532}, "securityContext"),
    "securityContext": _container({"privileged": False}, "securityContext"),
    "startupProbe": _container({"failureThreshold": 600}, "startupProbe"),
    "livenessProbe": _container({"periodSeconds": 60}, "livenessProbe"),
    "readinessProbe": _container({"timeoutSeconds": 3}, "readinessProbe"),
    "serviceAccount.create": Reach(False, "ServiceAccount", "", None),
    "serviceAccount.name": Reach(f"{NAME}-sa", "ServiceAccount-sa", "metadata.name"),
    "serviceAccount.annotations": Reach({"a": "b"}, "ServiceAccount", "metadata.annotations"),
    "rbac.create": Reach(False, "ClusterRoleBinding", "", None),
    "service.type": Reach("NodePort", "Service", "spec.type"),
    "service.port": Reach(8443, "Service", "spec.ports.0.port"),
    "service.annotations": Reach({"a": "b"}, "Service", "metadata.annotations"),
    "metrics.service.enabled": Reach(False, "Service-metrics", "", None),
    "metrics.service.port": Reach(9090, "Service-metrics", "spec.ports.0.port"),
    "metrics.service.annotations": Reach({"a": "b"}, "Service-metrics", "metadata.annotations"),
    **_scraped("ServiceMonitor", "serviceMonitor", "endpoints"),
    **_scraped("PodMonitor", "podMonitor", "podMetricsEndpoints"),
    "metrics.prometheusRule.enabled": Reach(True, "PrometheusRule", "metadata.namespace", NAMESPACE),
    "metrics.prometheusRule.labels": Reach(
        {"release": "main"}, "PrometheusRule", "metadata.labels", beside={"metrics.prometheusRule.enabled": True}
    ),
    "metrics.dashboard.enabled": Reach(True, "ConfigMap-dashboard", "metadata.labels", {"grafana_dashboard": "1"}),
    "metrics.dashboard.labels": Reach({"a": "b"}, "ConfigMap-dashboard", "metadata.labels", beside=DASHBOARD),
    "metrics.dashboard.annotations": Reach(
        {"folder": "ml"}, "ConfigMap-dashboard", "metadata.annotations", beside=DASHBOARD
    ),
    "networkPolicy.enabled": Reach(True, "NetworkPolicy", "spec.ingress", {"ports": [{"port": "reviews"}]}),
    "networkPolicy.reviewsFrom": Reach(PEER, "NetworkPolicy", "spec.ingress.0.from", beside=GUARDED),
    "networkPolicy.metricsFrom": Reach(PEER, "NetworkPolicy", "spec.ingress.1.from", beside=GUARDED),
    "networkPolicy.egress": Reach([{"to": PEER}], "NetworkPolicy", "spec.egress", beside=GUARDED),
}

# Seen in a certificate, by tests of their own: test_certificates.py.
ELSEWHERE = {"certificates.helm.durationDays", "certificates.helm.renewBeforeDays", "certificates.client.names"}


def test_every_value_is_tried() -> None:
    defaults = {".".join(path): default for path, default, _ in chart_values()}
    assert REACHES.keys() | ELSEWHERE == defaults.keys()
    assert [path for path, reach in REACHES.items() if reach.value == defaults[path]] == []


@pytest.mark.parametrize("path", REACHES)
def test_a_value_reaches_its_place(chart: Chart, path: str) -> None:
    reach = REACHES[path]
    rendered = chart.objects({path: reach.value, **reach.beside})
    found = at(rendered.get(reach.kind), reach.path)
    if isinstance(found, list) and not isinstance(reach.there, list):
        assert reach.there in found
    elif isinstance(found, dict):
        assert reach.there.items() <= found.items()
    else:
        assert found == reach.there
