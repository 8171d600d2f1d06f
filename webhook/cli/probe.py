"""`task-resources probe`: asks a running webhook as the API server would, and says what is wrong with the way to it."""

import base64
import json
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import click
import jsonpatch
from cryptography import x509

from webhook.admission import API_VERSION
from webhook.regular_files import read_file_bytes
from webhook.tls import InvalidTlsFile, load_trust

Json = dict[str, Any]

# The API server's own, unless a webhook configuration says otherwise.
TIMEOUT_SECONDS = 10

SAMPLE: Json = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "task-resources-probe"},
    "spec": {"containers": [{"name": "main", "image": "never-pulled"}]},
}

# OpenSSL's word for an other side that takes no connection without a certificate.
CERTIFICATE_WANTED = "TLSV13_ALERT_CERTIFICATE_REQUIRED"


class NoAnswer(Exception):
    """Why the API server would get no answer that it can use."""


class CertificateWanted(NoAnswer):
    """The webhook takes no review without a client certificate."""


@dataclass(frozen=True)
class Endpoint:
    """Where to connect, and the name that the API server would verify."""

    host: str
    port: int
    path: str
    name: str
    trust: ssl.SSLContext


def _url(context: click.Context, parameter: click.Parameter, url: str) -> str:
    parts = urlsplit(url)
    try:
        is_usable = parts.scheme == "https" and parts.hostname and parts.port != 0
    except ValueError:  # a port that is none
        is_usable = False
    if not is_usable or parts.query or parts.fragment or parts.username:
        raise click.BadParameter(
            f"{url!r} is no address of a webhook; accepted: https://HOST[:PORT]", context, parameter
        )
    return url.rstrip("/")


@click.command(short_help="Ask a running webhook as the API server would.")
@click.argument("url", callback=_url)
@click.option(
    "--ca",
    type=click.Path(path_type=Path),
    help="The CA that the API server trusts, what caBundle has, PEM.  [default: those of the system]",
)
@click.option("--name", help="The name that the certificate must have.  [default: the host in URL]")
@click.option("--namespace", default="default", show_default=True, help="Where the pod would be created.")
@click.option("--client-cert", type=click.Path(path_type=Path), help="The certificate of the API server, PEM.")
@click.option("--client-key", type=click.Path(path_type=Path), help="Its key, PEM without a passphrase.")
@click.option("--refused", is_flag=True, help="Succeed if no review is taken without a client certificate.")
def probe(
    url: str,
    ca: Path | None,
    name: str | None,
    namespace: str,
    client_cert: Path | None,
    client_key: Path | None,
    refused: bool,
) -> None:
    """Posts reviews of a pod that asks for nothing to URL/mutate and URL/validate, and creates nothing.

    For an API server that says "failed calling webhook": tells a name that does not match, an unknown CA, and the like
    from each other. Through `kubectl port-forward`, URL is https://localhost:PORT and --name NAME.NAMESPACE.svc.

    Exit status: 0 both were answered, 1 not, with the reason, 2 usage.
    """
    if (client_cert is None) != (client_key is None):
        raise click.UsageError("--client-cert and --client-key belong together: give both.")
    if refused and client_cert is not None:
        raise click.UsageError("--refused is about who has no certificate: give it without --client-cert.")
    parts = urlsplit(url)
    host = str(parts.hostname)
    trust = _trust(ca, client_cert, client_key)
    endpoint = Endpoint(host, parts.port or 443, parts.path, name or host, trust)
    try:
        _probe(endpoint, namespace)
    except CertificateWanted as wanted:
        if not refused:
            raise click.ClickException(f"{url}: {wanted}") from wanted
        click.echo("refused without a client certificate, as it should be")
        return
    except NoAnswer as error:
        raise click.ClickException(f"{url}: {error}") from error
    if refused:
        raise click.ClickException(f"{url}: answered without a client certificate")


