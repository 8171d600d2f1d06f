"""Single requests to a cluster's API server: plain objects come back, and whatever goes wrong has words for people."""

import json
from collections.abc import Callable
from typing import Any

import urllib3
from kubernetes import client

from webhook.sources.cluster import CONNECT_SECONDS, READ_SECONDS, UnreachableCluster

Json = dict[str, Any]


class RefusedRequest(Exception):
    """The API server answered and refused; `status` is HTTP's, the message is the server's with what was wanted.

    `position` is where a list may go on that took longer than its position was good for; empty for all else.
    """

    def __init__(self, what: str, status: int, message: str, position: str = "") -> None:
        super().__init__(f"{what}: {message} ({status})")
        self.status, self.position = status, position


def ask(what: str, method: Callable[..., Any], *arguments: Any, **options: Any) -> Json:
    """What the API server answers to one of the client's methods. `what` is it in words, such as "list namespaces".

    Raises RefusedRequest and UnreachableCluster.
    """
    try:
        found: Json = json.loads(ask_for_text(what, method, *arguments, **options))
    except json.JSONDecodeError as error:
        raise UnreachableCluster(f"{what}: no answer of an API server: {error}") from error
    return found


def ask_for_text(what: str, method: Callable[..., Any], *arguments: Any, **options: Any) -> bytes:
    """The same, as it came: for answers that are long."""
    timeouts = CONNECT_SECONDS, READ_SECONDS
    try:
        text: bytes = method(*arguments, _preload_content=False, _request_timeout=timeouts, **options).data
    except client.ApiException as error:
        status = _status(error)
        message = str(status.get("message") or error.reason or "no reason given")
        position = str((status.get("metadata") or {}).get("continue") or "")
        raise RefusedRequest(what, int(error.status or 0), message, position) from error
    except urllib3.exceptions.HTTPError as error:
        raise UnreachableCluster(f"{what}: no answer of an API server: {_cause(error)}") from error
    return text


def _status(error: Any) -> Json:
    """The Status in the body; nothing of an answer that has none, such as a proxy's page."""
    try:
        status = json.loads(error.body)
    except (ValueError, TypeError):
        return {}
    return status if isinstance(status, dict) else {}


def _cause(error: BaseException) -> str:
    """What it comes from: the outer errors only say how often it was tried."""
    cause = getattr(error, "reason", None)
    return str(cause if isinstance(cause, Exception) else error)


def namespace_labels(api: client.ApiClient, namespace: str) -> dict[str, str]:
    """The labels of a namespace. Raises RefusedRequest (404 where there is none) and UnreachableCluster."""
    core: Any = client.CoreV1Api(api)
    found = ask(f"read the namespace {namespace}", core.read_namespace, namespace)
    labels: dict[str, str] = found["metadata"].get("labels") or {}
    return labels
