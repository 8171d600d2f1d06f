"""Options of commands that may ask a cluster, and the way to it; nothing is imported for it before it is asked."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

F = TypeVar("F", bound=Callable[..., Any])


def cluster_options(text: str) -> Callable[[F], F]:
    """`--cluster`, described by the text, and `--kubeconfig`, `--context`: which cluster."""

    def decorate(command: F) -> F:
        command = click.option("--context", metavar="NAME", help="A context of the kubeconfig, not its current one.")(
            command
        )
        command = click.option(
            "--kubeconfig",
            metavar="FILE",
            type=click.Path(path_type=Path),
            help="How to reach the cluster; by default KUBECONFIG, ~/.kube/config, or the pod's service account.",
        )(command)
        return click.option("--cluster", is_flag=True, help=text)(command)

    return decorate


def refuse_without(asks_cluster: bool, accepted: str, **options: object) -> None:
    """A usage error where options about a cluster are given and none is asked; `accepted` says what asks it."""
    for name, value in options.items():
        if value is not None and not asks_cluster:
            option = name.replace("_", "-")
            raise click.UsageError(f"--{option} says how a cluster is asked: use it with {accepted}.")


@contextmanager
def cluster_or_exit(kubeconfig: Path | None, context: str | None) -> Iterator["ApiClient"]:
    """A client of the cluster; where it cannot be asked, or refuses, the program says why and ends with 2."""
    from webhook.sources.cluster import UnreachableCluster, connect
    from webhook.sources.cluster_requests import RefusedRequest

    try:
        with connect(kubeconfig, context) as api:
            yield api
    except (UnreachableCluster, RefusedRequest) as error:
        click.echo(f"Error: {error}", err=True)
        raise click.exceptions.Exit(2) from error
