"""Whoever reaches a port and says too little, too slowly or too much holds up nobody else (H5, Bounded work)."""

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.unit.deciding import container, pod, review_body
from tests.unit.serving import SECONDS, Server, http, read_answer, running, until
from webhook.connections import MOST_BYTES
from webhook.server import LARGEST_HEAD_BYTES, MOST_HEADERS

REVIEW = review_body(pod(container(limits={"cpu": "8"})))
MANY = 300
NO_DRAIN = ("--drain-seconds", "0")
HEAD = b"POST /mutate?timeout=30s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
LENGTH = b"Content-Length: %d\r\n\r\n" % len(REVIEW)
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("server"), *NO_DRAIN, "--max-in-flight", "20") as started:
        yield started


@contextmanager
def held(server: Server, said: bytes, number: int = MANY) -> Iterator[list[ssl.SSLSocket]]:
    """So many connections that have said that and no more."""
    tls = server.tls
    with ExitStack() as open_ones:
        callers = []
        for _ in range(number):
            plain = open_ones.enter_context(server.connect_without_tls())
            caller = open_ones.enter_context(tls.wrap_socket(plain, server_hostname="localhost"))
            if said:
                caller.sendall(said)
            callers.append(caller)
        yield callers


@contextmanager
def silent(server: Server, number: int = MANY, *, management: bool = False) -> Iterator[list[socket.socket]]:
    """So many connections without a word, not even of TLS."""
    with ExitStack() as open_ones:
        yield [open_ones.enter_context(server.connect_without_tls(management=management)) for _ in range(number)]


def assert_innocents_are_answered(server: Server) -> None:
    """On connections of their own, in one piece and in two, and on one that is kept."""
    with server.client() as kept:
        for number in range(20):
            with server.client() as client:
                answers = [client.post("/mutate?timeout=2s", content=REVIEW), kept.post("/validate", content=REVIEW)]
            assert [answer.status_code for answer in answers] == [200, 200], number
            with server.connect() as connection, connection.makefile("rb") as stream:
                connection.sendall(http(REVIEW)[:500])
                connection.sendall(http(REVIEW)[500:])
                answer = read_answer(stream)
            assert answer is not None
            assert answer.status == 200


def says_until_its_end(connection: ssl.SSLSocket, said: bytes) -> None:
    """Says it over and over, until the connection ends or takes no more."""
    with suppress(OSError):
        while True:
            connection.sendall(said)


def nothing_is_left(server: Server) -> Callable[[], bool]:
    return lambda: sum(server.connections().values()) == 0


SLOW = [
    ("bodies", HEAD + LENGTH + REVIEW[:10]),
    ("heads-alone", HEAD + LENGTH),
    ("bodies-in-chunks", HEAD + CHUNKED + b"1\r\n{\r\n1"),
    ("bodies-after-100-continue", HEAD + b"Expect: 100-continue\r\n" + LENGTH),
    ("large-bodies", HEAD + b"Content-Length: 1000000\r\n\r\n" + REVIEW[:10]),
    ("bodies-of-http-1.0", HEAD.replace(b"1.1", b"1.0") + LENGTH + REVIEW[:10]),
    ("heads", HEAD),
    ("lines", b"P"),
    ("nothing-but-tls", b""),
    ("blank-lines", b"\r\n\r\n"),
    ("bodies-elsewhere", HEAD.replace(b"/mutate", b"/elsewhere") + LENGTH + REVIEW[:10]),
]


def test_300_slow_bodies_hold_up_nobody(server: Server) -> None:
    with held(server, HEAD + LENGTH + REVIEW[:10]):
        assert_innocents_are_answered(server)
    until(nothing_is_left(server))


@pytest.mark.parametrize("said", [case[1] for case in SLOW], ids=[case[0] for case in SLOW])
def test_more_slow_requests_than_may_be_in_flight_hold_up_nobody(server: Server, said: bytes) -> None:
    with held(server, said, 40):
        assert_innocents_are_answered(server)
        assert "task_resources_in_flight_reviews 0.0" in server.metrics()
        assert server.ready().status_code == 200
    until(nothing_is_left(server))


