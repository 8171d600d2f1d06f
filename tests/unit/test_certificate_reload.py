"""Certificates that change under a running server, and clients that must have one (H2, H3)."""

import asyncio
import gc
import logging
import socket
import ssl
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import get_args

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.config_map import write_config_map
from tests.unit.deciding import container, pod, review_body
from tests.unit.serving import SECONDS, Server, http, read_answer, running, until
from tests.unit.slow_path import slow_path
from webhook.certificate_reload import CertificateReload
from webhook.certificates import ensure_certificates
from webhook.metrics import Metrics
from webhook.tls import HandshakeFailure, InvalidTlsFile, TlsFiles

REVIEW = review_body(pod(container(limits={"cpu": "8"})))
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
DAY = timedelta(days=1)

Files = dict[str, str]


def made(folder: Path, name: str = "localhost", *, after: timedelta = timedelta(), client: str | None = None) -> Files:
    """The files of a new CA with what it signed, as a Secret has them."""
    ensure_certificates(folder, [name], client=client, now=lambda: datetime.now(UTC) + after)
    return {file.name: file.read_text() for file in folder.iterdir() if file.is_file()}


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """Where a Secret is mounted."""
    volume = tmp_path / "volume"
    volume.mkdir()
    return volume


@pytest.fixture
def old(tmp_path: Path, volume: Path) -> Files:
    """What is in the Secret at first."""
    old = made(tmp_path / "old")
    write_config_map(volume, old)
    return old


def renewed(tmp_path: Path, old: Files) -> Files:
    """A new serving certificate of the same CA."""
    folder = tmp_path / "renewed"
    folder.mkdir()
    for name in ("ca.crt", "ca.key"):
        (folder / name).write_text(old[name])
    return made(folder)


def mounted(volume: Path, name: str | None = "localhost", client_ca: str | None = None) -> TlsFiles:
    return TlsFiles(
        volume / "tls.crt",
        volume / "tls.key",
        volume / "ca.crt",
        name,
        None if client_ca is None else volume / client_ca,
    )


def options(volume: Path, *more: str) -> list[str]:
    pair = ["--tls-cert", str(volume / "tls.crt"), "--tls-key", str(volume / "tls.key")]
    return [*pair, "--tls-ca", str(volume / "ca.crt"), "--drain-seconds", "0", *more]


def der(pem: str) -> bytes:
    return x509.load_pem_x509_certificate(pem.encode()).public_bytes(serialization.Encoding.DER)


def trusting(*authorities: str, version: str = "1.3", pair: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata="".join(authorities))
    context.minimum_version = context.maximum_version = VERSIONS[version]
    if pair is not None:
        context.load_cert_chain(*pair)
    return context


@contextmanager
def connected(
    server: Server, context: ssl.SSLContext, name: str | None = "localhost", session: ssl.SSLSession | None = None
) -> Iterator[ssl.SSLSocket]:
    plain = socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS)
    with plain, context.wrap_socket(plain, server_hostname=name, session=session) as connection:
        yield connection


def status(connection: ssl.SSLSocket) -> int:
    """What a review over the connection is answered with."""
    connection.sendall(http(REVIEW))
    with connection.makefile("rb") as stream:
        answer = read_answer(stream)
    assert answer is not None
    return answer.status


def served(server: Server, context: ssl.SSLContext, name: str | None = "localhost") -> bytes | None:
    """The certificate that a new connection is shown."""
    with connected(server, context, name) as connection:
        assert status(connection) == 200
        return connection.getpeercert(binary_form=True)


def is_served(server: Server, context: ssl.SSLContext, files: Files) -> bool:
    return served(server, context) == der(files["tls.crt"])


def counted(server: Server, name: str, **labels: str) -> float:
    shown = ",".join(f'{key}="{value}"' for key, value in labels.items())
    start = f"task_resources_{name}{{{shown}}} "
    return float(next(line for line in server.metrics().splitlines() if line.startswith(start)).removeprefix(start))


def log_of(server: Server) -> str:
    return (server.folder / "server.log").read_text()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["localhost", None], ids=["by-name", "by-address"])
