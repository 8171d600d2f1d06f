"""`task-resources probe`: what it says of a webhook that answers, and why one does not."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.http_server import Handler, listening
from tests.unit.serving import Server, running
from webhook.certificates import ensure_certificates
from webhook.cli.main import main


def probe(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["probe", *map(str, arguments)])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("server")) as server:
        yield server


def test_a_webhook_that_answers_is_described_by_its_answers(server: Server) -> None:
    result = probe(server.url, "--ca", server.folder / "ca.crt")
    assert result.exit_code == 0, result.output
    mutate, validate = result.stdout.splitlines()
    assert mutate.startswith("/mutate: allowed, ")
    assert validate.startswith("/validate: allowed, no patch; ")
    assert "TLSv1.3, certificate valid until 2" in mutate


def test_the_name_may_be_another_than_the_address(server: Server) -> None:
    address = f"https://127.0.0.1:{server.port}"
    assert probe(address, "--ca", server.folder / "ca.crt", "--name", "localhost").exit_code == 0
    refused = probe(address, "--ca", server.folder / "ca.crt")
    assert refused.exit_code == 1
    assert "IP address mismatch" in refused.stderr
    assert "its certificate is for localhost, was issued by CN=task-resource-webhook CA and ends on 2" in refused.stderr


def test_a_ca_that_is_another_or_the_systems_is_said_to_be_unknown(server: Server, tmp_path: Path) -> None:
    ensure_certificates(tmp_path, ["localhost"])
    for given in ([], ["--ca", tmp_path / "ca.crt"]):
        result = probe(server.url, *given)
        assert result.exit_code == 1
        assert "unable to get local issuer certificate" in result.stderr or "signature failure" in result.stderr


def test_what_is_no_ca_is_named(server: Server) -> None:
    result = probe(server.url, "--ca", server.folder / "policy.yaml")
    assert result.exit_code == 1
    assert "policy.yaml is no PEM certificate" in result.stderr


def test_where_nobody_listens_it_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    result = probe(f"https://127.0.0.1:{port}")
    assert result.exit_code == 1
    assert "nobody listens: no replica is ready, or the port is another one" in result.stderr


def test_the_port_for_probes_is_taken_for_what_it_is(server: Server) -> None:
    result = probe(f"https://localhost:{server.management_port}", "--ca", server.folder / "ca.crt")
    assert result.exit_code == 1
    assert "it does not speak TLS: is it the port for probes and metrics?" in result.stderr


def test_another_path_is_answered_with_the_right_ones(server: Server) -> None:
    result = probe(f"{server.url}/review", "--ca", server.folder / "ca.crt")
    assert result.exit_code == 1
    assert "404 Not Found: /review/mutate is not served here: send reviews to /mutate or /validate" in result.stderr


@pytest.fixture(scope="module")
def mutual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that answers only who has a certificate."""
    folder = tmp_path_factory.mktemp("mutual")
    ensure_certificates(folder, ["localhost"], client="kube-apiserver")
    with running(folder, "--client-ca", str(folder / "ca.crt")) as server:
        yield server


def test_without_a_client_certificate_it_says_that_one_is_wanted(mutual: Server) -> None:
    result = probe(mutual.url, "--ca", mutual.folder / "ca.crt")
    assert result.exit_code == 1
    assert "no review without a client certificate: give --client-cert and --client-key" in result.stderr
    assert probe(mutual.url, "--ca", mutual.folder / "ca.crt", "--refused").exit_code == 0


def test_with_the_client_certificate_it_is_answered(mutual: Server) -> None:
    pair = ["--client-cert", mutual.folder / "client.crt", "--client-key", mutual.folder / "client.key"]
    result = probe(mutual.url, "--ca", mutual.folder / "ca.crt", *pair)
    assert result.exit_code == 0, result.output


