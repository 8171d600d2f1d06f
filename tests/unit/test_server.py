"""A running server: connections, both ways a review can take through it, deadlines, and a stop that loses nothing."""

import asyncio
import json
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from uvicorn.server import ServerState

from tests.unit.deciding import container, pod, review_body
from tests.unit.namespace_server import NamespaceServer, kubeconfig, namespace_server
from tests.unit.serving import SECONDS, Server, arguments, http, read_answer, running, until
from webhook.app import LARGEST_BODY_BYTES
from webhook.connections import Connections
from webhook.server import Connection, listen

TOO_MUCH = review_body(pod(container(limits={"cpu": "8"})))


def with_uid(number: int) -> bytes:
    return review_body(pod(container(limits={"cpu": "8"})), uid=f"uid-{number}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("server"), "--drain-seconds", "0") as started:
        yield started


def test_a_review_is_answered_over_tls_and_the_connection_is_kept(server: Server) -> None:
    with server.client() as client:
        answers = [client.post("/mutate?timeout=2s", content=with_uid(number)) for number in range(20)]
    assert [answer.json()["response"]["uid"] for answer in answers] == [f"uid-{number}" for number in range(20)]
    assert {answer.headers.get("connection") for answer in answers} == {None}
    assert "server" not in answers[0].headers


def ways(server: Server, body: bytes) -> tuple[httpx.Response, httpx.Response]:
    """The answers to a body with a length, and to one without, which comes in chunks."""
    with server.client() as client:
        return client.post("/mutate", content=body), client.post("/mutate", content=iter([body]))


BODIES = [("changed", TOO_MUCH), ("no-json", b"{"), ("empty", b""), ("no-review", b"{}")]


@pytest.mark.parametrize("body", [case[1] for case in BODIES], ids=[case[0] for case in BODIES])
def test_a_body_in_chunks_is_answered_as_one_whose_length_is_known(server: Server, body: bytes) -> None:
    known, in_chunks = ways(server, body)
    assert (known.status_code, known.content) == (in_chunks.status_code, in_chunks.content)
    names = ("content-type", "content-length")
    assert [known.headers[name] for name in names] == [in_chunks.headers[name] for name in names]


def test_a_body_above_32_mib_is_read_to_its_end_and_answered_413(server: Server) -> None:
    for body in (b" " * (LARGEST_BODY_BYTES + 1), iter([b" " * 2**20] * 33)):
        with server.client() as client:
            answer = client.post("/mutate", content=body, timeout=SECONDS)
        assert (answer.status_code, answer.text) == (413, f"the body is larger than {LARGEST_BODY_BYTES} bytes\n")


def test_a_review_in_many_small_pieces_is_answered(server: Server) -> None:
    with server.connect() as connection, connection.makefile("rb") as stream:
        request = http(TOO_MUCH)
        for start in range(0, len(request), 100):
            connection.sendall(request[start : start + 100])
        answer = read_answer(stream)
    assert answer is not None
    assert answer.status == 200


def test_requests_sent_before_the_last_was_answered_are_answered_in_order(server: Server) -> None:
    chunked = b"POST /mutate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + (
        b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(with_uid(1)), with_uid(1))
    )
    with server.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(http(with_uid(0)) + chunked + http(with_uid(2)) + http(with_uid(3)))
        answers = [read_answer(stream) for _ in range(4)]
    assert [answer.uid for answer in answers if answer is not None] == ["uid-0", "uid-1", "uid-2", "uid-3"]


def test_a_client_that_waits_for_100_continue_gets_it(server: Server) -> None:
    with server.connect() as connection, connection.makefile("rb") as stream:
        head, _, body = http(TOO_MUCH, extra="Expect: 100-continue\r\n").partition(b"\r\n\r\n")
        connection.sendall(head + b"\r\n\r\n")
        assert stream.readline() == b"HTTP/1.1 100 Continue\r\n"
        stream.readline()
        connection.sendall(body)
        answer = read_answer(stream)
    assert answer is not None
    assert answer.status == 200


