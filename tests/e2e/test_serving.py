"""The service from outside, over HTTPS: nothing that comes in takes it down, and many clients are no trouble."""

import json
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.e2e.cluster import Cluster, connected, create
from tests.e2e.pods import APPLIED, GREEDY, annotations, pod, resources
from tests.e2e.service import Service

pytestmark = pytest.mark.e2e

Json = dict[str, Any]

CLIENTS = 40


@pytest.fixture(scope="module")
def outsider(service: Service) -> Iterator[httpx.Client]:
    """A client that is no API server."""
    with service.client() as client:
        yield client


def assert_answers(service: Service) -> None:
    assert "patch" in service.review(GREEDY, "platform-development")
    assert service.ask("/livez").status_code == 200
    assert service.ask("/readyz").status_code == 200


JSON = {"Content-Type": "application/json"}
REVIEW = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}

NONSENSE: list[tuple[str, str, dict[str, str], bytes, int]] = [
    ("a form", "/mutate", {"Content-Type": "application/x-www-form-urlencoded"}, b"a=b", 415),
    ("no content type", "/mutate", {}, b"{}", 415),
    ("no JSON", "/mutate", JSON, b"\x00\xff garbage", 400),
    ("an empty body", "/validate", JSON, b"", 400),
    ("a list", "/mutate", JSON, b"[]", 400),
    ("brackets", "/mutate", JSON, b"[" * 100_000, 400),
    ("another version", "/mutate", JSON, b'{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview"}', 400),
    ("another kind", "/mutate", JSON, json.dumps(pod()).encode(), 400),
    ("no request", "/mutate", JSON, json.dumps(REVIEW).encode(), 400),
    ("no uid", "/mutate", JSON, json.dumps({**REVIEW, "request": {}}).encode(), 400),
    ("no known path", "/", JSON, b"{}", 404),
    ("a path with a slash", "/mutate/", JSON, b"{}", 404),
]


@pytest.mark.parametrize(("path", "headers", "body", "status"), [n[1:] for n in NONSENSE], ids=[n[0] for n in NONSENSE])
def test_nonsense_gets_one_line_of_text_and_the_service_goes_on(
    service: Service, outsider: httpx.Client, path: str, headers: dict[str, str], body: bytes, status: int
) -> None:
    answer = outsider.post(path, content=body, headers=headers)
    assert answer.status_code == status
    assert len(answer.text.splitlines()) == 1
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert_answers(service)


def test_a_body_over_32_mib_is_refused_and_the_service_goes_on(service: Service, outsider: httpx.Client) -> None:
    assert outsider.post("/mutate", content=b" " * (32 * 2**20 + 1), headers=JSON).status_code == 413
    assert_answers(service)


def test_a_client_that_speaks_no_tls_or_hangs_up_disturbs_nobody(service: Service) -> None:
    host, port = service.url.removeprefix("https://").split(":")
    for said in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01"):
        with socket.create_connection((host, int(port)), timeout=5) as plain:
            plain.sendall(said)
    context = ssl.create_default_context(cafile=str(service.certificates.authority))
    with (
        socket.create_connection((host, int(port)), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as half,
    ):
        half.sendall(b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{")
    assert_answers(service)


def test_forty_clients_over_one_pool_of_connections_get_every_pod_bounded(cluster: Cluster) -> None:
    namespace = cluster.namespace()
    with connected(cluster.plane, connections=CLIENTS) as api, ThreadPoolExecutor(CLIENTS) as clients:
        names = [f"task-{number}" for number in range(5 * CLIENTS)]
        tasks = [{**GREEDY, "metadata": {"name": name}} for name in names]
        answers = list(clients.map(lambda task: create(api, namespace, task), tasks))
    assert {answer.status for answer in answers} == {201}
    stored = cluster.pods(namespace)
    assert {each["metadata"]["name"] for each in stored} == {*names}
    for each in stored:
        assert resources(each)["main"]["limits"] == {"cpu": "4", "memory": "1Gi"}
        assert APPLIED in annotations(each)
