"""`task-resources certs` and `serve --dev`: what is made, kept and renewed, and what cannot be served."""

import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from webhook.certificates import InvalidCertificateFiles, Made, ensure_certificates, is_name, names_of
from webhook.tls import InvalidTlsFile, Serving, TlsFiles, load_serving

NAMES = ["task-resource-webhook.task-resources.svc", "127.0.0.1", "::1"]
DAY = timedelta(days=1)
TODAY = datetime.now(UTC)
FILES = ("ca.crt", "ca.key", "tls.crt", "tls.key")


def ensure(folder: Path, *names: str, after: timedelta = timedelta(), force: bool = False, days: int = 365) -> Made:
    return ensure_certificates(folder, list(names) or NAMES, force=force, days=days, now=lambda: TODAY + after)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


def leaf(folder: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificates((folder / "tls.crt").read_bytes())[0]


def authorities(folder: Path) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates((folder / "ca.crt").read_bytes())


def serving_of(folder: Path) -> Serving:
    return load_serving(TlsFiles(folder / "tls.crt", folder / "tls.key"))


def test_a_ca_and_a_certificate_for_every_name_are_made(tmp_path: Path) -> None:
    made = ensure(tmp_path / "new" / "folder")
    certificate = leaf(tmp_path / "new" / "folder")
    assert (made.authority, made.serving) == ("there was none", "there was none")
    assert names_of(certificate) == set(NAMES)
    certificate.verify_directly_issued_by(authorities(tmp_path / "new" / "folder")[0])
    assert abs(certificate.not_valid_after_utc - (TODAY + 365 * DAY)) < timedelta(seconds=2)


def test_keys_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    ensure(tmp_path)
    assert {name: oct((tmp_path / name).stat().st_mode)[-3:] for name in FILES} == {
        "ca.crt": "644",
        "ca.key": "600",
        "tls.crt": "644",
        "tls.key": "600",
    }
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(FILES)


def test_what_is_still_good_stays(tmp_path: Path) -> None:
    ensure(tmp_path)
    before = contents(tmp_path)
    made = ensure(tmp_path, NAMES[0], after=300 * DAY)
    assert (made.authority, made.serving) == (None, None)
    assert contents(tmp_path) == before


def test_a_certificate_that_ends_soon_is_renewed_by_the_same_ca(tmp_path: Path) -> None:
    ensure(tmp_path)
    before = contents(tmp_path)
    made = ensure(tmp_path, after=340 * DAY)
    assert (made.authority, made.serving) == (None, f"it ends on {TODAY + 365 * DAY:%Y-%m-%d}")
    after = contents(tmp_path)
    assert (after["ca.crt"], after["ca.key"]) == (before["ca.crt"], before["ca.key"])
    assert after["tls.crt"] != before["tls.crt"]


def test_a_certificate_without_one_of_the_names_is_renewed(tmp_path: Path) -> None:
    ensure(tmp_path)
    assert ensure(tmp_path, *NAMES, "other.svc").serving == "it had no name other.svc"
    assert names_of(leaf(tmp_path)) == {*NAMES, "other.svc"}


def test_while_the_ca_is_renewed_the_old_one_stays_beside_the_new(tmp_path: Path) -> None:
    ensure(tmp_path)
    (old,) = authorities(tmp_path)
    made = ensure(tmp_path, after=3640 * DAY)
    assert made.authority is not None
    new, kept = authorities(tmp_path)
    assert kept == old
    leaf(tmp_path).verify_directly_issued_by(new)
    serving_of(tmp_path)


def test_a_certificate_ends_no_later_than_its_ca(tmp_path: Path) -> None:
    ensure(tmp_path)
    ensure(tmp_path, after=3600 * DAY)
    assert leaf(tmp_path).not_valid_after_utc <= authorities(tmp_path)[0].not_valid_after_utc


def test_force_replaces_everything(tmp_path: Path) -> None:
    ensure(tmp_path)
    before = contents(tmp_path)
    ensure(tmp_path, force=True)
    assert all(after != before[name] for name, after in contents(tmp_path).items())
    assert len(authorities(tmp_path)) == 1


UNSAFE = [
    ("no-ca-key", lambda folder: (folder / "ca.key").unlink(), "has ca.crt but no ca.key"),
    ("no-ca", lambda folder: (folder / "ca.crt").unlink(), "has ca.key but no ca.crt"),
    ("garbage", lambda folder: (folder / "ca.crt").write_text("hello"), "ca.crt is no PEM certificate"),
    ("garbage-key", lambda folder: (folder / "ca.key").write_text("hello"), "ca.key is no unencrypted PEM key"),
    (
        "another-key",
        lambda folder: (folder / "ca.key").write_bytes((folder / "tls.key").read_bytes()),
        "ca.key is not the key of",
    ),
]


@pytest.mark.parametrize(("change", "part"), [case[1:] for case in UNSAFE], ids=[case[0] for case in UNSAFE])
def test_what_is_not_ours_is_never_replaced_without_force(tmp_path: Path, change: object, part: str) -> None:
    ensure(tmp_path)
    assert callable(change)
    change(tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(InvalidCertificateFiles, match="--force") as caught:
        ensure(tmp_path)
    assert part in str(caught.value)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert ensure(tmp_path, force=True).authority == "--force"


def run_certs(*options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "webhook", "certs", *options], capture_output=True, text=True)


# Kills the command just before the certificate or key of this number, its last argument, is put in its place.
KILLED = """
import os, signal, sys
from webhook.cli.main import main
left = int(sys.argv.pop())
def count(event, arguments):
    global left
    left -= event == "os.rename" and str(arguments[1]).endswith((".crt", ".key"))
    if left == 0:
        left = -1  # os.kill is such an event itself
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(count)
main()
"""


@pytest.mark.parametrize("is_renewal", [False, True], ids=["the-first-time", "when-the-ca-is-renewed"])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_what_a_killed_command_left_is_made_good_by_the_next(tmp_path: Path, number: int, is_renewal: bool) -> None:
    before = []
    if is_renewal:
        ensure(tmp_path, after=-5 * DAY)
        before = authorities(tmp_path)
    command = [sys.executable, "-c", KILLED, "certs", "--dir", str(tmp_path), "--dns-name", NAMES[0]]
    killed = subprocess.run([*command, "--days=3650", "--renew-before-days=3649", str(number)], check=False)
    assert killed.returncode == -signal.SIGKILL
    ensure(tmp_path, NAMES[0])
    leaf(tmp_path).verify_directly_issued_by(authorities(tmp_path)[0])
    assert serving_of(tmp_path).why_outdated(TODAY) is None
    assert set(before) <= set(authorities(tmp_path))


def test_a_client_certificate_is_made_kept_and_renewed_with_the_others(tmp_path: Path) -> None:
    first = run_certs("--dir", str(tmp_path), "--dns-name", "a.b.svc", "--client", "kube-apiserver")
    again = run_certs("--dir", str(tmp_path), "--dns-name", "a.b.svc", "--client", "kube-apiserver")
    other = run_certs("--dir", str(tmp_path), "--dns-name", "a.b.svc", "--client", "another")
    assert "client certificate: made, as there was none" in first.stderr
    assert "client certificate: kept" in again.stderr
    assert "serving certificate: kept\nclient certificate: made, as it had no name another" in other.stderr
    certificate = x509.load_pem_x509_certificates((tmp_path / "client.crt").read_bytes())[0]
    certificate.verify_directly_issued_by(authorities(tmp_path)[0])
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_the_command_says_what_it_did(tmp_path: Path) -> None:
    first = run_certs("--dir", str(tmp_path), "--dns-name", "a.b.svc")
    again = run_certs("--dir", str(tmp_path), "--dns-name", "a.b.svc")
    assert (first.returncode, first.stdout) == (0, "")
    assert "CA: made, as there was none\nserving certificate: made, as there was none\n" in first.stderr
    assert "CA: kept\nserving certificate: kept\n" in again.stderr
    assert f"{tmp_path / 'tls.crt'} is valid until" in again.stderr


@pytest.mark.parametrize("name", ["a_b", "-a.svc", "a..svc", "", "a b", "x" * 64, "ä.svc"])
def test_a_name_that_is_none_is_refused(name: str, tmp_path: Path) -> None:
    assert not is_name(name)
    refused = run_certs("--dir", str(tmp_path), "--dns-name", name)
    assert refused.returncode == 2
    assert "is no DNS name or IP address" in refused.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["localhost", "a.b.svc", "*.svc", "10.0.0.1", "::1", "x" * 63, "1a"])