def test_a_client_that_asks_for_it_has_its_connection_closed(server: Server) -> None:
    with server.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(http(TOO_MUCH, extra="Connection: close\r\n"))
        answer = read_answer(stream)
        assert answer is not None
        assert answer.headers["connection"] == "close"
        assert read_answer(stream) is None


@pytest.mark.parametrize("head_only", [False, True], ids=["part-of-the-body", "the-head-only"])
def test_a_body_that_stops_is_answered_503_within_the_deadline(server: Server, head_only: bool) -> None:
    with server.connect() as connection, connection.makefile("rb") as stream:
        request = http(TOO_MUCH, path="/mutate?timeout=300ms")
        connection.sendall(request.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if head_only else request[:-10])
        answer = read_answer(stream)
        assert answer is not None
        assert (answer.status, answer.body) == (503, b"the body did not arrive within 0.1 s\n")
        assert (answer.headers["retry-after"], answer.headers["connection"]) == ("1", "close")
        assert read_answer(stream) is None


def test_what_is_no_http_is_refused_and_the_next_connection_answered(server: Server) -> None:
    with server.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(b"\x00\x01\x02 nonsense\r\n\r\n")
        answer = read_answer(stream)
        assert answer is not None
        assert answer.status == 400
    with server.client() as client:
        assert client.post("/mutate", content=TOO_MUCH).status_code == 200


def test_a_head_without_end_is_refused(server: Server) -> None:
    with server.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(b"POST /mutate HTTP/1.1\r\n")
        for _ in range(70):
            connection.sendall(b"X-Filler: " + b"x" * 1000 + b"\r\n")
        answer = read_answer(stream)
        assert answer is not None
        assert (answer.status, answer.body) == (400, b"The head of the request is larger than 16384 bytes.")


@pytest.mark.parametrize("sent", [b"", b"POST /mutate HTTP/1.1\r\nHost: "], ids=["nothing", "part-of-a-head"])
def test_a_client_that_sends_no_request_is_not_waited_for(tmp_path: Path, sent: bytes) -> None:
    options = ("--keep-alive-seconds", "1", "--drain-seconds", "0")
    with running(tmp_path, *options) as impatient, impatient.connect() as connection:
        connection.sendall(sent)
        assert connection.recv(1) == b""


def test_what_is_no_tls_gets_nothing_and_the_next_connection_is_answered(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS) as connection:
        connection.sendall(http(TOO_MUCH))
        assert b"HTTP" not in connection.recv(100)
    with server.client() as client:
        assert client.post("/mutate", content=TOO_MUCH).status_code == 200


def test_a_connection_that_breaks_in_the_middle_of_a_review_leaves_nothing_in_flight(server: Server) -> None:
    for _ in range(5):
        with server.connect() as connection:
            connection.sendall(http(TOO_MUCH)[:-10])
    until(lambda: "task_resources_in_flight_reviews 0.0" in server.metrics())


@pytest.fixture(scope="module")
def cluster() -> Iterator[NamespaceServer]:
    with namespace_server() as started:
        yield started


