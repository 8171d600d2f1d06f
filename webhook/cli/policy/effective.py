"""`task-resources policy effective`: what policies come to for a namespace (P8)."""

import json
from pathlib import Path

import click

from webhook.cli.cluster import cluster_options, cluster_or_exit, refuse_without
from webhook.cli.options import (
    namespace_labels_option,
    policies_or_exit,
    policy_option,
    project_options,
    project_rule,
)
from webhook.effective_report import EffectiveReport


@click.command()
@click.argument("namespace")
@policy_option()
@cluster_options("Read the namespace's labels from a cluster.")
@project_options
@namespace_labels_option
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def effective(
    namespace: str,
    policy_paths: tuple[Path, ...],
    cluster: bool,
    kubeconfig: Path | None,
    context: str | None,
    namespace_template: str,
    domains: tuple[str, ...],
    namespace_labels: dict[str, str],
    output: str,
) -> None:
    """Print what policies come to for NAMESPACE: every value with its policy, file and line.

    Exits with 2 where the policies cannot be used, or the cluster does not answer or has no such namespace.
    """
    rule = project_rule(namespace_template, domains)
    policies = policies_or_exit(policy_paths)
    refuse_without(cluster, "--cluster", kubeconfig=kubeconfig, context=context)
    if cluster:
        if namespace_labels:
            raise click.UsageError("--namespace-labels and --cluster are two answers to one question: use one of them.")
        namespace_labels = _labels_in_cluster(namespace, kubeconfig, context)
    report = EffectiveReport(policies, rule.scope(namespace, namespace_labels))
    click.echo(json.dumps(report.as_json(), indent=2) if output == "json" else report.as_text())


def _labels_in_cluster(namespace: str, kubeconfig: Path | None, context: str | None) -> dict[str, str]:
    with cluster_or_exit(kubeconfig, context) as api:
        from webhook.sources.cluster_requests import namespace_labels

        return namespace_labels(api, namespace)