def test_names_and_addresses_are_accepted(name: str) -> None:
    assert is_name(name)


def test_a_pair_tells_when_it_is_valid(tmp_path: Path) -> None:
    ensure(tmp_path, days=100)
    pair = serving_of(tmp_path)
    assert pair.why_outdated(TODAY) is None
    assert "ended on" in str(pair.why_outdated(TODAY + 101 * DAY))
    assert "valid only from" in str(pair.why_outdated(TODAY - DAY))


ENCRYPTED = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIGjMF8GCSqGSIb3\n-----END ENCRYPTED PRIVATE KEY-----\n"
UNUSABLE = [
    ("no-certificate", "tls.crt", None, "tls.crt cannot be read: No such file or directory"),
    ("no-key", "tls.key", None, "tls.key cannot be read: No such file or directory"),
    ("garbage-certificate", "tls.crt", "hello", "tls.crt is no PEM certificate"),
    ("garbage-key", "tls.key", "hello", "tls.key is no PEM key"),
    ("another-key", "tls.key", "ca.key", "tls.key is not the key of"),
    ("broken-key", "tls.key", ENCRYPTED, "tls.key is"),
]


@pytest.mark.parametrize(
    ("name", "content", "part"), [case[1:] for case in UNUSABLE], ids=[case[0] for case in UNUSABLE]
)
def test_a_pair_that_cannot_be_served_is_named(tmp_path: Path, name: str, content: str | None, part: str) -> None:
    ensure(tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text((tmp_path / content).read_text() if content == "ca.key" else content)
    with pytest.raises(InvalidTlsFile) as caught:
        serving_of(tmp_path)
    assert part in str(caught.value)


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    ensure(tmp_path)
    key = serialization.load_pem_private_key((tmp_path / "tls.key").read_bytes(), password=None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (tmp_path / "tls.key").write_bytes(encrypted)
    with pytest.raises(InvalidTlsFile, match="is encrypted: give a key without a passphrase"):
        serving_of(tmp_path)
