"""The certificate that Helm makes, over upgrades of the release in a real cluster."""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from tests.chart.rendering import CHART, run_helm
from tests.e2e.cluster import Cluster
from webhook.certificates import ensure_certificates

pytestmark = pytest.mark.e2e

NAME = "helm-made"


@dataclass(frozen=True)
class Release:
    """The chart in a namespace of its own, whose webhooks nobody else meets."""

    helm: str
    cluster: Cluster
    namespace: str

    def run(self, command: str, *arguments: str, values: Mapping[str, Any] | None = None) -> None:
        """Runs a command of Helm."""
        words = (command, NAME, *arguments, "--namespace", self.namespace)
        result = run_helm(self.helm, *words, values=values, environment=self.cluster.plane.environment)
        assert result.returncode == 0, result.stderr

    def upgrade(self, **values: Any) -> "State":
        """Installs or upgrades, and reads what is there then."""
        only_here = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": [self.namespace]}
        ours = {"webhooks.namespaces.matchExpressions": [only_here], "fullnameOverride": NAME}
        given = {key.replace("__", "."): value for key, value in values.items()}
        self.run("upgrade", str(CHART), "--install", values={**ours, **given})
        return self.state()

    def state(self) -> "State":
        """What the API server has."""
        found = self.cluster.plane.kubectl(
            *("get", f"secret/{NAME}-ca", f"secret/{NAME}-tls", f"mutatingwebhookconfiguration/{NAME}"),
            *("--namespace", self.namespace, "--output", "json"),
        )
        authority, pair, configuration = json.loads(found.stdout)["items"]
        assert pair["data"]["ca.crt"] == authority["data"]["ca.crt"]
        return State(
            _certificate(authority["data"]["ca.crt"]),
            _certificate(pair["data"]["tls.crt"]),
            x509.load_pem_x509_certificates(base64.b64decode(configuration["webhooks"][0]["clientConfig"]["caBundle"])),
        )


@dataclass(frozen=True)
class State:
    """The authority, the certificate, and the authorities that the API server trusts."""

    authority: x509.Certificate
    leaf: x509.Certificate
    trusted: list[x509.Certificate]

    def trusts(self, leaf: x509.Certificate) -> bool:
        """Whether one of the trusted authorities signed it."""
        for authority in self.trusted:
            try:
                leaf.verify_directly_issued_by(authority)
            except (InvalidSignature, ValueError):  # another key; another name
                continue
            return True
        return False


def _certificate(data: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(base64.b64decode(data))


@pytest.fixture
def release(cluster: Cluster, programs: Mapping[str, str]) -> Iterator[Release]:
    release = Release(programs["helm"], cluster, cluster.namespace())
    yield release
    release.run("uninstall")


def test_an_upgrade_keeps_the_certificate_and_its_authority(release: Release) -> None:
    installed = release.upgrade()
    assert installed.trusted == [installed.authority]
    assert installed.trusts(installed.leaf)
    assert release.upgrade(replicas=3) == installed


def test_an_authority_that_ends_soon_is_renewed_and_trusts_what_was_made_before(release: Release) -> None:
    """The days until it counts as soon are more than it lasts: the next upgrade renews."""
    before = release.upgrade()
    after = release.upgrade(certificates__helm__renewBeforeDays=4000)
    assert after.authority != before.authority
    assert after.leaf != before.leaf
    assert after.trusts(before.leaf), "replicas that serve the old certificate"
    assert before.trusts(after.leaf), "API servers that have not seen the new authority"
    release.run("rollback")
    assert release.state() == before


def test_a_new_name_is_signed_by_the_same_authority(release: Release) -> None:
    before = release.upgrade()
    after = release.upgrade(webhooks__url="https://127.0.0.1:8443")
    assert after.authority == before.authority
    assert after.leaf != before.leaf
    assert after == release.upgrade(webhooks__url="https://127.0.0.1:8443")


def test_another_authority_is_trusted_before_it_signs_and_the_old_one_after_that(
    release: Release, tmp_path: Path
) -> None:
    ensure_certificates(tmp_path, ["localhost"])
    new = (tmp_path / "ca.crt").read_text()
    before = release.upgrade()
    old = before.authority.public_bytes(Encoding.PEM).decode()
    prepared = release.upgrade(certificates__caBundle=new)
    assert prepared.leaf == before.leaf
    files = {name: base64.b64encode((tmp_path / name).read_bytes()).decode() for name in ("ca.crt", "ca.key")}
    metadata = {"name": f"{NAME}-ca", "namespace": release.namespace}
    release.cluster.plane.kubectl(
        *("replace", "--filename", "-"),
        given={"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": files},
    )
    switched = release.upgrade(certificates__caBundle=old)
    assert prepared.trusts(switched.leaf)
    assert switched.trusts(before.leaf)
    ended = release.upgrade()
    assert ended.leaf == switched.leaf
    assert ended.trusted == [ended.authority]
    assert ended.authority.public_bytes(Encoding.PEM).decode() == new
