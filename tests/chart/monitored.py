"""What is scraped of a webhook that meets everything an alert or a panel is about, one thing after the other."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.config_map import write_config_map
from tests.e2e.pods import container, pod
from tests.e2e.processes import eventually
from tests.e2e.service import Service, creation, make_certificates, serving
from tests.prometheus import Scrape, scrape
from tests.unit.namespace_server import NamespaceServer, kubeconfig, namespace_server

Json = dict[str, Any]

POLICIES = """\
apiVersion: task-resources.io/v1alpha1
kind: TaskResourcePolicy
metadata: {name: platform}
spec: {container: {min: {cpu: 50m, memory: 16Mi}, max: {cpu: %s, memory: 8Gi, nvidia.com/gpu: 1}}}
---
apiVersion: task-resources.io/v1alpha1
kind: TaskResourcePolicy
metadata: {name: strict}
spec: {scope: {namespace: strict-*}, onExceed: Deny}
"""
GREEDY = pod(container(limits={"cpu": "16", "memory": "64Gi", "nvidia.com/gpu": "2"}))
TINY = pod(container(limits={"cpu": "10m", "memory": "1Mi"}))

# How many reviews of each kind.
REVIEWS = 40


def scrapes(folder: Path) -> Mapping[str, Scrape]:
    """What was scraped after each step."""
    volume = folder / "policies"
    volume.mkdir()
    write_config_map(volume, {"policies.yaml": POLICIES % 4})
    certificates = make_certificates(folder / "certificates")
    with (
        namespace_server("team-development", "strict-development") as cluster,
        serving(
            certificates, folder / "webhook.log", policies=volume, kubeconfig=kubeconfig(folder, cluster.url)
        ) as service,
    ):
        steps = _steps(service, cluster, volume)
        return {step: scrape(service.ask("/metrics").text) for step in steps}


def _steps(service: Service, cluster: NamespaceServer, volume: Path) -> Iterator[str]:
    yield "started"
    answers = [_status(service, given, "team-development") for given in (GREEDY, TINY) for _ in range(REVIEWS // 2)]
    assert set(answers) == {200}
    yield "reviewed"
    assert {_status(service, GREEDY, "strict-development") for _ in range(REVIEWS)} == {200}
    yield "denied"
    assert {_status(service, GREEDY, "unheard-of") for _ in range(REVIEWS)} == {503}
    yield "refusing"
    cluster.failures.append(500)
    cluster.end_watches()
    eventually(lambda: "namespace_failures_total{" in service.ask("/metrics").text, "a failure is counted")
    yield "without namespaces"
    write_config_map(volume, {"policies.yaml": POLICIES % "lots"})
    eventually(lambda: "policy_refused 1.0" in service.ask("/metrics").text, "the policies are refused")
    yield "policies refused"
    write_config_map(volume, {"policies.yaml": POLICIES % 3})
    eventually(lambda: "policy_refused 0.0" in service.ask("/metrics").text, "the policies are in force")
    yield "policies changed"
    service.certificates.pair[0].write_text("no certificate")
    eventually(lambda: "certificate_refused 1.0" in service.ask("/metrics").text, "the certificate is refused")
    yield "certificate refused"


def _status(service: Service, given: Json, namespace: str) -> int:
    with service.client() as client:
        return client.post("/mutate?timeout=2s", json=creation(given, namespace)).status_code