def test_a_renewed_certificate_is_served_to_new_connections_and_those_that_are_there_stay(
    tmp_path: Path, volume: Path, old: Files, version: str, name: str | None
) -> None:
    new = renewed(tmp_path, old)
    context = trusting(old["ca.crt"], version=version)
    context.check_hostname = name is not None
    with running(tmp_path, *options(volume)) as server, connected(server, context, name) as kept:
        assert status(kept) == 200
        assert served(server, context, name) == der(old["tls.crt"])
        write_config_map(volume, new)
        until(lambda: served(server, context, name) == der(new["tls.crt"]))
        assert status(kept) == 200
        assert counted(server, "certificate_reloads_total", result="success") == 1
        end = x509.load_pem_x509_certificate(new["tls.crt"].encode()).not_valid_after_utc.timestamp()
        assert counted(server, "certificate_not_after_timestamp_seconds", which="serving") == end
        assert counted(server, "certificate_not_after_timestamp_seconds", which="ca") > end
        assert '"level":"error"' not in log_of(server)


def test_no_handshake_fails_while_certificates_are_changed_again_and_again(tmp_path: Path, volume: Path) -> None:
    sets = [made(tmp_path / str(number)) for number in range(3)]
    authorities = "".join(each["ca.crt"] for each in sets)
    for each in sets:
        each["ca.crt"] = authorities
    write_config_map(volume, sets[0])
    context = trusting(authorities)
    with running(tmp_path, *options(volume, "--tls-name", "localhost")) as server:
        for each in (*sets[1:], *sets):
            write_config_map(volume, each)
            until(partial(is_served, server, context, each))
        assert counted(server, "certificate_reloads_total", result="success") == 5
        kinds = get_args(HandshakeFailure)
        assert [counted(server, "failed_handshakes_total", reason=kind) for kind in kinds] == [0, 0, 0]


def test_an_authority_that_is_renewed_in_place_is_served_to_who_trusts_all_of_its_file(tmp_path: Path) -> None:
    folder = tmp_path / "certs"
    ensure_certificates(folder, ["localhost"], days=3640, now=lambda: datetime.now(UTC) - 3625 * DAY)
    old = (folder / "tls.crt").read_text()
    with running(tmp_path, *options(folder, "--tls-name", "localhost")) as server:
        assert served(server, trusting((folder / "ca.crt").read_text())) == der(old)
        assert ensure_certificates(folder, ["localhost"]).authority is not None
        both = trusting((folder / "ca.crt").read_text())
        until(lambda: served(server, both) == der((folder / "tls.crt").read_text()))
        assert server.ready().status_code == 200
        assert '"level":"error"' not in log_of(server)


class Watching:
    """A CertificateReload of these files that runs; what it logs is in `caplog`."""

    def __init__(self, files: TlsFiles) -> None:
        self.metrics = Metrics()
        self.reload = CertificateReload(files, self.metrics)

    def watch(self, *steps: Callable[[], bool]) -> None:
        """Runs it until each of these holds, in turn."""

        async def watched() -> None:
            running = asyncio.create_task(self.reload.run())
            async with asyncio.timeout(SECONDS):
                for holds in steps:
                    while not holds():
                        assert not running.done()
                        await asyncio.sleep(0.01)
            running.cancel()

        asyncio.run(watched())

    def reloads(self) -> tuple[int, int]:
        """How many changes came into force, and how many were refused."""
        lines = self.metrics.exposition().decode().splitlines()
        start = 'task_resources_certificate_reloads_total{result="'
        counts = dict(line.removeprefix(start).split('"} ') for line in lines if line.startswith(start))
        return int(float(counts["success"])), int(float(counts["failure"]))


def encrypted(pem: str) -> str:
    key = serialization.load_pem_private_key(pem.encode(), password=None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    ).decode()


