"""Registers the webhook as examples/webhook-configuration.yaml says, and others to see what happens beside it."""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import yaml

from tests.e2e.cluster import Cluster
from tests.e2e.pods import GREEDY, container, pod
from tests.e2e.processes import eventually
from tests.e2e.service import Certificates, Service
from tests.http_server import Handler, listening

Json = dict[str, Any]
FailurePolicy = Literal["Fail", "Ignore"]

EXAMPLE = Path(__file__).parents[2] / "examples" / "webhook-configuration.yaml"
MUTATING = "mutate.task-resources.io"
VALIDATING = "validate.task-resources.io"


def register(cluster: Cluster, service: Service) -> None:
    """Registers the example's webhooks and waits until the API server asks both."""
    mutating, validating = example(service.url, service.certificates, "Fail")
    cluster.registry.create_mutating_webhook_configuration(mutating)
    cluster.registry.create_validating_webhook_configuration(validating)
    _wait_until_asked(cluster)


def example(url: str, certificates: Certificates, failure_policy: FailurePolicy) -> list[Json]:
    """The example's two configurations with what everybody has to change in them, and a failure policy."""
    configurations: list[Json] = list(yaml.safe_load_all(EXAMPLE.read_text()))
    for configuration in configurations:
        for webhook in configuration["webhooks"]:
            path = webhook["clientConfig"]["service"]["path"]
            webhook["clientConfig"] = _client_config(url + path, certificates)
            webhook["failurePolicy"] = failure_policy
    return configurations


@contextmanager
def registered_for(cluster: Cluster, namespace: str, url: str, failure_policy: FailurePolicy) -> Iterator[None]:
    """The example's webhooks once more, at that address and for one namespace only."""
    mutating, validating = example(url, cluster.service.certificates, failure_policy)
    for configuration in (mutating, validating):
        configuration["metadata"]["name"] = namespace
        for webhook in configuration["webhooks"]:
            webhook["namespaceSelector"] = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    cluster.registry.create_mutating_webhook_configuration(mutating)
    cluster.registry.create_validating_webhook_configuration(validating)
    try:
        yield
    finally:
        cluster.registry.delete_mutating_webhook_configuration(namespace)
        cluster.registry.delete_validating_webhook_configuration(namespace)


def trust(cluster: Cluster, name: str, authorities: str) -> None:
    """Has the API server trust these authorities where it asks what `registered_for` registered under that name.

    Waits until it does: a pod of a name that the same change exempts is then reviewed by neither webhook.
    """
    exempted = f"exempted-{uuid4().hex}"
    bundle = base64.b64encode(authorities.encode()).decode()
    expression = f"!has(object.metadata.name) || object.metadata.name != '{exempted}'"
    change = [
        {"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": bundle},
        {"op": "add", "path": "/webhooks/0/matchConditions/-", "value": {"name": exempted, "expression": expression}},
    ]
    cluster.registry.patch_mutating_webhook_configuration(name, change)
    cluster.registry.patch_validating_webhook_configuration(name, change)

    def is_exempted() -> bool:
        answer = cluster.try_out(name, {**GREEDY, "metadata": {"name": exempted}})
        return answer.status == 201 and not answer.warnings

    eventually(is_exempted, "the API server has the new caBundle")


def _wait_until_asked(cluster: Cluster) -> None:
    namespace = cluster.namespace()
    wanted = {f"{webhook}/mode" for webhook in (MUTATING, VALIDATING)}

    def asked() -> bool:
        cluster.try_out(namespace, pod())
        return any(wanted <= event.get("annotations", {}).keys() for event in cluster.plane.audit_events(namespace))

    eventually(asked, "the API server asks both webhooks")


def _client_config(url: str, certificates: Certificates) -> Json:
    return {"url": url, "caBundle": base64.b64encode(certificates.authority.read_bytes()).decode()}


@contextmanager
def another_webhook(
    cluster: Cluster,
    namespace: str,
    patch: Callable[[Json], list[Json]],
    *,
    webhook: str = "another.webhook.example",
    reinvocation: Literal["Never", "IfNeeded"] = "Never",
) -> Iterator[None]:
    """A mutating webhook of somebody else, ordered after ours, that patches the pods of one namespace."""
    certificates = cluster.service.certificates
    name = f"zz-{namespace}"
    with _server(certificates, patch) as url:
        configuration = {
            "metadata": {"name": name},
            "webhooks": [
                {
                    "name": webhook,
                    "admissionReviewVersions": ["v1"],
                    "clientConfig": _client_config(url, certificates),
                    "rules": [
                        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
                    ],
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                    "sideEffects": "None",
                    "reinvocationPolicy": reinvocation,
                }
            ],
        }
        cluster.registry.create_mutating_webhook_configuration(configuration)
        try:
            eventually(lambda: _is_asked(cluster, namespace, name), "the API server asks the other webhook")
            yield
        finally:
            cluster.registry.delete_mutating_webhook_configuration(name)


def _is_asked(cluster: Cluster, namespace: str, configuration: str) -> bool:
    cluster.try_out(namespace, pod(container(limits={"cpu": "1", "memory": "1Gi"})))
    return any(
        json.loads(text)["configuration"] == configuration
        for event in cluster.plane.audit_events(namespace)
        for key, text in event.get("annotations", {}).items()
        if key.startswith("mutation.webhook.admission.k8s.io/")
    )


@contextmanager
def _server(certificates: Certificates, patch: Callable[[Json], list[Json]]) -> Iterator[str]:
    class Answers(Handler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
            operations = patch(request["object"])
            response: Json = {"uid": request["uid"], "allowed": True}
            if operations:
                response |= {
                    "patchType": "JSONPatch",
                    "patch": base64.b64encode(json.dumps(operations).encode()).decode(),
                }
            review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
            self.answer(200, json.dumps(review).encode())

    with listening(Answers, certificates.folder) as port:
        yield f"https://127.0.0.1:{port}/"
