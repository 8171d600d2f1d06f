"""An API server that has namespaces and nothing else: lists them in pages, is watched, and fails on demand."""

import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Condition
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.http_server import Handler, listening

Json = dict[str, Any]

PATH = "/api/v1/namespaces"
GONE = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version: 1 (9)"}
PROJECT, DOMAIN = "task-resources.io/project", "task-resources.io/domain"


@dataclass
class Request:
    """One request for namespaces."""

    path: str
    query: dict[str, str]
    accept: str

    @property
    def is_watch(self) -> bool:
        return "watch" in self.query

    @property
    def is_list(self) -> bool:
        return self.path == PATH and not self.is_watch

    @property
    def name(self) -> str:
        """Of the namespace that was asked for; empty where all were."""
        return self.path.removeprefix(PATH).removeprefix("/")


@dataclass
class NamespaceServer:
    """Its namespaces with their labels, what it was asked, and how it fails."""

    port: int = 0
    namespaces: dict[str, Mapping[str, str]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    version: int = 1
    changed: Condition = field(default_factory=Condition)
    # What the next requests get instead of an answer: a status, or the connection closed.
    failures: list[int | None] = field(default_factory=list)
    token: str | None = None
    is_silent: bool = False  # lists and look-ups wait
    gone_below: int = 0  # watches from a version below it are answered 410
    watches_end: int = 0
    _events: list[tuple[int, bytes]] = field(default_factory=list)
    is_closed: bool = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def put(self, name: str, **labels: str) -> None:
        """Creates a namespace, or gives it other labels: `project` and `domain`."""
        with self.changed:
            kind = "MODIFIED" if name in self.namespaces else "ADDED"
            self.namespaces[name] = {f"task-resources.io/{key}": text for key, text in labels.items()}
            self._happened(kind, self._metadata(name, self.version + 1))

    def delete(self, name: str) -> None:
        with self.changed:
            metadata = self._metadata(name, self.version + 1)
            del self.namespaces[name]
            self._happened("DELETED", metadata)

    def bookmark(self) -> None:
        with self.changed:
            self._happened("BOOKMARK", {"resourceVersion": str(self.version + 1), "creationTimestamp": None})

    def _happened(self, kind: str, metadata: Json) -> None:
        event = {"type": kind, "object": {"kind": "PartialObjectMetadata", "metadata": metadata}}
        self.say(json.dumps(event).encode() + b"\n")

    def say(self, raw: bytes) -> None:
        """Sends this to whoever watches."""
        with self.changed:
            self.version += 1
            self._events.append((self.version, raw))
            self.changed.notify_all()

    def lose_events(self) -> None:
        """Forgets what happened so far: watches have to begin after it, as after a compaction of etcd."""
        with self.changed:
            self._events.clear()
            self.version += 1
            self.gone_below = self.version

    def end_watches(self) -> None:
        with self.changed:
            self.watches_end += 1
            self.changed.notify_all()

    def set_silent(self, is_silent: bool) -> None:
        with self.changed:
            self.is_silent = is_silent
            self.changed.notify_all()

    def close(self) -> None:
        with self.changed:
            self.is_closed, self.is_silent = True, False
            self.changed.notify_all()

    def watches(self) -> list[Request]:
        return [request for request in self.requests if request.is_watch]

    def lists(self) -> list[Request]:
        """Lists that were begun; further pages do not count."""
        return [request for request in self.requests if request.is_list and "continue" not in request.query]

    def look_ups(self, name: str) -> int:
        return sum(request.name == name for request in self.requests)

    def _metadata(self, name: str, version: int) -> Json:
        labels = {"kubernetes.io/metadata.name": name, **self.namespaces[name]}
        managed = [{"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:metadata": {"f:labels": {}}}}]
        return {"name": name, "labels": labels, "resourceVersion": str(version), "managedFields": managed}

    def page(self, query: Mapping[str, str]) -> Json:
        names = sorted(self.namespaces)
        start = int(query.get("continue", "0"))
        end = start + int(query["limit"])
        items = [{"metadata": self._metadata(name, self.version)} for name in names[start:end]]
        more = {"continue": str(end)} if end < len(names) else {}
        return {
            "kind": "PartialObjectMetadataList",
            "metadata": {"resourceVersion": str(self.version), **more},
            "items": items,
        }

    def one(self, name: str) -> Json | None:
        return {"metadata": self._metadata(name, self.version)} if name in self.namespaces else None

    def events(self, after: int, ends: int) -> Iterator[bytes]:
        """What happens, until the watches are ended once more than `ends` times."""
        sent = after
        while True:
            with self.changed:
                while self.version <= sent and not self._is_over(ends):
                    self.changed.wait()
                found = [raw for version, raw in self._events if version > sent]
                sent = self.version
            yield from found
            if not found and self._is_over(ends):
                return

    def _is_over(self, ends: int) -> bool:
        return self.is_closed or self.watches_end > ends


class _Handler(Handler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    fake: NamespaceServer

    def do_GET(self) -> None:
        fake = self.fake
        split = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(split.query).items()}
        asked = Request(split.path, query, self.headers["Accept"])
        with fake.changed:
            fake.requests.append(asked)
            ends = fake.watches_end  # who sees the request may end the watch, however little of it has begun
            failure = fake.failures.pop(0) if fake.failures else 0
            if not asked.is_watch:
                fake.changed.wait_for(lambda: not fake.is_silent)
        if failure is None or fake.is_closed:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        elif failure:
            self._send(failure, {"kind": "Status", "code": failure, "message": f"a failure of {failure}"})
        elif fake.token is not None and self.headers["Authorization"] != f"Bearer {fake.token}":
            self._send(401, {"kind": "Status", "code": 401, "message": "Unauthorized"})
        elif asked.is_watch:
            self._watch(int(query["resourceVersion"]), ends)
        elif asked.is_list:
            self._send(200, fake.page(query))
        else:
            found = fake.one(asked.name)
            missing = {"kind": "Status", "code": 404, "message": f'namespaces "{asked.name}" not found'}
            self._send(200 if found else 404, found or missing)

    def _watch(self, version: int, ends: int) -> None:
        if version < self.fake.gone_below:
            self._send(410, GONE)
            return
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for raw in self.fake.events(version, ends):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(raw), raw))
        self.wfile.write(b"0\r\n\r\n")

    def _send(self, status: int, body: Json) -> None:
        self.answer(status, json.dumps(body).encode())

    def handle(self) -> None:
        with suppress(ConnectionError, ssl.SSLError):  # who asked has gone
            super().handle()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        """A client that goes away is none."""


@contextmanager
def namespace_server(
    *names: str, certificates: Path | None = None, port: int = 0, oldest_version: int | None = None
) -> Iterator[NamespaceServer]:
    """A running one with these namespaces; over TLS with the pair in a folder. It knows of no older version."""
    fake = NamespaceServer(namespaces={name: {} for name in names})
    if oldest_version is not None:
        fake.version = fake.gone_below = oldest_version
    handler = type("Handler", (_Handler,), {"fake": fake})
    with listening(handler, certificates, port=port, server=_Server) as fake.port:
        try:
            yield fake
        finally:
            fake.close()


def kubeconfig(folder: Path, url: str) -> Path:
    """A kubeconfig of the server at that address."""
    file = folder / "kubeconfig"
    contexts = [{"name": "a", "context": {"cluster": "a", "user": "a"}}]
    clusters, users = [{"name": "a", "cluster": {"server": url}}], [{"name": "a", "user": {}}]
    file.write_text(json.dumps({"current-context": "a", "contexts": contexts, "clusters": clusters, "users": users}))
    return file