@pytest.fixture(scope="module")
def follower(cluster: NamespaceServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose namespaces are the cluster's."""
    folder = tmp_path_factory.mktemp("follower")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("KUBECONFIG", str(kubeconfig(folder, cluster.url)))
        with running(folder, "--namespaces", "cluster", "--drain-seconds", "0") as started:
            yield started


def of_namespace(name: str) -> bytes:
    return review_body(pod(container(limits={"cpu": "8"})), namespace=name, uid=f"of-{name}")


def unheard_of(cluster: NamespaceServer, *names: str) -> None:
    """Creates namespaces that the watch does not tell of."""
    cluster.namespaces.update({name: {} for name in names})


def test_the_first_pod_of_a_new_namespace_is_answered_on_both_ways_and_the_connection_kept(
    follower: Server, cluster: NamespaceServer
) -> None:
    unheard_of(cluster, "direct", "by-app")
    with follower.client() as client:
        answers = [client.post("/mutate?timeout=2s", content=of_namespace("direct")) for _ in range(2)]
        answers += [client.post("/mutate?timeout=2s", content=iter([of_namespace("by-app")])) for _ in range(2)]
    assert [answer.json()["response"]["uid"] for answer in answers] == ["of-direct"] * 2 + ["of-by-app"] * 2
    assert {answer.headers.get("connection") for answer in answers} == {None}
    assert (cluster.look_ups("direct"), cluster.look_ups("by-app")) == (1, 1)
    assert "task_resources_in_flight_reviews 0.0" in follower.metrics()


def test_requests_behind_one_that_waits_for_a_look_up_are_answered_after_it(
    follower: Server, cluster: NamespaceServer
) -> None:
    unheard_of(cluster, "n1", "n2")
    with follower.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(b"".join(http(of_namespace(name)) for name in ("n1", "n1", "n2", "n1")))
        answers = [read_answer(stream) for _ in range(4)]
    assert [answer.uid for answer in answers if answer is not None] == ["of-n1", "of-n1", "of-n2", "of-n1"]


def test_a_namespace_that_does_not_exist_is_answered_503_and_ends_the_connection(follower: Server) -> None:
    with follower.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(http(of_namespace("nowhere")))
        answer = read_answer(stream)
        assert answer is not None
        assert (answer.status, answer.body) == (503, b"the namespace nowhere does not exist\n")
        assert (answer.headers["retry-after"], answer.headers["connection"]) == ("1", "close")
        assert read_answer(stream) is None


@pytest.mark.parametrize("in_pieces", [False, True], ids=["at-once", "in-pieces"])
def test_a_look_up_that_takes_too_long_is_answered_within_the_deadline(
    follower: Server, cluster: NamespaceServer, in_pieces: bool
) -> None:
    cluster.set_silent(True)
    with follower.connect() as connection, connection.makefile("rb") as stream:
        request = http(of_namespace(f"slow-{in_pieces}".lower()), path="/mutate?timeout=400ms")
        connection.sendall(request[:-10] if in_pieces else request)
        if in_pieces:
            until(lambda: follower.connections()["receiving"] == 1)
            connection.sendall(request[-10:])
        answer = read_answer(stream)
    cluster.set_silent(False)
    assert answer is not None
    assert answer.status == 503
    assert b"and the cluster did not answer in time" in answer.body
    assert "task_resources_in_flight_reviews 0.0" in follower.metrics()


def test_a_review_that_waits_for_a_look_up_at_the_stop_is_answered(tmp_path: Path) -> None:
    with namespace_server() as cluster, pytest.MonkeyPatch.context() as environment:
        environment.setenv("KUBECONFIG", str(kubeconfig(tmp_path, cluster.url)))
        with (
            running(tmp_path, "--namespaces", "cluster", "--drain-seconds", "0") as stopping,
            stopping.connect() as connection,
            connection.makefile("rb") as stream,
        ):
            unheard_of(cluster, "new")
            cluster.set_silent(True)
            connection.sendall(http(of_namespace("new"), path="/mutate?timeout=30s"))
            until(lambda: cluster.look_ups("new") == 1)
            stopping.process.send_signal(signal.SIGTERM)
            until(lambda: is_refused(stopping))
            cluster.set_silent(False)
            answer = read_answer(stream)
            assert answer is not None
            assert (answer.status, answer.headers["connection"], answer.uid) == (200, "close", "of-new")
            stream.close()
            connection.close()  # as the API server does; else it is waited for
            assert stopping.process.wait(SECONDS) == 0


def test_a_review_that_can_be_decided_at_once_is_answered_however_many_wait_for_a_namespace(tmp_path: Path) -> None:
    with namespace_server() as cluster, pytest.MonkeyPatch.context() as environment:
        environment.setenv("KUBECONFIG", str(kubeconfig(tmp_path, cluster.url)))
        cluster.namespaces["known"] = {}
        options = ("--namespaces", "cluster", "--max-in-flight", "1", "--drain-seconds", "0")
        with running(tmp_path, *options) as full, full.connect() as connection, full.client() as client:
            unheard_of(cluster, "waits", "too-many")
            cluster.set_silent(True)
            connection.sendall(http(of_namespace("waits"), path="/mutate?timeout=30s"))
            until(lambda: "task_resources_in_flight_reviews 1.0" in full.metrics())
            assert client.post("/mutate", content=of_namespace("known")).status_code == 200
            refused = client.post("/mutate", content=of_namespace("too-many"))
            cluster.set_silent(False)
    assert refused.status_code == 503
    assert refused.text == "1 reviews are in flight already, the most that --max-in-flight allows\n"


def test_a_kubeconfig_that_cannot_be_read_ends_the_start_and_is_named(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("KUBECONFIG", str(tmp_path / "nowhere"))
        code, said = fails(*arguments(tmp_path, "--namespaces", "cluster"))
    assert code == 1
    assert said.startswith(f"Error: --namespaces cluster: {tmp_path / 'nowhere'}: ")


LARGE = pod(*(container(f"c{number}", limits={"cpu": "8", "memory": "1Gi"}) for number in range(1000)))


def test_a_pod_of_1000_containers_and_a_review_of_17_mb_are_answered(server: Server) -> None:
    annotated = json.loads(review_body(LARGE))
    annotated["request"]["object"]["metadata"]["annotations"] = {"note": "<" * 17_000_000}
    body = json.dumps(annotated).encode()
    assert len(body) > 16 * 2**20
    with server.client() as client:
        response = client.post("/mutate", content=body, timeout=SECONDS).json()["response"]
    assert response["allowed"]
    assert len(response["warnings"]) == 11


def test_tls_1_3_is_spoken_and_1_2_with_those_who_know_no_better(server: Server) -> None:
    assert handshake(server, server.tls) == "TLSv1.3"
    old = server.tls
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert handshake(server, old) == "TLSv1.2"


def handshake(server: Server, tls: ssl.SSLContext) -> str | None:
    plain = socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS)
    with tls.wrap_socket(plain, server_hostname="localhost") as connection:
        return connection.version()


def test_tls_1_3_can_be_demanded(tmp_path: Path) -> None:
    with running(tmp_path, "--tls-min-version", "1.3", "--drain-seconds", "0") as strict:
        assert handshake(strict, strict.tls) == "TLSv1.3"
        old = strict.tls
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(ssl.SSLError):
            handshake(strict, old)


def test_a_connection_ends_by_a_response_after_its_requests(tmp_path: Path) -> None:
    options = ("--connection-max-requests", "10", "--drain-seconds", "0")
    with running(tmp_path, *options) as limited, limited.client() as client:
        answers = [client.post("/mutate", content=TOO_MUCH) for _ in range(60)]
    ends = [number for number, answer in enumerate(answers) if answer.headers.get("connection") == "close"]
    lengths = [after - before for before, after in zip([-1, *ends], ends, strict=False)]
    assert len(lengths) >= 6
    assert all(8 <= length <= 10 for length in lengths)


def test_while_it_drains_it_answers_is_not_ready_and_ends_connections_then_exits_0(tmp_path: Path) -> None:
    with running(tmp_path, "--drain-seconds", "600") as draining, draining.client() as client:
        assert "connection" not in client.post("/mutate", content=TOO_MUCH).headers
        draining.process.send_signal(signal.SIGTERM)
        until(lambda: draining.ready().status_code == 503)
        assert "[-]serving failed: the webhook is draining" in draining.ready().text
        for _ in range(3):
            answer = client.post("/mutate", content=TOO_MUCH)
            assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert draining.stop() == 0  # a second signal ends the draining


def test_a_review_that_is_being_received_at_the_stop_is_answered(tmp_path: Path) -> None:
    with (
        running(tmp_path, "--drain-seconds", "0") as stopping,
        stopping.connect() as connection,
        connection.makefile("rb") as stream,
    ):
        request = http(TOO_MUCH, path="/mutate?timeout=30s")
        connection.sendall(request[:-10])
        until(lambda: stopping.connections()["receiving"] == 1)
        stopping.process.send_signal(signal.SIGTERM)
        until(lambda: is_refused(stopping))
        connection.sendall(request[-10:])
        answer = read_answer(stream)
        assert answer is not None
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        stream.close()
        connection.close()  # as the API server does; else it is waited for
        assert stopping.process.wait(SECONDS) == 0


def is_refused(server: Server) -> bool:
    try:
        socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS).close()
    except ConnectionError:  # refused, or reset in the moment of closing
        return True
    return False


