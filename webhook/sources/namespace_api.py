"""Namespaces as the API server tells of them: all of them page by page, changes as they come, one by its name.

Only metadata is asked for (PartialObjectMetadata), and of it no more is kept than the two labels that are read. What
is done with it, and when to ask again after a failure, is left to `namespace_watch`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from sys import intern
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from urllib3 import BaseHTTPResponse, Timeout
from urllib3.exceptions import HTTPError, ReadTimeoutError

from webhook.projects import DOMAIN_LABEL, PROJECT_LABEL
from webhook.snapshot import NO_LABELS
from webhook.sources.cluster import CONNECT_SECONDS, PAGE, READ_SECONDS, metadata_only

if TYPE_CHECKING:  # takes a quarter of a second and 9 MiB, for those who have a cluster
    from kubernetes.client import ApiClient

PATH = "/api/v1/namespaces"

# The API server sends a bookmark every minute or two, but need not: a watch that says nothing may have died in silence.
SILENCE_SECONDS = 150.0

# What a namespace can be called (RFC 1123), and nothing that would make another path.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
_READ_BYTES = 64 * 1024
_UNAVAILABLE = range(500, 600)

Labels = Mapping[str, str]

# The version to go on from is too old; another status than 200; no answer at all; one that makes no sense.
Failure = Literal["expired", "refused", "connection", "data"]


class FailedRequest(Exception):
    """The API server did not answer what it was asked; the message is one line.

    `may_resume`: whether a watch can go on where it was, or everything has to be listed anew.
    """

    def __init__(self, failure: Failure, message: str, *, may_resume: bool = False) -> None:
        super().__init__(message)
        self.failure = failure
        self.may_resume = may_resume


class _NotFound(FailedRequest):
    pass


@dataclass(frozen=True, slots=True)
class News:
    """What became of namespaces up to a resource version: the labels of each, None for one that is gone."""

    version: str
    namespaces: Sequence[tuple[str, Labels | None]] = ()


class _Labels(msgspec.Struct):
    project: str = msgspec.field(name=PROJECT_LABEL, default="")
    domain: str = msgspec.field(name=DOMAIN_LABEL, default="")


class _Metadata(msgspec.Struct, rename="camel"):
    name: str = ""
    resource_version: str = ""
    labels: _Labels | None = None

    def kept_labels(self) -> Labels:
        """Those that are read; one empty mapping for all namespaces that have none of them."""
        labels = self.labels
        if labels is None or not (labels.project or labels.domain):
            return NO_LABELS
        pairs = ((PROJECT_LABEL, labels.project), (DOMAIN_LABEL, labels.domain))
        # Interned, because a project has several namespaces, and a domain has many.
        return {key: intern(text) for key, text in pairs if text}


class _Namespace(msgspec.Struct):
    metadata: _Metadata


class _ListMetadata(msgspec.Struct, rename="camel"):
    resource_version: str
    continue_: str = msgspec.field(name="continue", default="")


class _List(msgspec.Struct):
    metadata: _ListMetadata
    items: list[_Namespace] | None = None


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Status(msgspec.Struct):
    code: int = 0
    message: str = ""


_decode_namespace = msgspec.json.Decoder(_Namespace).decode
_decode_list = msgspec.json.Decoder(_List).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_decode_status = msgspec.json.Decoder(_Status).decode


class NamespaceApi:
    """Asks the API server of one cluster, by several threads at once if need be. All that it does raises FailedRequest.

    `silence_seconds` is how long a watch may say nothing before it ends: a new one shows whether anybody is there.
    """

    def __init__(self, api: "ApiClient", *, silence_seconds: float = SILENCE_SECONDS) -> None:
        self._api: Any = api  # typed without the pool of connections
        self._silence_seconds = silence_seconds
        self._is_stopped = False
        self._streaming: BaseHTTPResponse | None = None

    def pages(self) -> Iterator[News]:
        """All namespaces as they were at one moment, 500 at a time."""
        query = {"limit": str(PAGE)}
        while not self._is_stopped:
            with self._answer(PATH, query, "PartialObjectMetadataList", READ_SECONDS) as answer:
                page = _decode_list(answer.data)
            found = [(item.metadata.name, item.metadata.kept_labels()) for item in page.items or ()]
            yield News(page.metadata.resource_version, found)
            if not page.metadata.continue_:
                return
            query["continue"] = page.metadata.continue_

    def changes(self, version: str, seconds: int) -> Iterator[News]:
        """What changes after that version, as it happens, until `seconds` are over, or nothing comes for long.

        First comes the version itself, once the API server has agreed to begin there. What arrives together is told
        together; a bookmark is a version without namespaces.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(seconds),
        }
        with self._answer(PATH, query, "PartialObjectMetadata", self._silence_seconds) as answer:
            self._streaming = answer
            parts = _lines(answer)
            try:
                yield News(version)
                while not self._is_stopped and (lines := next(parts, None)):
                    yield _news(lines)
            except ReadTimeoutError:
                return
            finally:
                self._streaming = None

    def find(self, name: str) -> Labels | None:
        """The labels of one namespace as it is now; None where there is none of that name."""
        if not _NAME.fullmatch(name):
            return None
        try:
            with self._answer(f"{PATH}/{name}", {}, "PartialObjectMetadata", CONNECT_SECONDS) as answer:
                return _decode_namespace(answer.data).metadata.kept_labels()
        except _NotFound:
            return None

    def stop(self) -> None:
        """Ends what another thread reads of pages or changes, without a failure where it can be told apart."""
        self._is_stopped = True
        streaming = self._streaming
        if streaming is not None:
            with suppress(OSError, RuntimeError, ValueError):  # it has ended in this moment by itself
                streaming.shutdown()

    @contextmanager
    def _answer(
        self, path: str, query: Mapping[str, str], kind: str, silence_seconds: float
    ) -> Iterator[BaseHTTPResponse]:
        answer: BaseHTTPResponse | None = None
        try:
            # Not CoreV1Api, which can ask the same, but takes two seconds and 20 MiB to build models that nobody reads.
            answer = self._api.rest_client.pool_manager.request(
                "GET",
                self._api.configuration.host + path,
                fields=query,
                headers={"Accept": metadata_only(kind), **self._credentials()},
                timeout=Timeout(connect=CONNECT_SECONDS, read=silence_seconds),
                retries=False,
                preload_content=False,
            )
            if answer.status != 200:
                raise _refusal(answer.status, answer.data)
            yield answer
        except (HTTPError, OSError) as error:
            text = f"{self._api.configuration.host}: {type(error).__name__}: {error}"
            raise FailedRequest("connection", text, may_resume=True) from error
        except msgspec.DecodeError as error:
            raise FailedRequest("data", f"what the API server sent is not understood: {error}") from error
        finally:
            if answer is not None:
                answer.close()  # where it was read to its end, the connection is kept all the same

    def _credentials(self) -> dict[str, str]:
        """Asked for each time, because tokens of service accounts are renewed."""
        settings = self._api.configuration.auth_settings().values()
        return {"User-Agent": "task-resource-webhook"} | {
            setting["key"]: setting["value"] for setting in settings if setting["value"]
        }


