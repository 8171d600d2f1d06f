"""Certificates that are replaced while the API server keeps asking, and an API server that shows one of its own."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.config_map import write_config_map
from tests.e2e.cluster import Answer, Cluster, connected, refusal
from tests.e2e.control_plane import another_api_server
from tests.e2e.deployment import OFTEN_CONNECTED, renewed, secret
from tests.e2e.pods import GREEDY, resources
from tests.e2e.processes import eventually
from tests.e2e.registration import registered_for, trust
from tests.e2e.service import Certificates, Service, serving
from tests.e2e.stream import steady_creations
from webhook.certificates import ensure_certificates

pytestmark = pytest.mark.e2e

Json = dict[str, Any]
Files = dict[str, str]

PAGE = Path(__file__).parents[2] / "docs" / "certificates.md"
NAMES = ["localhost", "127.0.0.1"]

# Pods a second, and how many are enough to see whether one fails.
RATE, SOME = 100.0, 100


@pytest.fixture
def volume(tmp_path: Path, cluster: Cluster) -> Path:
    """A mounted Secret with what the webhook of all tests has, whose CA the API server trusts."""
    volume = tmp_path / "volume"
    volume.mkdir()
    write_config_map(volume, files_of(cluster.service.certificates.folder))
    return volume


def files_of(folder: Path) -> Files:
    return {file.name: file.read_text() for file in folder.iterdir() if file.is_file()}


def made(folder: Path, client: str | None = None) -> Files:
    """A new CA and what it signed."""
    ensure_certificates(folder, NAMES, client=client)
    return files_of(folder)


@pytest.fixture
def rotating(volume: Path, tmp_path: Path) -> Iterator[Service]:
    """A webhook whose connections end after a few requests, so that handshakes never stop."""
    more = {"--tls-ca": volume / "ca.crt", "--tls-name": "127.0.0.1", **OFTEN_CONNECTED}
    with serving(Certificates(volume), tmp_path / "webhook.log", more=more) as service:
        yield service


@pytest.fixture
def namespace(cluster: Cluster, rotating: Service) -> Iterator[str]:
    """A namespace whose pods that webhook alone reviews."""
    namespace = cluster.namespace(labels={})
    with registered_for(cluster, namespace, rotating.url, "Fail"):
        eventually(lambda: is_bounded(cluster.try_out(namespace, GREEDY)), "the API server asks it")
        yield namespace


def is_bounded(answer: Answer) -> bool:
    return answer.status == 201 and resources(answer.body)["main"]["limits"]["cpu"] == "4"


def total(service: Service, name: str, **labels: str) -> float:
    return service.metrics()[f"task_resources_{name}_total", frozenset(labels.items())]


def test_no_pod_fails_while_the_serving_certificate_is_renewed(
    cluster: Cluster, namespace: str, volume: Path, rotating: Service, tmp_path: Path
) -> None:
    new = secret(renewed(cluster.service.certificates, tmp_path / "renewed"))
    with steady_creations(cluster, namespace, per_second=RATE) as stream:
        stream.wait_for_more(SOME)
        write_config_map(volume, new)
        eventually(lambda: rotating.serves(new["tls.crt"]), "the new certificate is served")
        stream.wait_for_more(SOME)
    assert stream.failures == []
    assert total(rotating, "failed_handshakes", reason="alert") == 0


def test_no_pod_fails_while_the_ca_is_replaced_if_both_are_trusted_meanwhile(
    cluster: Cluster, namespace: str, volume: Path, rotating: Service, tmp_path: Path
) -> None:
    old, new = files_of(volume), made(tmp_path / "next")
    both = old["ca.crt"] + new["ca.crt"]
    with steady_creations(cluster, namespace, per_second=RATE) as stream:
        trust(cluster, namespace, both)
        write_config_map(volume, {**old, "ca.crt": both})
        eventually(partial(has_reloaded, rotating, 1), "both are known")
        stream.wait_for_more(SOME)
        write_config_map(volume, {**new, "ca.crt": both})
        eventually(lambda: rotating.serves(new["tls.crt"]), "the new certificate is served")
        stream.wait_for_more(SOME)
        trust(cluster, namespace, new["ca.crt"])
        write_config_map(volume, new)
        eventually(partial(has_reloaded, rotating, 3), "the new one alone is known")
        stream.wait_for_more(SOME)
    assert stream.failures == []
    assert rotating.ask("/readyz").status_code == 200
    assert total(rotating, "failed_handshakes", reason="alert") == 0


def test_a_broken_certificate_is_refused_and_pods_are_created_by_the_old_one(
    cluster: Cluster, namespace: str, volume: Path, rotating: Service, tmp_path: Path
) -> None:
    old, other = files_of(volume), made(tmp_path / "other")
    broken = ({"tls.crt": old["tls.crt"][:300]}, {"tls.key": other["tls.key"]}, {**other, "ca.crt": old["ca.crt"]})
    with steady_creations(cluster, namespace, per_second=RATE) as stream:
        for number, change in enumerate(broken, 1):
            write_config_map(volume, {**old, **change})

            def is_refused(number: int = number) -> bool:
                return total(rotating, "certificate_reloads", result="failure") == number

            eventually(is_refused, "the change is refused")
            stream.wait_for_more(SOME)
    assert stream.failures == []
    assert rotating.serves(old["tls.crt"])
    assert "[+]certificate ok: the last change was refused at " in rotating.ask("/readyz?verbose").text


def examples() -> dict[str, Json]:
    """The files of the page about certificates, by their kind."""
    blocks = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    documents = [yaml.safe_load(block) for block in blocks]
    return {document["kind"]: document for document in documents if "kind" in document}


def admission_configuration(folder: Path, service: Service, client: Path) -> Path:
    """The page's files, with the paths and the address of this test in them."""
    configuration, kubeconfig = examples()["AdmissionConfiguration"], examples()["Config"]
    (user,) = kubeconfig["users"]
    user["name"] = f"127.0.0.1:{service.port}"
    for field in user["user"]:
        user["user"][field] = str(client / Path(user["user"][field]).name)
    for plugin in configuration["plugins"]:
        plugin["configuration"]["kubeConfigFile"] = str(folder / "webhooks.kubeconfig")
    (folder / "webhooks.kubeconfig").write_text(yaml.safe_dump(kubeconfig))
    (folder / "admission.yaml").write_text(yaml.safe_dump(configuration))
    return folder / "admission.yaml"