def test_a_client_certificate_of_another_ca_is_refused(mutual: Server, tmp_path: Path) -> None:
    ensure_certificates(tmp_path, ["localhost"], client="kube-apiserver")
    pair = ["--client-cert", tmp_path / "client.crt", "--client-key", tmp_path / "client.key"]
    result = probe(mutual.url, "--ca", mutual.folder / "ca.crt", *pair)
    assert result.exit_code == 1
    assert "no TLS connection: " in result.stderr


def test_who_answers_everybody_is_not_taken_for_one_that_refuses(server: Server) -> None:
    result = probe(server.url, "--ca", server.folder / "ca.crt", "--refused")
    assert result.exit_code == 1
    assert "answered without a client certificate" in result.stderr


@contextmanager
def answering(folder: Path, response: dict[str, Any] | str, status: int = 200) -> Iterator[str]:
    """The URL of somebody with the folder's certificate who says so to every review; UID stands for the review's."""

    class Answers(Handler):
        def do_POST(self) -> None:
            uid = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]["uid"]
            review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
            text = response if isinstance(response, str) else json.dumps(review).replace("UID", uid)
            self.answer(status, text.encode())

    with listening(Answers, folder) as port:
        yield f"https://localhost:{port}"


@pytest.mark.parametrize(
    ("response", "status", "reason"),
    [
        ("draining\n", 503, "/mutate: 503 Service Unavailable: draining"),
        ("hello", 200, "/mutate: the answer is no AdmissionReview: hello"),
        ({"uid": "UID"}, 200, "/mutate: the answer is no AdmissionReview: "),
        ({"uid": "other", "allowed": True}, 200, "/mutate: the answer is not to this review: "),
        # [{"op": "remove", "path": "/spec/none"}]
        (
            {"uid": "UID", "allowed": True, "patch": "W3sib3AiOiAicmVtb3ZlIiwgInBhdGgiOiAiL3NwZWMvbm9uZSJ9XQ=="},
            200,
            "the patch cannot be applied: ",
        ),
    ],
    ids=["overloaded", "no JSON", "no verdict", "another uid", "a patch that does not fit"],
)
def test_an_answer_that_the_api_server_would_not_take_is_shown(
    tmp_path: Path, response: dict[str, Any] | str, status: int, reason: str
) -> None:
    ensure_certificates(tmp_path, ["localhost"])
    with answering(tmp_path, response, status) as url:
        result = probe(url, "--ca", tmp_path / "ca.crt")
    assert result.exit_code == 1
    assert reason in result.stderr


def test_a_refused_pod_and_warnings_are_shown_and_are_answers(tmp_path: Path) -> None:
    ensure_certificates(tmp_path, ["localhost"])
    denied = {"uid": "UID", "allowed": False, "status": {"message": "too many"}, "warnings": ["mind"]}
    with answering(tmp_path, denied) as url:
        result = probe(url, "--ca", tmp_path / "ca.crt")
    assert result.exit_code == 0
    assert "/mutate: denied: too many, no patch" in result.stdout
    assert "/mutate: warning: mind" in result.stdout


def test_a_certificate_that_has_ended_is_said_to_have(tmp_path: Path) -> None:
    ensure_certificates(tmp_path, ["localhost"], days=1, now=lambda: datetime(2024, 1, 1, tzinfo=UTC))
    with answering(tmp_path, "") as url:
        result = probe(url, "--ca", tmp_path / "ca.crt")
    assert result.exit_code == 1
    assert "certificate has expired" in result.stderr
    assert "ends on 2024-01-02 00:00 UTC" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["http://localhost"],
        ["localhost:8443"],
        ["https://localhost:port"],
        ["https://localhost/?a=b"],
        ["https://localhost", "--client-cert", "client.crt"],
        ["https://localhost", "--refused", "--client-cert", "client.crt", "--client-key", "client.key"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_meant_is_a_usage_error(arguments: list[str]) -> None:
    assert probe(*arguments).exit_code == 2
