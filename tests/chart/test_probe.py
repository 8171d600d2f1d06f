"""The pod that `helm test` runs: asks the webhook as the API server does, however that is configured."""

from typing import Any

import pytest

from tests.chart.rendering import Chart, Json, at
from webhook.cli.probe import probe

PEM = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"
SERVICE = "https://task-resource-webhook.task-resources.svc:443"
URL = "https://webhook.example.com"


@pytest.mark.parametrize(
    ("values", "arguments", "source"),
    [
        pytest.param({}, [SERVICE, "--ca=/tls/ca.crt"], "task-resource-webhook-tls", id="made by Helm"),
        pytest.param(
            {"certificates.certManager.enabled": True},
            [SERVICE, "--ca=/tls/ca.crt"],
            "task-resource-webhook-serving",
            id="cert-manager",
        ),
        pytest.param(
            {"certificates.existingSecret": "ours", "certificates.caBundle": PEM},
            [SERVICE, "--ca=/tls/ca.crt"],
            "task-resource-webhook-ca-bundle",
            id="an existing Secret",
        ),
        pytest.param(
            {"certificates.existingSecret": "ours", "webhooks.url": URL}, [URL], None, id="an authority of the system"
        ),
        pytest.param(
            {"webhooks.url": URL, "service.port": 8443},
            [URL, "--ca=/tls/ca.crt"],
            "task-resource-webhook-tls",
            id="a URL",
        ),
        pytest.param(
            {"service.port": 8443, "certificates.client.existingSecret": "clients"},
            [SERVICE.replace("443", "8443"), "--ca=/tls/ca.crt", "--refused"],
            "task-resource-webhook-tls",
            id="client certificates",
        ),
    ],
)
def test_it_asks_by_the_name_and_the_authority_that_the_api_server_has(
    chart: Chart, values: dict[str, Any], arguments: list[str], source: str | None
) -> None:
    pod = chart.objects(values)["Pod-probe"]
    command, *options = at(pod, "spec.containers.0.args")
    assert command == probe.name
    probe.make_context(command, list(options))
    assert options == arguments
    sources = [part for volume in pod["spec"].get("volumes", []) for part in volume["projected"]["sources"]]
    assert [next(iter(part.values()))["name"] for part in sources] == ([] if source is None else [source])


def test_nobody_takes_it_for_a_replica(defaults: dict[str, Json]) -> None:
    selector = at(defaults["Service"], "spec.selector")
    assert not selector.items() <= at(defaults["Pod-probe"], "metadata.labels").items()


def test_it_is_as_restricted_as_a_replica_and_has_no_token(defaults: dict[str, Json]) -> None:
    replica = at(defaults["Deployment"], "spec.template")
    for path in ("spec.securityContext", "spec.containers.0.securityContext", "spec.containers.0.image"):
        assert at(defaults["Pod-probe"], path) == at(replica, path)
    assert at(defaults["Pod-probe"], "spec.automountServiceAccountToken") is False