# What is done to the Secret, given another one that is good by itself, and what is said then.
BROKEN: list[tuple[str, Callable[[Files, Files], Mapping[str, str | None]], str]] = [
    ("half-written", lambda old, _: {"tls.crt": old["tls.crt"][:200]}, "tls.crt is no PEM certificate"),
    ("empty", lambda _, __: {"tls.crt": ""}, "tls.crt is no PEM certificate"),
    ("key-of-another", lambda _, new: {"tls.key": new["tls.key"]}, "tls.key is not the key of"),
    ("certificate-of-another", lambda _, new: {"tls.crt": new["tls.crt"]}, "tls.key is not the key of"),
    ("half-a-key", lambda old, _: {"tls.key": old["tls.key"][:100]}, "tls.key is no PEM key"),
    ("encrypted", lambda old, _: {"tls.key": encrypted(old["tls.key"])}, "tls.key is encrypted"),
    ("gone", lambda _, __: {"tls.crt": None}, "tls.crt cannot be read: No such file or directory"),
    ("no-key", lambda _, __: {"tls.key": None}, "tls.key cannot be read: No such file or directory"),
    ("no-ca", lambda _, __: {"ca.crt": None}, "ca.crt cannot be read: No such file or directory"),
    ("half-a-ca", lambda old, _: {"ca.crt": old["ca.crt"][:99]}, "ca.crt is no PEM certificate"),
    (
        "of-another-ca",
        lambda _, new: {"tls.crt": new["tls.crt"], "tls.key": new["tls.key"]},
        "the serving certificate is refused by who trusts",
    ),
]


