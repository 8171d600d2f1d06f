"""`task-resources review`: what the webhook would answer, by the same code as the service.

Inputs become results one at a time (`reviewer`), which are counted (`totals`) and written (`output`) as they come: what
a dump of a whole cluster takes in memory is its own size.
"""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal

import click

from webhook.cli.cluster import cluster_options, refuse_without
from webhook.cli.options import (
    namespace_labels_option,
    policies_or_exit,
    policy_option,
    project_options,
    project_rule,
)
from webhook.cli.review.inputs import Errors, Inputs, inputs_of_cluster, inputs_of_files
from webhook.cli.review.output import Output, print_results
from webhook.cli.review.progress import progress_bar
from webhook.cli.review.reviewer import Reviewer
from webhook.cli.review.totals import Totals
from webhook.cli.terminal import Color, color_option
from webhook.projects import labels_saying
from webhook.sources.cluster import PAGE

FailOn = Literal["denied", "changed", "warning"]


@click.command(short_help="What the webhook would change in pods, manifests and AdmissionReviews.")
@click.argument("files", nargs=-1, metavar="[FILE...|-]")
@policy_option()
@cluster_options("Review the pods of a cluster, each as if it were created now.")
@click.option(
    "--page-size",
    type=click.IntRange(1),
    metavar="N",
    help=f"How many pods to ask a cluster for at once.  [default: {PAGE}]",
)
@click.option(
    "--namespace",
    metavar="NAME",
    help="The namespace of manifests, or the only one of a cluster to review.  [default: the object's, else default]",
)
@namespace_labels_option
@click.option("--project", metavar="P", help="The project, as its namespace's label would say it.")
@click.option("--domain", metavar="D", help="The domain, as its namespace's label would say it.")
@project_options
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "diff", "json", "yaml", "patch", "response"]),
    default="text",
    show_default=True,
    help="A table with reasons and a diff; only the diff; one JSON object; the changed objects; JSON patches, "
    "one a line; AdmissionReview responses, one a line.",
)
@click.option(
    "--summary", is_flag=True, help="Totals per project, resource and rule, after (or, with text, instead of) the rest."
)
@click.option("--ended", is_flag=True, help="Review pods that have ended, too: Succeeded and Failed.")
@click.option(
    "--fail-on",
    type=click.Choice(["denied", "changed", "warning"]),
    default="denied",
    show_default=True,
    help="Exit with 1 on this or anything worse (denied is worst).",
)
@color_option
def review(
    files: tuple[str, ...],
    policy_paths: tuple[Path, ...],
    cluster: bool,
    kubeconfig: Path | None,
    context: str | None,
    page_size: int | None,
    namespace: str | None,
    namespace_labels: dict[str, str],
    project: str | None,
    domain: str | None,
    namespace_template: str,
    domains: tuple[str, ...],
    output: Output,
    summary: bool,
    ended: bool,
    fail_on: FailOn,
    color: Color,
) -> None:
    """Shows what the webhook would change in each FILE, or in what comes on standard input, or in a cluster.

    Takes AdmissionReviews, Pods, anything with a pod template (Deployment, Job, CronJob, StatefulSet, DaemonSet,
    ReplicaSet), Lists, and several documents a file, in YAML or JSON. Namespace objects among them say what labels
    their namespaces have.

    Exit status: 0 fine, 1 --fail-on met, 2 unusable input, policy or usage.
    """
    labels = namespace_labels | labels_saying(project, domain)
    rule = project_rule(namespace_template, domains)
    if cluster and files:
        raise click.UsageError("--cluster takes no files: review them by themselves.")
    refuse_without(cluster, "--cluster", kubeconfig=kubeconfig, context=context, page_size=page_size)
    policies = policies_or_exit(policy_paths)
    errors, totals = Errors(), Totals()
    source: AbstractContextManager[Inputs]
    if cluster:
        source = inputs_of_cluster(kubeconfig, context, namespace, page_size=page_size or PAGE, errors=errors)
    else:
        source = nullcontext(inputs_of_files(files or ("-",), errors))
    reviewer = Reviewer(
        policies, rule, totals, errors, namespace=None if cluster else namespace, labels=labels, with_ended=ended
    )
    with source as inputs, progress_bar(writes_results=output != "text" or not summary) as bar:
        results = reviewer.reviews(inputs, bar)
        print_results(results, output, totals=totals if summary else None, color=color)
    errors.end()
    if totals.ended:
        click.echo(f"Left out because they have ended: {totals.ended} (--ended reviews them, too).", err=True)
    raise click.exceptions.Exit(2 if errors.count else exit_status(totals, fail_on))


def exit_status(totals: Totals, fail_on: FailOn) -> int:
    """1 where --fail-on is met: by what it names, or by anything worse."""
    is_met = {
        "denied": totals.count("denied") > 0,
        "changed": totals.count("denied") + totals.count("changed") > 0,
        "warning": totals.count("denied") + totals.count("changed") + totals.warned > 0,
    }
    return int(is_met[fail_on])
