"""Three ways to a certificate, and what each of them tells the API server and the server."""

import base64
import contextlib
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.chart.rendering import NAME, NAMESPACE, Chart, Json, at

HOST = f"{NAME}.{NAMESPACE}.svc"
PEM = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"
CONFIGURATIONS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
INJECTED = "cert-manager.io/inject-ca-from"
CERT_MANAGER = {"certificates.certManager.enabled": True}
EXISTING = {"certificates.existingSecret": "theirs", "certificates.caBundle": PEM}


def _certificate(secret: Json, key: str = "tls.crt") -> x509.Certificate:
    return x509.load_pem_x509_certificate(base64.b64decode(secret["data"][key]))


def _trusted(rendered: dict[str, Json]) -> list[str | None]:
    bundles = [at(rendered[kind], "webhooks.0.clientConfig").get("caBundle") for kind in CONFIGURATIONS]
    return [bundle and base64.b64decode(bundle).decode() for bundle in bundles]


def _options(rendered: dict[str, Json], *prefixes: str) -> list[str]:
    arguments: list[str] = at(rendered["Deployment"], "spec.template.spec.containers.0.args")
    return [argument for argument in arguments if argument.startswith(prefixes)]


def _sources(rendered: dict[str, Json]) -> list[tuple[str, str, list[str]]]:
    """Where the files in /tls come from: the kind and name of the object, the files."""
    projected = at(rendered["Deployment"], "spec.template.spec.volumes.1.projected.sources")
    return [
        (kind, source["name"], [item["path"] for item in source["items"]])
        for entry in projected
        for kind, source in entry.items()
    ]