@pytest.mark.parametrize(("change", "part"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_a_broken_change_is_refused_and_named_and_what_was_served_stays(
    tmp_path: Path,
    volume: Path,
    old: Files,
    caplog: pytest.LogCaptureFixture,
    change: Callable[[Files, Files], Mapping[str, str | None]],
    part: str,
) -> None:
    watching = Watching(mounted(volume))
    before = watching.reload.context.current
    changed = {**old, **change(old, made(tmp_path / "new"))}
    write_config_map(volume, {name: text for name, text in changed.items() if text is not None})
    reload = watching.reload
    watching.watch(lambda: reload.note() is not None)
    assert reload.context.current is before
    assert reload.why_not_ready() is None
    assert "the last change was refused at " in str(reload.note())
    assert part in str(reload.note())
    assert watching.reloads() == (0, 1)
    assert part in errors(caplog)[0]
    write_config_map(volume, renewed(tmp_path, old))
    watching.watch(lambda: reload.note() is None)
    assert reload.context.current is not before
    assert watching.reloads() == (1, 1)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno == logging.ERROR]


@dataclass(frozen=True)
class Counted(TlsFiles):
    """Files that count how often they are looked at."""

    looks: list[None] = field(default_factory=list)

    def fingerprint(self) -> tuple[bytes | int, ...]:
        self.looks.append(None)
        return super().fingerprint()


def test_a_change_that_stays_broken_is_counted_and_logged_once(
    volume: Path, old: Files, caplog: pytest.LogCaptureFixture
) -> None:
    files = Counted(volume / "tls.crt", volume / "tls.key")
    watching = Watching(files)
    write_config_map(volume, {**old, "tls.key": "?"})
    watching.watch(lambda: watching.reload.note() is not None)
    seen, note = len(files.looks), watching.reload.note()
    watching.watch(lambda: len(files.looks) > seen + 6)
    assert watching.reloads() == (0, 1)
    assert len(errors(caplog)) == 1
    assert watching.reload.note() == note


@pytest.mark.parametrize(
    ("after", "name", "part"),
    [
        (-400 * DAY, "localhost", "the serving certificate ended on "),
        (DAY, "localhost", "the serving certificate is valid only from "),
        (timedelta(), "elsewhere", "Hostname mismatch, certificate is not valid for 'localhost'"),
    ],
    ids=["ended", "not-yet", "another-name"],
)
def test_a_change_that_no_client_would_accept_is_refused(
    tmp_path: Path, volume: Path, old: Files, after: timedelta, name: str, part: str
) -> None:
    watching = Watching(mounted(volume))
    before = watching.reload.context.current
    write_config_map(volume, made(tmp_path / "new", name, after=after))
    watching.watch(lambda: watching.reload.note() is not None)
    assert part in str(watching.reload.note())
    assert watching.reload.context.current is before


def test_a_certificate_that_becomes_valid_is_served_from_then_on(tmp_path: Path, volume: Path, old: Files) -> None:
    watching = Watching(TlsFiles(volume / "tls.crt", volume / "tls.key"))
    write_config_map(volume, made(tmp_path / "new", after=timedelta(minutes=5, seconds=3)))
    watching.watch(lambda: watching.reload.note() is not None, lambda: watching.reload.note() is None)
    assert watching.reloads() == (1, 1)


@pytest.mark.parametrize(
    ("name", "after", "ca", "part"),
    [
        ("localhost", timedelta(), "new", "is refused by who trusts"),
        ("elsewhere", timedelta(), "old", "Hostname mismatch"),
        ("localhost", -400 * DAY, "old", "ended on"),
        ("localhost", DAY, "old", "valid only from"),
    ],
    ids=["another-ca", "another-name", "ended", "not-yet"],
)
def test_what_clients_do_not_accept_at_the_start_is_not_ready_until_it_is_mended(
    tmp_path: Path, volume: Path, name: str, after: timedelta, ca: str, part: str
) -> None:
    sets = {"old": made(tmp_path / "old", name, after=after), "new": made(tmp_path / "new")}
    write_config_map(volume, {**sets["old"], "ca.crt": sets[ca]["ca.crt"]})
    watching = Watching(mounted(volume))
    assert part in str(watching.reload.why_not_ready())
    write_config_map(volume, sets["new"])
    watching.watch(lambda: watching.reload.why_not_ready() is None)


def test_a_certificate_that_comes_before_its_ca_waits_for_it(tmp_path: Path, volume: Path, old: Files) -> None:
    new = made(tmp_path / "new")
    watching = Watching(mounted(volume))
    before = watching.reload.context.current
    write_config_map(volume, {**new, "ca.crt": old["ca.crt"]})
    watching.watch(lambda: watching.reload.note() is not None)
    assert watching.reload.context.current is before
    assert watching.reload.why_not_ready() is None
    write_config_map(volume, new)
    watching.watch(lambda: watching.reload.note() is None)
    assert watching.reload.context.current is not before
    assert watching.reload.why_not_ready() is None


def test_a_ca_that_comes_alone_makes_the_server_not_ready_until_its_certificate_comes(
    tmp_path: Path, volume: Path, old: Files
) -> None:
    new = made(tmp_path / "new")
    watching = Watching(mounted(volume))
    write_config_map(volume, {**old, "ca.crt": new["ca.crt"]})
    watching.watch(lambda: watching.reload.why_not_ready() is not None)
    assert "is refused by who trusts" in str(watching.reload.why_not_ready())
    write_config_map(volume, new)
    watching.watch(lambda: watching.reload.why_not_ready() is None)


def test_a_certificate_is_trusted_as_well_where_the_ca_file_has_it_itself(volume: Path, old: Files) -> None:
    write_config_map(volume, {**old, "ca.crt": old["tls.crt"]})
    assert CertificateReload(mounted(volume), Metrics()).why_not_ready() is None


def test_a_common_name_is_none_by_which_clients_call(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - DAY, now + DAY)
    (tmp_path / "tls.crt").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    (tmp_path / "tls.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (tmp_path / "ca.crt").write_bytes((tmp_path / "tls.crt").read_bytes())
    assert CertificateReload(mounted(tmp_path, name=None), Metrics()).why_not_ready() is None
    assert "Hostname mismatch" in str(CertificateReload(mounted(tmp_path), Metrics()).why_not_ready())


def test_readiness_says_what_is_wrong_and_why_a_change_was_refused(tmp_path: Path, volume: Path, old: Files) -> None:
    new = made(tmp_path / "new")
    with running(tmp_path, *options(volume)) as server:
        assert "[+]certificate ok\n" in server.ready().text
        write_config_map(volume, {**old, "tls.crt": "?"})
        until(lambda: "[+]certificate ok: the last change was refused at " in server.ready().text)
        assert server.ready().status_code == 200
        write_config_map(volume, {**old, "ca.crt": new["ca.crt"]})
        until(lambda: server.ready().status_code == 503)
        assert (
            f"[-]certificate failed: the serving certificate is refused by who trusts {volume}" in server.ready().text
        )


@pytest.mark.parametrize("version", VERSIONS)
def test_a_handshake_that_fails_is_counted_by_its_reason_and_fills_no_log(
    tmp_path: Path, volume: Path, old: Files, version: str
) -> None:
    other = made(tmp_path / "new")["ca.crt"]
    with running(tmp_path, *options(volume)) as server:
        said = log_of(server)
        with pytest.raises(ssl.SSLCertVerificationError):
            ask(server, trusting(other, version=version))
        until(lambda: counted(server, "failed_handshakes_total", reason="alert") == 1)
        with socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS) as plain:
            plain.sendall(http(REVIEW))
        until(lambda: counted(server, "failed_handshakes_total", reason="protocol") == 1)
        assert log_of(server) == said


@pytest.mark.parametrize("file", ["tls.crt", "tls.key", "ca.crt", "client-ca.crt"])
def test_a_file_that_cannot_be_used_ends_the_start_and_is_named(volume: Path, old: Files, file: str) -> None:
    write_config_map(volume, {**old, "client-ca.crt": old["ca.crt"], file: "?"})
    with pytest.raises(InvalidTlsFile, match=file):
        CertificateReload(mounted(volume, client_ca="client-ca.crt"), Metrics())


@pytest.fixture
def clients(tmp_path: Path, volume: Path, old: Files) -> Callable[[str], tuple[Path, Path]]:
    """The certificates of clients by their CA, of which the mounted one is that of `ours`."""
    for name in ("ours", "theirs"):
        made(tmp_path / name, client=f"{name}.example")
    write_config_map(volume, {**old, "client-ca.crt": (tmp_path / "ours" / "ca.crt").read_text()})
    return lambda name: (tmp_path / name / "client.crt", tmp_path / name / "client.key")


Clients = Callable[[str], tuple[Path, Path]]


def ask(server: Server, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> None:
    """Sends a review on a new connection. Raises SSLError: in TLS 1.3 after the client's part of the handshake."""
    with connected(server, context, session=session) as connection:
        assert status(connection) == 200


def refusal(server: Server, context: ssl.SSLContext) -> str:
    """What OpenSSL says where a connection is refused."""
    with pytest.raises(ssl.SSLError) as caught:
        ask(server, context)
    return caught.value.reason


@pytest.mark.parametrize("version", VERSIONS)
def test_with_a_client_ca_reviews_need_a_certificate_of_it_and_probes_do_not(
    tmp_path: Path, volume: Path, old: Files, clients: Clients, version: str
) -> None:
    with running(tmp_path, *options(volume, "--client-ca", str(volume / "client-ca.crt"))) as server:
        ours = trusting(old["ca.crt"], version=version, pair=clients("ours"))
        ask(server, ours)
        missing = "TLSV13_ALERT_CERTIFICATE_REQUIRED" if version == "1.3" else "SSLV3_ALERT_HANDSHAKE_FAILURE"
        assert refusal(server, trusting(old["ca.crt"], version=version)) == missing
        others = (clients("theirs"), (volume / "tls.crt", volume / "tls.key"))  # the second is no client's certificate
        for pair in others:
            assert "ALERT" in refusal(server, trusting(old["ca.crt"], version=version, pair=pair))
        assert counted(server, "failed_handshakes_total", reason="client-certificate") == 3
        assert counted(server, "certificate_not_after_timestamp_seconds", which="client-ca") > 0
        assert server.ready().status_code == 200
        assert "Traceback" not in log_of(server)
        assert len(log_of(server).splitlines()) == 2  # where it listens, and the review


def refused_in_memory(serving: ssl.SSLContext, client: ssl.SSLContext) -> "weakref.ref[ssl.SSLObject]":
    """The server's side of a handshake that it refused, as an event loop leaves it."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = serving.wrap_bio(to_server, to_client, server_side=True)
    asking = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    for side in (asking, server, asking, server):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        server.do_handshake()
    return weakref.ref(server)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_a_refused_handshake_held_is_let_go_at_once(
    volume: Path, old: Files, clients: Clients, version: str
) -> None:
    """Tens of kilobytes each, which many of them would hold until Python looks for cycles."""
    serving = CertificateReload(mounted(volume, client_ca="client-ca.crt"), Metrics()).context
    client = trusting(old["ca.crt"], version=version)
    gc.disable()
    try:
        assert refused_in_memory(serving, client)() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_changed_client_ca_counts_for_new_connections_resumed_ones_too(
    tmp_path: Path, volume: Path, old: Files, clients: Clients, version: str
) -> None:
    ours, theirs = (trusting(old["ca.crt"], version=version, pair=clients(name)) for name in ("ours", "theirs"))
    with running(tmp_path, *options(volume, "--client-ca", str(volume / "client-ca.crt"))) as server:
        with connected(server, ours) as kept:
            assert status(kept) == 200
            session = kept.session
            with connected(server, ours, session=session) as resumed:
                assert status(resumed) == 200
                assert resumed.session_reused
            write_config_map(volume, {**old, "client-ca.crt": (tmp_path / "theirs" / "ca.crt").read_text()})
            until(lambda: counted(server, "certificate_reloads_total", result="success") == 1)
            assert status(kept) == 200
        with pytest.raises(ssl.SSLError):
            ask(server, ours, session)
        ask(server, theirs)


@pytest.mark.parametrize(
    ("names", "answer"),
    [
        (["ours.example"], 200),
        (["another", "ours.example"], 200),
        (["another"], 403),
        (["example"], 403),
    ],
    ids=["its-name", "one-of-two", "another", "a-part"],
)
def test_of_a_client_ca_only_certificates_with_these_names_may_ask(
    tmp_path: Path, volume: Path, old: Files, clients: Clients, names: list[str], answer: int
) -> None:
    given = [word for name in names for word in ("--client-name", name)]
    context = trusting(old["ca.crt"], pair=clients("ours"))
    with (
        running(tmp_path, *options(volume, "--client-ca", str(volume / "client-ca.crt"), *given)) as server,
        httpx.Client(base_url=server.url, verify=context, headers={"content-type": "application/json"}) as client,
    ):
        answers = [client.post("/mutate", content=REVIEW), client.post("/mutate", content=iter([REVIEW]))]
        assert [each.status_code for each in answers] == [answer, answer]
        if answer == 403:
            assert answers[0].text == "--client-name accepts no certificate of 'ours.example'\n"
            assert answers[0].headers["connection"] == "close"
            assert counted(server, "refused_requests_total", code="403") == 2


# Files that do not answer


def test_while_certificate_files_do_not_answer_what_was_served_stays_and_no_more_than_one_thread_waits(
    volume: Path, old: Files
) -> None:
    slow = slow_path(volume)
    metrics = Metrics()
    files = TlsFiles(slow / "tls.crt", slow / "tls.key")
    reload = CertificateReload(files, metrics, answer_seconds=0.1)
    served = reload.context.current

    def counted() -> tuple[float, float]:
        text = metrics.exposition().decode()
        line = 'task_resources_certificate_reloads_total{result="%s"} '
        one, other = (text.partition(line % result)[2].partition("\n")[0] for result in ("success", "failure"))
        return float(one), float(other)

    async def scenario() -> None:
        watching = asyncio.create_task(reload.run())
        await asyncio.to_thread(until, lambda: True)  # its thread is there from now on
        before = set(threading.enumerate())
        slow.answers.clear()
        await asyncio.to_thread(
            until, lambda: "tls.crt and what belongs to it: no answer within 0.1 s" in str(reload.note())
        )
        assert (reload.context.current is served, counted()) == (True, (0, 1))
        assert set(threading.enumerate()) <= before
        slow.answers.set()
        await asyncio.to_thread(until, lambda: reload.note() is None)
        assert counted() == (1, 1)
        watching.cancel()

    asyncio.run(scenario())