@contextmanager
def asked_with_certificate(cluster: Cluster, folder: Path, client: Path) -> Iterator[tuple[Cluster, str]]:
    """A cluster whose API server shows a client certificate to a webhook that takes `kube-apiserver` alone.

    Both have it, and its CA, from the folder `client`, and every review is a handshake. The namespace is one whose pods
    that webhook reviews.
    """
    more = {"--client-ca": client / "ca.crt", "--client-name": "kube-apiserver", "--connection-max-requests": 1}
    namespace = cluster.namespace(labels={})
    with (
        serving(cluster.service.certificates, folder / "webhook.log", more=more) as service,
        registered_for(cluster, namespace, service.url, "Fail"),
    ):
        flag = f"--admission-control-config-file={admission_configuration(folder, service, client)}"
        with another_api_server(cluster.plane, folder, flags=[flag]) as plane, connected(plane) as api:
            yield Cluster(plane, service, api), namespace


def test_an_api_server_with_the_client_certificate_is_answered_and_one_without_is_not(
    cluster: Cluster, tmp_path: Path
) -> None:
    ensure_certificates(tmp_path / "client", NAMES, client="kube-apiserver")
    with asked_with_certificate(cluster, tmp_path, tmp_path / "client") as (asking, namespace):
        eventually(lambda: is_bounded(asking.try_out(namespace, GREEDY)), "its pods are bounded")

        def is_told_why() -> bool:
            refused = cluster.try_out(namespace, GREEDY)
            assert refused.status == 500
            return "tls: certificate required" in refused.message  # unless the end of the connection came first

        eventually(is_told_why, "the API server says what it lacks")
        assert total(asking.service, "failed_handshakes", reason="client-certificate") > 0
        assert "Traceback" not in asking.service.log.read_text()


def test_an_api_server_whose_certificate_has_another_name_is_told_so(cluster: Cluster, tmp_path: Path) -> None:
    ensure_certificates(tmp_path / "client", NAMES, client="a-kubelet")
    with asked_with_certificate(cluster, tmp_path, tmp_path / "client") as (asking, namespace):
        refused = eventually(lambda: refusal(asking.try_out(namespace, GREEDY)), "the API server asks")
    assert refused.status == 500
    assert "--client-name accepts no certificate of 'a-kubelet'" in refused.message


def has_reloaded(service: Service, times: int) -> bool:
    return total(service, "certificate_reloads", result="success") == times


def test_the_ca_of_clients_is_replaced_without_a_restart_of_anything(cluster: Cluster, tmp_path: Path) -> None:
    """No pod fails by what the webhook reads; an API server closes its own connections as it takes a certificate."""
    old, new = (made(tmp_path / name, client="kube-apiserver") for name in ("old", "new"))
    both = old["ca.crt"] + new["ca.crt"]
    client = tmp_path / "client"
    client.mkdir()
    write_config_map(client, old)
    with asked_with_certificate(cluster, tmp_path, client) as (asking, namespace):
        eventually(lambda: is_bounded(asking.try_out(namespace, GREEDY)), "its pods are bounded")
        with steady_creations(asking, namespace, per_second=RATE) as stream:
            write_config_map(client, {**old, "ca.crt": both})
            eventually(partial(has_reloaded, asking.service, 1), "both are accepted")
            stream.wait_for_more(SOME)
        assert stream.failures == []
        write_config_map(client, new)
        eventually(partial(has_reloaded, asking.service, 2), "the new one alone is accepted")
        eventually(lambda: is_bounded(asking.try_out(namespace, GREEDY)), "the API server shows the new certificate")
        with steady_creations(asking, namespace, per_second=RATE) as stream:
            stream.wait_for_more(SOME)
        assert stream.failures == []
