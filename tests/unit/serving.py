"""A server as it is deployed: a process, real TLS and real connections, for tests of what no ASGI app can show."""

import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx

from webhook.certificates import ensure_certificates

POLICY = """\
apiVersion: task-resources.io/v1alpha1
kind: TaskResourcePolicy
metadata: {name: platform}
spec: {container: {max: {cpu: "4"}}}
"""
SECONDS = 30.0


@dataclass
class Server:
    """A running `task-resources serve`."""

    process: "subprocess.Popen[bytes]"
    folder: Path
    port: int
    management_port: int

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.folder / "ca.crt")

    def client(self) -> httpx.Client:
        """Keeps one connection alive, as the API server does."""
        return httpx.Client(base_url=self.url, verify=self.tls, headers={"content-type": "application/json"})

    def connect(self) -> ssl.SSLSocket:
        """A connection for what no client library would send."""
        return self.tls.wrap_socket(self.connect_without_tls(), server_hostname="localhost")

    def connect_without_tls(self, *, management: bool = False) -> socket.socket:
        """A connection that has said nothing yet."""
        port = self.management_port if management else self.port
        return socket.create_connection(("127.0.0.1", port), timeout=SECONDS)

    def ready(self) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.management_port}/readyz?verbose")

    def metrics(self) -> str:
        return httpx.get(f"http://127.0.0.1:{self.management_port}/metrics").text

    def connections(self, port: str = "reviews") -> dict[str, int]:
        """How many connections of a port do what."""
        return self._by_state("connections", port)

    def gave_way(self, port: str = "reviews") -> dict[str, int]:
        """How many connections of a port gave way to others, by what they did."""
        return self._by_state("ended_connections_total", port)

    def _by_state(self, name: str, port: str) -> dict[str, int]:
        found = re.findall(rf'task_resources_{name}{{port="{port}",state="(\w+)"}} (\d+)', self.metrics())
        return {state: int(count) for state, count in found}

    def stop(self) -> int:
        """The exit code after SIGTERM."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)


def arguments(folder: Path, *options: str) -> list[str]:
    """The command line of a server on free ports, with certificates and a policy in the folder."""
    ensure_certificates(folder, ["localhost"])
    (folder / "policy.yaml").write_text(POLICY)
    pair = ["--tls-cert", str(folder / "tls.crt"), "--tls-key", str(folder / "tls.key")]
    where = ["--host", "127.0.0.1", "--port", "0", "--management-port", "0"]
    program = [sys.executable, "-m", "webhook", "serve"]
    return [*program, "--policy", str(folder / "policy.yaml"), *pair, *where, *options]


@contextmanager
def running(folder: Path, *options: str, descriptors: tuple[int, int] | None = None) -> Iterator[Server]:
    """A server that is ready; `descriptors` are the soft and the hard limit that it begins with."""
    log = folder / "server.log"  # a pipe would be full at some time, and the server wait for its reader
    command = arguments(folder, *options)
    if descriptors is not None:
        soft, hard = descriptors
        command = ["sh", "-c", f'ulimit -S -n {soft} && ulimit -H -n {hard} && exec "$@"', "sh", *command]
    with log.open("w") as stream:
        process = subprocess.Popen(command, stderr=stream)
    try:
        until(lambda: _ports(log) is not None or process.poll() is not None)
        ports = _ports(log)
        assert ports is not None, "the server ended before it listened"
        server = Server(process, folder, *ports)
        until(lambda: _is_ready(server))
        yield server
    finally:
        process.kill()
        process.wait(SECONDS)


def _ports(log: Path) -> tuple[int, int] | None:
    """Where it listens, once it says so."""
    found = re.search(r"reviews on https://[^ ]*:(\d+), probes and metrics on http://[^ ]*:(\d+)", log.read_text())
    return None if found is None else (int(found[1]), int(found[2]))


def until(holds: Callable[[], bool]) -> None:
    """Looks again and again until it holds."""
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end, f"it did not hold within {SECONDS:.0f} s"
        time.sleep(0.01)


def _is_ready(server: Server) -> bool:
    try:
        return server.ready().status_code == 200
    except httpx.TransportError:
        return False


def http(body: bytes, *, path: str = "/mutate?timeout=2s", extra: str = "") -> bytes:
    """A request as the API server sends it, head and body in one piece."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: kube-apiserver-admission\r\nAccept: */*\r\n"
        f"Content-Length: {len(body)}\r\nContent-Type: application/json\r\nAccept-Encoding: gzip\r\n{extra}\r\n"
    )
    return head.encode() + body


@dataclass
class Answer:
    """One HTTP response, read from a raw connection."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def uid(self) -> str:
        uid: str = json.loads(self.body)["response"]["uid"]
        return uid


def read_answer(stream: IO[bytes]) -> Answer | None:
    """The next response; None where the connection was closed instead."""
    status_line = stream.readline()
    if not status_line:
        return None
    headers = {}
    while line := stream.readline().strip():
        name, _, value = line.decode().partition(": ")
        headers[name.lower()] = value
    return Answer(int(status_line.split()[1]), headers, stream.read(int(headers["content-length"])))