def test_helm_makes_a_certificate_that_who_trusts_the_authority_accepts(
    defaults: dict[str, Json], tmp_path: Path
) -> None:
    secret = defaults["Secret-tls"]
    assert secret["type"] == "kubernetes.io/tls"
    for name, data in secret["data"].items():
        (tmp_path / name).write_bytes(base64.b64decode(data))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    client = ssl.create_default_context(cafile=tmp_path / "ca.crt")
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    _shake_hands(server, client, HOST)
    assert _trusted(defaults) == [(tmp_path / "ca.crt").read_text()] * 2


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> None:
    """In memory. Raises ssl.SSLCertVerificationError where the client does not trust the server."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    calling = client.wrap_bio(back, there, server_hostname=host)
    answering = server.wrap_bio(there, back, server_side=True)
    for side in (calling, answering, calling, answering):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    assert calling.getpeercert()


def test_the_authoritys_key_is_in_a_secret_that_no_pod_has(defaults: dict[str, Json]) -> None:
    assert "ca.key" in defaults["Secret-ca"]["data"]
    assert "ca.key" not in defaults["Secret-tls"]["data"]
    assert f"{NAME}-ca" not in str(defaults["Deployment"])


@pytest.mark.parametrize("days", [1, 3650])
def test_a_certificate_of_helm_lasts_as_long_as_the_values_say(chart: Chart, days: int) -> None:
    rendered = chart.objects({"certificates.helm.durationDays": days})
    for secret in (rendered["Secret-ca"], rendered["Secret-tls"]):
        end = datetime.fromisoformat(secret["metadata"]["annotations"]["task-resources.io/not-after"])
        certificate = _certificate(secret, "tls.crt" if "tls.crt" in secret["data"] else "ca.crt")
        assert abs(end - certificate.not_valid_after_utc) < timedelta(seconds=5)
        assert abs(end - datetime.now(UTC) - timedelta(days=days)) < timedelta(minutes=5)


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("", [x509.DNSName(HOST)]),
        ("https://webhook.example.com:8443", [x509.DNSName(HOST), x509.DNSName("webhook.example.com")]),
        ("https://127.0.0.1:8443/a", [x509.DNSName(HOST), "127.0.0.1"]),
        ("https://[::1]:8443", [x509.DNSName(HOST), "::1"]),
    ],
)
def test_a_certificate_has_the_names_by_which_the_api_server_calls(chart: Chart, url: str, names: list[Any]) -> None:
    certificate = _certificate(chart.objects({"webhooks.url": url})["Secret-tls"])
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name if isinstance(name, x509.DNSName) else str(name.value) for name in found] == names
    usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert ExtendedKeyUsageOID.SERVER_AUTH in usages
    issued = chart.objects({"webhooks.url": url, **CERT_MANAGER})["Certificate-serving"]["spec"]
    asked = [*(x509.DNSName(name) for name in issued["dnsNames"]), *issued.get("ipAddresses", [])]
    assert asked == names


@pytest.mark.parametrize(
    ("values", "options"),
    [
        pytest.param({}, ["--tls-ca=/tls/ca.crt", f"--tls-name={HOST}"], id="by the Service's name"),
        pytest.param(
            {"webhooks.url": "https://[::1]:8443"}, ["--tls-ca=/tls/ca.crt", "--tls-name=::1"], id="by the URL's host"
        ),
        pytest.param(
            {"certificates.existingSecret": "theirs", "webhooks.url": "https://webhook.example.com"}, [], id="unknown"
        ),
    ],
)
def test_a_replica_is_ready_when_the_api_server_would_trust_it(
    chart: Chart, values: dict[str, Any], options: list[str]
) -> None:
    assert _options(chart.objects(values), "--tls-ca=", "--tls-name=") == options


def test_reviews_need_a_certificate_of_the_api_server_where_its_authority_is_given(chart: Chart) -> None:
    client = {"certificates.client.existingSecret": "api", "certificates.client.names": ["kube-apiserver", "a:b"]}
    rendered = chart.objects(client)
    assert _options(rendered, "--client-") == [
        "--client-ca=/client-ca/ca.crt",
        "--client-name=kube-apiserver",
        "--client-name=a:b",
    ]
    mounts = at(rendered["Deployment"], "spec.template.spec.containers.0.volumeMounts")
    assert {"name": "client-ca", "mountPath": "/client-ca", "readOnly": True} in mounts
    assert _options(chart.objects({}), "--client-") == []


def test_more_authorities_are_trusted_beside_that_of_helm(chart: Chart) -> None:
    rendered = chart.objects({"certificates.caBundle": PEM})
    authority = base64.b64decode(rendered["Secret-tls"]["data"]["ca.crt"]).decode()
    assert _trusted(rendered) == [authority + PEM] * 2


def test_cert_manager_makes_a_chain_of_its_own_and_injects_it(chart: Chart) -> None:
    rendered = chart.objects(CERT_MANAGER)
    assert at(rendered["Certificate-authority"], "spec.issuerRef.name") == at(
        rendered["Issuer-self-signed"], "metadata.name"
    )
    assert at(rendered["Issuer-authority"], "spec.ca.secretName") == at(
        rendered["Certificate-authority"], "spec.secretName"
    )
    assert at(rendered["Certificate-serving"], "spec.issuerRef.name") == at(
        rendered["Issuer-authority"], "metadata.name"
    )
    for kind in CONFIGURATIONS:
        assert rendered[kind]["metadata"]["annotations"] == {INJECTED: f"{NAMESPACE}/{NAME}-serving"}
    assert _trusted(rendered) == [None, None]
    assert not {"Secret-ca", "Secret-tls"} & rendered.keys()


def test_an_issuer_of_somebody_else_needs_no_chain(chart: Chart) -> None:
    rendered = chart.objects({**CERT_MANAGER, "certificates.certManager.issuerRef.name": "theirs"})
    assert {kind for kind in rendered if kind.startswith(("Issuer", "Certificate"))} == {"Certificate-serving"}


def test_authorities_that_are_given_are_trusted_instead_of_injected_ones(chart: Chart) -> None:
    rendered = chart.objects({**CERT_MANAGER, "certificates.caBundle": PEM})
    assert _trusted(rendered) == [PEM, PEM]
    assert INJECTED not in rendered["MutatingWebhookConfiguration"]["metadata"].get("annotations", {})


def test_an_existing_secret_is_served_and_its_authority_trusted(chart: Chart) -> None:
    rendered = chart.objects(EXISTING)
    assert not {"Secret-ca", "Secret-tls"} & rendered.keys()
    assert _trusted(rendered) == [PEM, PEM]


@pytest.mark.parametrize(
    ("values", "secret", "authority"),
    [
        pytest.param({}, f"{NAME}-tls", ("secret", f"{NAME}-tls"), id="made by Helm"),
        pytest.param({"certificates.caBundle": PEM}, f"{NAME}-tls", ("secret", f"{NAME}-tls"), id="more trusted"),
        pytest.param(CERT_MANAGER, f"{NAME}-serving", ("secret", f"{NAME}-serving"), id="cert-manager"),
        pytest.param(
            {**CERT_MANAGER, "certificates.caBundle": PEM},
            f"{NAME}-serving",
            ("configMap", f"{NAME}-ca-bundle"),
            id="cert-manager without injection",
        ),
        pytest.param(EXISTING, "theirs", ("configMap", f"{NAME}-ca-bundle"), id="existing Secret"),
    ],
)
def test_the_server_has_the_certificate_and_what_the_api_server_trusts(
    chart: Chart, values: dict[str, Any], secret: str, authority: tuple[str, str]
) -> None:
    rendered = chart.objects(values)
    assert _sources(rendered) == [("secret", secret, ["tls.crt", "tls.key"]), (*authority, ["ca.crt"])]
    bundle = rendered.get("ConfigMap-ca-bundle")
    assert (bundle and bundle["data"]) == ({"ca.crt": PEM} if authority[0] == "configMap" else None)


def test_a_certificate_that_everybody_trusts_needs_no_authority(chart: Chart) -> None:
    rendered = chart.objects({"certificates.existingSecret": "theirs", "webhooks.url": "https://webhook.example.com"})
    assert _sources(rendered) == [("secret", "theirs", ["tls.crt", "tls.key"])]
    assert _trusted(rendered) == [None, None]