def _trust(ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    try:
        trust = ssl.create_default_context() if ca is None else load_trust(ca, None).context
        trust.check_hostname = True
        trust.hostname_checks_common_name = False  # as Go
        if certificate is not None and key is not None:
            for file in (certificate, key):
                read_file_bytes(file)  # OpenSSL would wait for a pipe
            trust.load_cert_chain(certificate, key)
    except InvalidTlsFile as error:
        raise click.ClickException(f"--ca: {error}") from error
    except (ssl.SSLError, OSError) as error:
        where = f"{error.filename}: " if error.filename else ""
        raise click.ClickException(f"--client-cert, --client-key: {where}{error.strerror or error}") from error
    return trust


def _probe(endpoint: Endpoint, namespace: str) -> None:
    """Says a line for each answer, the second about the pod as the first left it. Raises NoAnswer."""
    pod = SAMPLE
    for path in ("/mutate", "/validate"):
        started = time.monotonic()
        with _connected(endpoint) as connection:
            told = _described(connection)
            response = _answer(connection, endpoint, path, _review(pod, namespace))
        milliseconds = (time.monotonic() - started) * 1000
        verdict = "allowed" if response["allowed"] else f"denied: {response.get('status', {}).get('message')}"
        operations = _operations(response)
        patch = f"a patch of {len(operations)} operations" if operations else "no patch"
        click.echo(f"{path}: {verdict}, {patch}; {milliseconds:.0f} ms, {told}")
        for warning in response.get("warnings", ()):
            click.echo(f"{path}: warning: {warning}")
        pod = _patched(pod, operations)


def _described(connection: HTTPConnection) -> str:
    tls: Any = connection.sock
    end = datetime.fromtimestamp(ssl.cert_time_to_seconds(tls.getpeercert()["notAfter"]), UTC)
    return f"{tls.version()}, certificate valid until {end:%Y-%m-%d}"


@contextmanager
def _connected(endpoint: Endpoint) -> Iterator[HTTPConnection]:
    """A connection over which anything may still go wrong. Raises NoAnswer."""
    connection = HTTPConnection(endpoint.host, endpoint.port)
    with closing(connection):
        try:
            plain = socket.create_connection((endpoint.host, endpoint.port), TIMEOUT_SECONDS)
            connection.sock = endpoint.trust.wrap_socket(plain, server_hostname=endpoint.name)
            yield connection
        except ssl.SSLCertVerificationError as error:
            raise NoAnswer(f"{error.verify_message.rstrip('.')}; {_shown(endpoint)}") from error
        except ssl.SSLError as error:
            raise _refusal(error) from error
        except socket.gaierror as error:
            raise NoAnswer(f"{endpoint.host} cannot be found: {error.strerror}") from error
        except ConnectionRefusedError as error:
            raise NoAnswer("nobody listens: no replica is ready, or the port is another one") from error
        except TimeoutError as error:
            raise NoAnswer(
                f"no answer within {TIMEOUT_SECONDS} seconds: is a firewall or a NetworkPolicy between?"
            ) from error
        except (OSError, HTTPException) as error:
            raise NoAnswer(f"the connection ended without an answer: {error}") from error


def _shown(endpoint: Endpoint) -> str:
    """Which certificate the webhook shows, whatever is wrong with it."""
    try:
        pem = ssl.get_server_certificate((endpoint.host, endpoint.port), timeout=TIMEOUT_SECONDS)
    except OSError as error:
        return f"its certificate cannot be read: {error}"
    shown = x509.load_pem_x509_certificate(pem.encode())
    try:
        names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        told = ", ".join(str(each.value) for each in names)
    except x509.ExtensionNotFound:
        told = "no name (the common name does not count)"
    return (
        f"its certificate is for {told}, was issued by {shown.issuer.rfc4514_string()} "
        f"and ends on {shown.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    )


def _refusal(error: ssl.SSLError) -> NoAnswer:
    reason = error.reason or str(error)
    if reason == CERTIFICATE_WANTED:
        return CertificateWanted("it takes no review without a client certificate: give --client-cert and --client-key")
    if reason == "WRONG_VERSION_NUMBER":
        return NoAnswer("it does not speak TLS: is it the port for probes and metrics?")
    return NoAnswer(f"no TLS connection: {reason}")


def _review(pod: Json, namespace: str) -> Json:
    request = {
        "uid": str(uuid4()),
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "name": pod["metadata"]["name"],
        "namespace": namespace,
        "operation": "CREATE",
        "userInfo": {"username": "task-resources-probe"},
        "object": {**pod, "metadata": {**pod["metadata"], "namespace": namespace}},
        "oldObject": None,
        "dryRun": True,
    }
    return {"apiVersion": API_VERSION, "kind": "AdmissionReview", "request": request}


def _answer(connection: HTTPConnection, endpoint: Endpoint, path: str, review: Json) -> Json:
    """The response in the answer. Raises NoAnswer for one that the API server would not accept."""
    headers = {"Host": endpoint.name, "Content-Type": "application/json", "Accept": "application/json"}
    url = f"{endpoint.path}{path}?timeout={TIMEOUT_SECONDS}s"
    connection.request("POST", url, json.dumps(review), headers)
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise NoAnswer(f"{path}: {answer.status} {answer.reason}: {body[:300].decode(errors='replace').strip()}")
    try:
        found = json.loads(body)
        kind, response = (found["apiVersion"], found["kind"]), found["response"]
        uid, is_allowed = response["uid"], response["allowed"]
    except (ValueError, TypeError, KeyError) as error:
        raise NoAnswer(f"{path}: the answer is no AdmissionReview: {body[:300].decode(errors='replace')}") from error
    if kind != (API_VERSION, "AdmissionReview") or uid != review["request"]["uid"] or not isinstance(is_allowed, bool):
        raise NoAnswer(f"{path}: the answer is not to this review: {body[:300].decode(errors='replace')}")
    return dict(response)


def _operations(response: Json) -> list[Json]:
    patch = response.get("patch")
    operations: list[Json] = json.loads(base64.b64decode(patch)) if patch else []
    return operations


def _patched(pod: Json, operations: list[Json]) -> Json:
    """The pod with the patch applied as the API server applies it. Raises NoAnswer."""
    try:
        patched: Json = jsonpatch.JsonPatch(operations).apply(pod)
    except jsonpatch.JsonPatchException as error:
        raise NoAnswer(f"the patch cannot be applied: {error}") from error
    return patched
