"""Lists of a cluster, page by page as the API server gives them: pods as they stand, namespaces by their labels.

Needs the verb `list` on pods and namespaces, and nothing else.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from kubernetes import client

from webhook.sources.cluster import PAGE, UnreachableCluster, metadata_only
from webhook.sources.cluster_requests import RefusedRequest, ask_for_text

EXPIRED = 410


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list as JSON, and how many objects the API server says come after it."""

    text: bytes
    remaining: int


def pod_pages(api: client.ApiClient, namespace: str | None, *, page_size: int) -> Iterator[Page]:
    """PodLists of all pods of the cluster, or of a namespace. Raises RefusedRequest and UnreachableCluster.

    Without a selector for those that run: with one the API server does not say how many remain.
    """
    core: Any = client.CoreV1Api(api)
    if namespace is None:
        yield from _pages("list pods", core.list_pod_for_all_namespaces, page_size)
    else:
        yield from _pages("list pods", core.list_namespaced_pod, page_size, namespace=namespace)


class _Metadata(msgspec.Struct, rename="camel"):
    name: str
    labels: dict[str, str] | None = None
    deletion_timestamp: str | None = None


class _Namespace(msgspec.Struct):
    metadata: _Metadata


class _Namespaces(msgspec.Struct):
    items: list[_Namespace] | None = None


def labels_by_namespace(
    api: client.ApiClient, namespace: str | None, *, page_size: int
) -> dict[str, Mapping[str, str]]:
    """The labels of all namespaces, or of one if there is it. Raises RefusedRequest and UnreachableCluster."""
    # One is listed, too: whoever may list it need not be allowed to get it.
    chosen = {} if namespace is None else {"field_selector": f"metadata.name={namespace}"}
    return {each.name: each.labels or {} for each in _namespaces(api, page_size, **chosen)}


def all_namespaces(
    api: client.ApiClient, selector: str = "", *, page_size: int = PAGE
) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Name and labels of every namespace that fits the label selector, without those that are ending.

    Raises RefusedRequest and UnreachableCluster.
    """
    chosen = {"label_selector": selector} if selector else {}
    for each in _namespaces(api, page_size, **chosen):
        if each.deletion_timestamp is None:
            yield each.name, each.labels or {}


def _namespaces(api: client.ApiClient, page_size: int, **chosen: str) -> Iterator[_Metadata]:
    core: Any = client.CoreV1Api(api)
    headers = {"Accept": metadata_only("PartialObjectMetadataList")}
    for page in _pages("list namespaces", core.list_namespace, page_size, _headers=headers, **chosen):
        for namespace in msgspec.json.decode(page.text, type=_Namespaces).items or ():
            yield namespace.metadata


class _ListMetadata(msgspec.Struct, rename="camel"):
    next: str = msgspec.field(name="continue", default="")
    remaining_item_count: int = 0


class _List(msgspec.Struct):
    metadata: _ListMetadata


def _pages(what: str, method: Any, page_size: int, **options: Any) -> Iterator[Page]:
    """All pages. One whose position has expired (410) is asked for by the position that the answer names.

    So the list goes on where it was and is of two moments, which is fine for a picture of a cluster that lives.
    Source: kubernetes.io, API concepts, "410 Gone responses".
    """
    position = ""
    while True:
        request = {"limit": page_size, "_continue": position or None, **options}
        try:
            text = ask_for_text(what, method, **request)
        except RefusedRequest as error:
            if error.status != EXPIRED or not error.position:
                raise
            text = ask_for_text(what, method, **{**request, "_continue": error.position})
        try:
            metadata = msgspec.json.decode(text, type=_List).metadata
        except msgspec.DecodeError as error:
            raise UnreachableCluster(f"{what}: no answer of an API server: {error}") from error
        yield Page(text, metadata.remaining_item_count)
        position = metadata.next
        if not position:
            return