def test_300_silent_connections_hold_up_nobody(server: Server) -> None:
    with silent(server):
        assert_innocents_are_answered(server)
    until(nothing_is_left(server))


LIMITS = [(64, 4096), (64, 128)]


@pytest.mark.parametrize(("soft", "hard"), LIMITS)
def test_few_descriptors_are_enough_beside_300_silent_and_300_slow_connections(
    tmp_path: Path, soft: int, hard: int
) -> None:
    with (
        running(tmp_path, *NO_DRAIN, descriptors=(soft, hard)) as small,
        silent(small),
        held(small, HEAD + LENGTH + REVIEW[:10]),
        silent(small, 100, management=True),
    ):
        assert_innocents_are_answered(small)
        assert small.ready().status_code == 200
        assert "cannot be accepted" not in (tmp_path / "server.log").read_text()


def test_the_soft_limit_of_descriptors_is_raised_to_the_hard_one(tmp_path: Path) -> None:
    with running(tmp_path, *NO_DRAIN, descriptors=(64, 1024)) as raised, held(raised, HEAD, 100) as callers:
        assert sum(raised.connections().values()) == len(callers)
        assert sum(raised.gave_way().values()) == 0


def test_a_kept_connection_outlives_any_number_of_silent_ones(tmp_path: Path) -> None:
    with (
        running(tmp_path, *NO_DRAIN, descriptors=(64, 128)) as small,
        small.connect() as kept,
        kept.makefile("rb") as stream,
    ):
        for number in range(3):
            kept.sendall(http(REVIEW))
            answer = read_answer(stream)
            assert answer is not None
            assert (answer.status, "connection" in answer.headers) == (200, False)
            with silent(small, 200):
                until(lambda: small.gave_way()["arriving"] >= 100 * (number + 1))  # noqa: B023 - it is used at once


def test_where_there_are_too_many_the_oldest_slow_review_is_answered_503_and_the_newest_200(tmp_path: Path) -> None:
    request = http(REVIEW, path="/mutate?timeout=30s")
    with running(tmp_path, *NO_DRAIN, descriptors=(64, 128)) as small:
        with held(small, request[:-10], 100) as callers:
            oldest, newest = callers[0], callers[-1]
            newest.sendall(request[-10:])
            with newest.makefile("rb") as stream, oldest.makefile("rb") as refused:
                answers = [read_answer(stream), read_answer(refused)]
            assert [answer.status for answer in answers if answer is not None] == [200, 503]
            assert answers[1] is not None
            assert (answers[1].headers["retry-after"], answers[1].headers["connection"]) == ("1", "close")
            assert answers[1].body == b"there are too many, and this one is the oldest that is not whole\n"
            assert small.gave_way()["receiving"] > 0
        until(nothing_is_left(small))
        log = (tmp_path / "server.log").read_text()
        assert log.count("gave way") < 10


