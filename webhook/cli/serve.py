"""`task-resources serve`: reads everything that can be wrong before it listens, then hands the parts to each other."""

import gc
import logging
import os
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import click

from webhook.app import Check, Checks, Load, Reviews, management_app, review_app
from webhook.certificate_reload import CertificateReload
from webhook.certificates import InvalidCertificateFiles, ensure_certificates, is_name
from webhook.cli.options import policies_or_exit, policy_option, project_options, project_rule
from webhook.logs import LogFormat, LogLevel, ReviewLog, configure_logging
from webhook.metrics import Metrics, NamespaceCounts
from webhook.rollout import Rollout
from webhook.server import ConnectionLimits, Served, addresses, listen, run
from webhook.snapshot import Snapshot
from webhook.sources.cluster import UnreachableCluster, connect, has_service_account
from webhook.sources.namespace_api import NamespaceApi
from webhook.sources.namespace_watch import ClusterNamespaces
from webhook.sources.namespaces import InvalidNamespaces, load_namespaces
from webhook.sources.policy_process import SWITCH_SECONDS
from webhook.sources.policy_reload import PolicyReload, signature
from webhook.tls import InvalidTlsFile, MinimumVersion, TlsFiles

logger = logging.getLogger(__name__)

DEVELOPMENT_FOLDER = Path("certs")
DEVELOPMENT_NAMES = ("localhost", "127.0.0.1", "::1")
SAMPLE_POLICIES = Path("examples/policies")
SAMPLE_REVIEW = "examples/reviews/flyte-task-override-cpu-6.json"

# Python's own threshold of 2,000 new objects would look for cycles after every few reviews, which make none.
GARBAGE_THRESHOLD = 50_000


