"""Where objects to review come from: files, or a live cluster; and what labels their namespaces have."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from webhook.manifests import labels_of_namespaces
from webhook.policy_document import MOST_ERRORS
from webhook.regular_files import read_file_bytes

if TYPE_CHECKING:
    from webhook.sources.cluster_lists import Page


class Errors:
    """Says on stderr what cannot be reviewed, a thousand times at most, and counts it."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, error: Exception | str) -> None:
        self.count += 1
        if self.count <= MOST_ERRORS:
            click.echo(f"Error: {error}", err=True)

    def end(self) -> None:
        """Says how many more there were."""
        if self.count > MOST_ERRORS:
            click.echo(f"and {self.count - MOST_ERRORS} more errors", err=True)


@dataclass(frozen=True, slots=True)
class Input:
    """A text with objects in it. `remaining`: how many are to come in later inputs, as far as known."""

    name: str
    text: bytes
    remaining: int = 0


@dataclass(frozen=True, slots=True)
class Inputs:
    """Texts, which may be read as they are asked for, and the labels of namespaces by their names."""

    texts: Iterable[Input]
    namespaces: Mapping[str, Mapping[str, str]]


def inputs_of_files(names: Iterable[str], errors: Errors) -> Inputs:
    """What is in the files, and on standard input for `-`; their Namespace objects count for all of them."""
    texts = [found for name in names if (found := _read(name, errors)) is not None]
    return Inputs(
        texts, {name: labels for each in texts for name, labels in labels_of_namespaces(each.name, each.text)}
    )


def _read(name: str, errors: Errors) -> Input | None:
    if name == "-":
        return Input("standard input", sys.stdin.buffer.read())
    try:
        return Input(name, read_file_bytes(Path(name), may_be_pipe=True))
    except OSError as error:
        errors.add(f"{name}: {error.strerror}")
        return None


@contextmanager
def inputs_of_cluster(
    kubeconfig: Path | None, context: str | None, namespace: str | None, *, page_size: int, errors: Errors
) -> Iterator[Inputs]:
    """The pods of a cluster or of one of its namespaces, page by page, as long as the context lasts.

    What cannot be had is an error; the pods that came before stay.
    """
    from webhook.sources.cluster import UnreachableCluster, connect
    from webhook.sources.cluster_lists import labels_by_namespace, pod_pages
    from webhook.sources.cluster_requests import RefusedRequest

    def texts(pages: Iterable["Page"]) -> Iterator[Input]:
        try:
            for page in pages:
                yield Input("cluster", page.text, page.remaining)
        except (RefusedRequest, UnreachableCluster) as error:
            errors.add(error)

    try:
        api = connect(kubeconfig, context)
        namespaces = labels_by_namespace(api, namespace, page_size=page_size)
    except (RefusedRequest, UnreachableCluster) as error:
        errors.add(error)
        yield Inputs((), {})
        return
    with api:
        pages = pod_pages(api, namespace, page_size=page_size)
        if namespace is not None and namespace not in namespaces:
            errors.add(f"the cluster has no namespace {namespace}")
            pages = iter(())
        yield Inputs(texts(pages), namespaces)