def test_where_bodies_take_too_much_memory_the_oldest_is_answered_503_and_the_newest_200(server: Server) -> None:
    size = MOST_BYTES // 4 - 2**20
    head = HEAD + CHUNKED + b"%x\r\n" % (size - len(REVIEW))
    with held(server, b"", 5) as callers:
        for caller in callers:
            caller.sendall(head)
            caller.sendall(b" " * (size - len(REVIEW)))
        with callers[0].makefile("rb") as refused:
            answer = read_answer(refused)
        assert answer is not None
        assert (answer.status, answer.headers["retry-after"], answer.headers["connection"]) == (503, "1", "close")
        callers[-1].sendall(b"\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(REVIEW), REVIEW))
        with callers[-1].makefile("rb") as stream:
            answer = read_answer(stream)
        assert answer is not None
        assert answer.status == 200
    until(nothing_is_left(server))


@pytest.mark.parametrize("said", [b"P", HEAD, HEAD + b"X: "], ids=["a-letter", "lines", "half-a-line"])
def test_a_head_that_does_not_go_on_ends_its_connection(server: Server, said: bytes) -> None:
    with server.connect() as connection:
        connection.sendall(said)
        assert connection.recv(1) == b""


def test_a_head_that_comes_letter_by_letter_ends_its_connection(server: Server) -> None:
    with server.connect() as connection:
        says_until_its_end(connection, b"x")


def test_the_body_of_a_review_has_two_seconds_however_long_the_api_server_waits(server: Server) -> None:
    with server.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(http(REVIEW, path="/mutate?timeout=30s")[:-10])
        answer = read_answer(stream)
        assert answer is not None
        assert (answer.status, answer.body) == (503, b"the body did not arrive within 2.0 s\n")
        assert read_answer(stream) is None


def test_a_body_of_single_bytes_is_answered(server: Server) -> None:
    body = b"".join(b"1\r\n%c\r\n" % byte for byte in REVIEW) + b"0\r\n\r\n"
    with server.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(HEAD + CHUNKED + body)
        answer = read_answer(stream)
    assert answer is not None
    assert answer.status == 200


TOO_MUCH = [
    ("large", HEAD + b"X-Filler: " + b"x" * LARGEST_HEAD_BYTES + b"\r\n\r\n", "is larger than 16384 bytes"),
    ("many", HEAD + b"X: y\r\n" * MOST_HEADERS + b"\r\n", "has more than 100 headers"),
    ("many-behind-a-body", HEAD + CHUNKED + b"0\r\n" + b"X: y\r\n" * MOST_HEADERS, "has more than 100 headers"),
    ("long-path", b"GET /" + b"x" * LARGEST_HEAD_BYTES + b" HTTP/1.1\r\n\r\n", "is larger than 16384 bytes"),
]


@pytest.mark.parametrize(("said", "text"), [case[1:] for case in TOO_MUCH], ids=[case[0] for case in TOO_MUCH])
def test_a_head_that_is_too_large_is_refused(server: Server, said: bytes, text: str) -> None:
    with server.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(said)
        answer = read_answer(stream)
    assert answer is not None
    assert answer.status == 400
    assert text in answer.body.decode()


def test_who_sends_requests_without_end_before_the_first_is_answered_is_not_listened_to(server: Server) -> None:
    with server.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200)
        with suppress(ConnectionError):
            while read_answer(stream) is not None:
                pass
    until(nothing_is_left(server))


def test_who_never_reads_an_answer_is_not_written_to_without_end(tmp_path: Path) -> None:
    options = (*NO_DRAIN, "--connection-max-requests", "1000000")
    with running(tmp_path, *options) as server, server.connect() as connection:
        connection.settimeout(1)
        says_until_its_end(connection, http(REVIEW))
        assert_innocents_are_answered(server)
        until(nothing_is_left(server))


def test_what_is_refused_over_and_over_makes_few_lines(tmp_path: Path) -> None:
    with running(tmp_path, *NO_DRAIN) as server:
        with server.client() as client:
            for _ in range(50):
                assert client.post("/mutate", content=b"nonsense").status_code == 400
        for _ in range(50):
            with server.connect() as connection, connection.makefile("rb") as stream:
                connection.sendall(b"nonsense\r\n\r\n")
                assert read_answer(stream) is not None
    lines = (tmp_path / "server.log").read_text().splitlines()
    for text in ("answered 400", "Invalid HTTP request received"):
        assert 10 <= sum(text in line for line in lines) < 50


def test_silent_connections_to_the_management_port_stop_no_probe(server: Server) -> None:
    with silent(server, 200, management=True):
        for _ in range(10):
            assert httpx.get(f"http://127.0.0.1:{server.management_port}/livez", timeout=SECONDS).status_code == 200
        assert server.gave_way("management")["silent"] > 0
    until(lambda: server.connections("management")["silent"] == 0)