@click.command(
    short_help="Answer the API server's reviews over HTTPS.",
    context_settings={"auto_envvar_prefix": "TASK_RESOURCES", "show_default": True},
)
@policy_option(required=False)
@click.option("--host", help="Where reviews are answered.  [default: 0.0.0.0; with --dev 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), default=8443)
@click.option("--management-host", help="Where probes and metrics are answered.  [default: as --host]")
@click.option("--management-port", type=click.IntRange(0, 65535), default=8080)
@click.option("--tls-cert", type=click.Path(path_type=Path), help="The serving certificate and its chain, PEM.")
@click.option("--tls-key", type=click.Path(path_type=Path), help="Its key, PEM without a passphrase.")
@click.option(
    "--tls-ca",
    type=click.Path(path_type=Path),
    help="The CA that callers trust, what caBundle has, PEM: not ready while the certificate is not of it.",
)
@click.option("--tls-name", help="The name that callers expect in the certificate, checked with --tls-ca.")
@click.option(
    "--client-ca",
    type=click.Path(path_type=Path),
    help="Reviews need a client certificate of this CA, PEM.",
)
@click.option(
    "--client-name",
    "client_names",
    multiple=True,
    help="Only client certificates with this common name or DNS name. Repeatable.",
)
@click.option("--tls-min-version", type=click.Choice(["1.2", "1.3"]), default="1.2")
@click.option(
    "--namespaces",
    metavar="cluster|none|FILE",
    help="Where labels of namespaces come from: the cluster, nowhere, or a file of Namespace objects.  "
    "[default: cluster where a service account is mounted, else none]",
)
@project_options
@click.option(
    "--max-in-flight",
    type=click.IntRange(1),
    default=256,
    help="Reviews that wait for a namespace at once; beyond it the answer is 503.",
)
@click.option("--drain-seconds", type=click.FloatRange(0, 3600), default=15.0, help="How long to answer after SIGTERM.")
@click.option(
    "--keep-alive-seconds",
    type=click.IntRange(1, 3600),
    default=120,
    help="When an idle connection is closed; above the API server's own 90.",
)
@click.option("--connection-max-requests", type=click.IntRange(1), default=1000)
@click.option("--connection-max-age-seconds", type=click.FloatRange(1), default=300.0)
@click.option(
    "--policy-rollout-seconds",
    type=click.FloatRange(0, 3600),
    default=0.0,
    help="How far apart replicas may see a changed policy, which decides that much and 10 s later; with 0 at once.",
)
@click.option("--metrics-by-project", is_flag=True, help="Label changes, capacity and denials with the project, too.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info")
@click.option("--log-format", type=click.Choice(["json", "text"]), help="[default: json; with --dev text]")
@click.option(
    "--dev",
    is_flag=True,
    help="On 127.0.0.1, with a CA and a certificate made in certs/, sample policies and a log for people.",
)
def serve(
    policy_paths: tuple[Path, ...],
    host: str | None,
    port: int,
    management_host: str | None,
    management_port: int,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_ca: Path | None,
    tls_name: str | None,
    client_ca: Path | None,
    client_names: tuple[str, ...],
    tls_min_version: MinimumVersion,
    namespaces: str | None,
    namespace_template: str,
    domains: tuple[str, ...],
    max_in_flight: int,
    drain_seconds: float,
    keep_alive_seconds: int,
    connection_max_requests: int,
    connection_max_age_seconds: float,
    policy_rollout_seconds: float,
    metrics_by_project: bool,
    log_level: LogLevel,
    log_format: LogFormat | None,
    dev: bool,
) -> None:
    """Answers reviews on /mutate and /validate over HTTPS; /livez, /readyz and /metrics without TLS on a second port.

    Every option has an environment variable: TASK_RESOURCES_TLS_CERT is --tls-cert. What is wrong with policies,
    certificates or options is said at once, and the exit status is 1.
    """
    namespaces = namespaces or ("cluster" if has_service_account() and not dev else "none")
    namespace_labels = _namespace_labels(namespaces)
    api = _cluster() if namespaces == "cluster" else None
    policy_paths = policy_paths or _sample_policies(dev)
    files = signature(policy_paths)  # before they are read: a change since then is seen
    output = sys.stderr.buffer
    log_format = log_format or ("text" if dev else "json")
    metrics = Metrics(by_project=metrics_by_project)
    # No name for the snapshot: this function ends with the server, and would keep it after a reload.
    reviews = Reviews(
        Snapshot(
            policies_or_exit(policy_paths, code=1, may_be_pipes=False),
            project_rule(namespace_template, domains),
            namespace_labels,
            knows_all=api is None,
        ),
        metrics,
        ReviewLog(output, log_format, log_level),
    )
    policy_hash = reviews.snapshot.policies.hash
    if tls_name is not None and tls_ca is None:
        raise click.UsageError("--tls-name needs --tls-ca.")
    if tls_name is not None and not is_name(tls_name):
        raise click.UsageError(f"--tls-name {tls_name!r} is no DNS name or IP address.")
    if client_names and client_ca is None:
        raise click.UsageError("--client-name needs --client-ca.")
    pair = _pair(tls_cert, tls_key, dev=dev)
    certificates = _certificates(TlsFiles(*pair, tls_ca, tls_name, client_ca, tls_min_version), metrics)
    host = host or ("127.0.0.1" if dev else "0.0.0.0")  # noqa: S104 - a server in a pod listens on its address
    configure_logging(output, log_format, log_level)
    metrics.set_policy(reviews.snapshot.policies, time.time())
    load = Load(max_in_flight)
    rollout = Rollout(reviews, policy_rollout_seconds)
    reload = PolicyReload(policy_paths, files, policy_hash, rollout.use, metrics.count_reload, rollout.expect)
    review_socket = _listening("--port", host, port)
    management_socket = _listening("--management-port", management_host or host, management_port)
    cluster_namespaces = _follow(api, namespace_labels, reviews) if api is not None else None
    served = Served(
        reviews,
        load,
        review_app(reviews, load),
        review_socket,
        certificates.context,
        management_app(reviews, load, _checks(load, certificates, reload, rollout, cluster_namespaces)),
        management_socket,
        ConnectionLimits(connection_max_requests, connection_max_age_seconds, keep_alive_seconds),
        [reload.run, certificates.run, *([cluster_namespaces.run] if cluster_namespaces is not None else [])],
        frozenset(client_names),
    )
    where = addresses([review_socket, management_socket])
    logger.info("reviews on https://%s, probes and metrics on http://%s, policy set %s", *where, policy_hash)
    if dev:
        click.echo(_hint(where[0]), err=True)
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)
    sys.setswitchinterval(SWITCH_SECONDS)
    run(served, drain_seconds=0 if dev else drain_seconds)


