"""`task-resources policy quotas`: the ResourceQuotas that policies write down, printed or applied (Q1)."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
import yaml

from webhook.cli.cluster import cluster_options, cluster_or_exit, refuse_without
from webhook.cli.options import (
    counted,
    namespace_labels_option,
    policies_or_exit,
    policy_option,
    project_options,
    project_rule,
)
from webhook.policy import PolicySet
from webhook.projects import SYSTEM_NAMESPACES, ProjectRule, Scope
from webhook.resource_quota import Json, resource_quota

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

    from webhook.sources.resource_quotas import Applied

Labels = Mapping[str, str]


@click.command()
@click.argument("namespaces", metavar="[NAMESPACE...]", nargs=-1)
@policy_option()
@cluster_options(
    "Of every namespace of a cluster, but kube-system and its like; or of those named, by their labels there."
)
@click.option(
    "-l", "--selector", metavar="L", help="Only namespaces of the cluster with these labels, as kubectl's -l."
)
@click.option("--apply", "is_applied", is_flag=True, help="Make the cluster so, and say what was done, instead.")
@project_options
@namespace_labels_option
def quotas(
    namespaces: tuple[str, ...],
    policy_paths: tuple[Path, ...],
    cluster: bool,
    kubeconfig: Path | None,
    context: str | None,
    selector: str | None,
    is_applied: bool,
    namespace_template: str,
    domains: tuple[str, ...],
    namespace_labels: dict[str, str],
) -> None:
    """Print the ResourceQuotas that policies come to for each NAMESPACE, or for all of a cluster.

    With --apply they are created and changed by server-side apply, and those of namespaces that have no quota any
    more are deleted: objects named task-resources that have the label app.kubernetes.io/managed-by=task-resources,
    and no others.

    Exit status: 0 fine, 1 some could not be applied, 2 nothing was done: unusable policies, cluster or usage.
    """
    asks_cluster = cluster or is_applied
    refuse_without(asks_cluster, "--cluster or --apply", kubeconfig=kubeconfig, context=context)
    _refuse_contradictions(namespaces, namespace_labels, cluster=cluster, asks_cluster=asks_cluster, selector=selector)
    rule = project_rule(namespace_template, domains)
    policies = policies_or_exit(policy_paths)
    if not asks_cluster:
        _print(_wanted(policies, rule, ((name, namespace_labels) for name in namespaces)))
        return
    with cluster_or_exit(kubeconfig, context) as api:
        # All of them before the first is changed.
        found = [*_of_cluster(api, namespaces, selector or "")]
        wanted = _wanted(policies, rule, found)
        if not is_applied:
            _print(wanted)
        elif _apply(api, wanted):
            raise click.exceptions.Exit(1)


def _refuse_contradictions(
    namespaces: tuple[str, ...],
    namespace_labels: Labels,
    *,
    cluster: bool,
    asks_cluster: bool,
    selector: str | None,
) -> None:
    if not namespaces and not cluster:
        raise click.UsageError("Missing NAMESPACE: name at least one, or all of a cluster by --cluster.")
    if selector is not None and (namespaces or not cluster):
        raise click.UsageError("--selector chooses among all namespaces of a cluster: use --cluster and no NAMESPACE.")
    if asks_cluster and namespace_labels:
        raise click.UsageError("--namespace-labels is for use without a cluster: there, namespaces have their own.")


def _of_cluster(api: "ApiClient", namespaces: tuple[str, ...], selector: str) -> Iterator[tuple[str, Labels]]:
    from webhook.sources.cluster_lists import all_namespaces
    from webhook.sources.cluster_requests import namespace_labels

    if namespaces:
        yield from ((name, namespace_labels(api, name)) for name in dict.fromkeys(namespaces))
    else:
        # A quota of the platform is not meant for the system's, and could keep the cluster's own pods from starting.
        yield from (found for found in all_namespaces(api, selector) if found[0] not in SYSTEM_NAMESPACES)


def _wanted(policies: PolicySet, rule: ProjectRule, namespaces: Iterable[tuple[str, Labels]]) -> dict[str, Json | None]:
    """By namespace its object; None where the policies set no quota."""
    scopes: Iterator[Scope] = (rule.scope(name, labels) for name, labels in namespaces)
    return {scope.namespace: resource_quota(policies, scope) for scope in scopes}


def _print(wanted: Mapping[str, Json | None]) -> None:
    objects = [quota for quota in wanted.values() if quota is not None]
    if objects:
        click.echo(yaml.safe_dump_all(objects, sort_keys=False, explicit_start=len(objects) > 1), nl=False)
    else:
        of = next(iter(wanted)) if len(wanted) == 1 else f"any of {len(wanted)} namespaces"
        click.echo(f"The policies set no quota for {of}.", err=True)


def _apply(api: "ApiClient", wanted: Mapping[str, Json | None]) -> int:
    """Makes the cluster so, with a line for each namespace; returns how many could not be."""
    from webhook.sources.cluster import UnreachableCluster
    from webhook.sources.cluster_requests import RefusedRequest
    from webhook.sources.resource_quotas import NotOurs, apply_quota

    outcomes: Counter[str] = Counter()
    try:
        for namespace, quota in wanted.items():
            try:
                applied = apply_quota(api, namespace, quota)
            except (NotOurs, RefusedRequest) as error:
                outcomes["failed"] += 1
                click.echo(f"Error: {namespace}: {error}", err=True)
                continue
            outcomes[applied.outcome] += 1
            if applied.outcome != "absent":
                click.echo(f"{namespace}: {applied.outcome}{_differences(applied)}")
    except UnreachableCluster as error:
        outcomes["not reached"] = len(wanted) - outcomes.total()
        click.echo(f"Error: {error}", err=True)
    click.echo(_summary(len(wanted), outcomes))
    return outcomes["failed"] + outcomes["not reached"]


def _differences(applied: "Applied") -> str:
    """`, limits.cpu 64 → 96, pods 20 removed`: each total that is another one than before."""
    before, after = applied.before, applied.after
    words = []
    for name in sorted({*before, *after}):
        if name not in after:
            words.append(f"{name} {before[name]} removed")
        elif name not in before:
            words.append(f"{name} {after[name]}")
        elif before[name] != after[name]:
            words.append(f"{name} {before[name]} → {after[name]}")
    return f" ({', '.join(words)})" if words else ""


# In words, in the order in which they are told.
_OUTCOMES = {
    "created": "created",
    "changed": "changed",
    "unchanged": "unchanged",
    "deleted": "deleted",
    "absent": "without a quota",
    "failed": "failed",
    "not reached": "not reached",
}


def _summary(namespaces: int, outcomes: Mapping[str, int]) -> str:
    parts = [f"{outcomes[key]} {words}" for key, words in _OUTCOMES.items() if outcomes.get(key)]
    return f"{counted(namespaces, 'namespace')}: {', '.join(parts) or 'nothing to do'}"