def fails(*command: str) -> tuple[int, str]:
    """The exit code and what it says."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    return done.returncode, done.stderr


def test_a_bad_policy_ends_the_start_with_1_and_every_error(tmp_path: Path) -> None:
    command = arguments(tmp_path)
    (tmp_path / "policy.yaml").write_text(
        "apiVersion: task-resources.io/v1alpha1\nkind: TaskResourcePolicy\nmetadata: {name: a}\n"
        "spec:\n  container: {max: {cpu: '1,5', memory: 0}}\n"
    )
    code, said = fails(*command)
    assert code == 1
    assert "policy.yaml:5: spec.container.max.cpu" in said
    assert "policy.yaml:5: spec.container.max.memory" in said


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with listen("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        code, said = fails(*arguments(tmp_path, "--port", port))
    assert (code, said) == (1, f"Error: --port {port}: cannot listen on 127.0.0.1: Address already in use\n")


def test_a_key_of_another_certificate_is_named(tmp_path: Path) -> None:
    command = arguments(tmp_path)
    (tmp_path / "other").mkdir()
    arguments(tmp_path / "other")
    (tmp_path / "tls.key").write_bytes((tmp_path / "other" / "tls.key").read_bytes())
    code, said = fails(*command)
    assert code == 1
    assert f"{tmp_path / 'tls.key'} is not the key of {tmp_path / 'tls.crt'}" in said


PAIR = ["--policy", "policy.yaml", "--tls-cert", "a", "--tls-key", "b"]
USAGE = [
    ("no-policy", [], "Missing option '--policy'"),
    ("no-certificate", ["--policy", "policy.yaml"], "Missing options '--tls-cert' and '--tls-key'"),
    ("half-a-pair", ["--policy", "policy.yaml", "--tls-cert", "a"], "--tls-cert and --tls-key belong together"),
    ("name-without-ca", [*PAIR, "--tls-name", "a.b.svc"], "--tls-name needs --tls-ca"),
    ("no-name", [*PAIR, "--tls-ca", "a", "--tls-name", "https://a"], "--tls-name 'https://a' is no DNS name"),
    ("client-without-ca", [*PAIR, "--client-name", "a"], "--client-name needs --client-ca"),
    ("dev-elsewhere", ["--dev"], "--dev takes its policies from examples/policies, which is not here"),
    ("port", ["--port", "70000"], "70000 is not in the range 0<=x<=65535"),
]


@pytest.mark.parametrize(("options", "part"), [case[1:] for case in USAGE], ids=[case[0] for case in USAGE])
def test_options_that_cannot_be_used_are_named(tmp_path: Path, options: list[str], part: str) -> None:
    program, policy = arguments(tmp_path)[:4], str(tmp_path / "policy.yaml")
    done = subprocess.run(
        [*program, *(policy if option == "policy.yaml" else option for option in options)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert part in " ".join(done.stderr.split())


def test_options_can_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASK_RESOURCES_PORT", "70000")
    code, said = fails(*arguments(tmp_path)[:4])
    assert code == 2
    assert "TASK_RESOURCES_PORT" in said or "70000" in said


def test_a_connection_that_was_reset_leaves_nothing_that_waits_for_it() -> None:
    async def test() -> None:
        ours, theirs = socket.socketpair()
        config = uvicorn.Config(FastAPI(), lifespan="off", log_config=None, http="httptools", ws="none")
        config.load()
        connections = Connections("reviews", 8)
        connection = Connection(
            config=config, server_state=ServerState(), app_state={}, connections=connections, _loop=None
        )
        transport, _ = await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, ours)
        timer = connection.timeout_keep_alive_task
        assert timer is not None
        connection.connection_lost(ConnectionResetError())
        assert timer.cancelled()
        assert sum(connections.states().values()) == 0
        transport.abort()
        theirs.close()

    asyncio.run(test())