def _sample_policies(dev: bool) -> tuple[Path, ...]:
    if not dev:
        raise click.UsageError("Missing option '--policy': a policy file, or a folder of them (or --dev).")
    if not SAMPLE_POLICIES.is_dir():
        raise click.UsageError(f"--dev takes its policies from {SAMPLE_POLICIES}, which is not here: give --policy.")
    return (SAMPLE_POLICIES,)


def _namespace_labels(namespaces: str) -> dict[str, Mapping[str, str]]:
    """What is known of namespaces at the start; those of a cluster are listed once the server runs."""
    if namespaces in ("none", "cluster"):
        return {}
    try:
        return load_namespaces(Path(namespaces))
    except InvalidNamespaces as error:
        raise click.ClickException(f"--namespaces: {error}") from error


def _cluster() -> NamespaceApi:
    try:
        return NamespaceApi(connect())
    except UnreachableCluster as error:
        raise click.ClickException(f"--namespaces cluster: {error}") from error


def _follow(api: NamespaceApi, labels: dict[str, Mapping[str, str]], reviews: Reviews) -> ClusterNamespaces:
    """Keeps the labels that the snapshot in force reads, whichever it is, up to date once it runs."""
    reviews.metrics.namespaces = counts = NamespaceCounts()
    namespaces = ClusterNamespaces(api, labels, reviews.forget, counts)
    reviews.look_up = namespaces.look_up
    return namespaces


def _pair(certificate: Path | None, key: Path | None, *, dev: bool) -> tuple[Path, Path]:
    """The files of the serving pair, which --dev makes itself."""
    if (certificate is None) != (key is None):
        raise click.UsageError("--tls-cert and --tls-key belong together: give both.")
    if certificate is not None and key is not None:
        return certificate, key
    if not dev:
        raise click.UsageError("Missing options '--tls-cert' and '--tls-key' (or --dev).")
    try:
        ensure_certificates(DEVELOPMENT_FOLDER, DEVELOPMENT_NAMES)
    except InvalidCertificateFiles as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from error
    return DEVELOPMENT_FOLDER / "tls.crt", DEVELOPMENT_FOLDER / "tls.key"


def _certificates(files: TlsFiles, metrics: Metrics) -> CertificateReload:
    try:
        return CertificateReload(files, metrics)
    except InvalidTlsFile as error:
        raise click.ClickException(str(error)) from error


def _listening(option: str, host: str, port: int) -> socket.socket:
    try:
        return listen(host, port)
    except OSError as error:
        # Python's own text repeats the address.
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise click.ClickException(f"{option} {port}: cannot listen on {host}: {reason}") from error


def _checks(
    load: Load,
    certificates: CertificateReload,
    reload: PolicyReload,
    rollout: Rollout,
    namespaces: ClusterNamespaces | None,
) -> Checks:
    checks: dict[str, Check] = {
        "serving": lambda: None if load.state == "serving" else f"the webhook is {load.state}",
        "certificate": certificates.why_not_ready,
    }
    notes: dict[str, Check] = {
        "certificate": certificates.note,
        "policies": lambda: reload.note() or rollout.note(),
    }
    if namespaces is not None:
        checks["namespaces"] = namespaces.why_not_ready
        notes["namespaces"] = namespaces.why_stale
    return Checks(checks, notes)


def _hint(address: str) -> str:
    """What to try next, for who runs it for the first time."""
    port = address.rpartition(":")[2]
    return (
        "Ask what would become of a pod:\n"
        f"  curl --cacert {DEVELOPMENT_FOLDER}/ca.crt -H 'Content-Type: application/json' \\\n"
        f"    --data-binary @{SAMPLE_REVIEW} https://localhost:{port}/mutate"
    )