def _refusal(status: int, body: bytes) -> FailedRequest:
    try:
        message = _decode_status(body).message
    except msgspec.DecodeError:
        message = body[:200].decode("latin-1")
    text = f"{status}: {' '.join(message.split())}"
    if status == 404:
        return _NotFound("refused", text)
    may_resume = status in _UNAVAILABLE or status in (401, 403, 429)
    return FailedRequest("expired" if status == 410 else "refused", text, may_resume=may_resume)


def _lines(answer: BaseHTTPResponse) -> Iterator[list[bytes]]:
    """The lines of each part of a body that has come."""
    rest = b""
    while part := answer.read1(_READ_BYTES):
        *lines, rest = (rest + part).split(b"\n")
        if lines:
            yield lines
    if rest:
        yield [rest]


def _news(lines: Sequence[bytes]) -> News:
    """What the lines of a watch say. Where one is an error, none counts: they come again, or everything is listed."""
    version = ""
    found: list[tuple[str, Labels | None]] = []
    for line in lines:
        event = _decode_event(line)
        if event.type == "ERROR":
            status = _decode_status(event.object)
            raise FailedRequest("expired" if status.code == 410 else "refused", f"{status.code}: {status.message}")
        metadata = _decode_namespace(event.object).metadata
        version = metadata.resource_version
        if event.type != "BOOKMARK":
            found.append((metadata.name, None if event.type == "DELETED" else metadata.kept_labels()))
    return News(version, found)
