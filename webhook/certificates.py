"""A certificate authority of our own and what it signs, for development and for clusters without cert-manager.

Reading and serving them is left to `tls`. The authority is as easy to replace as the pair, so that a key need not be
kept for years: while it is renewed, the old one stays in `ca.crt` beside the new.
"""

import ipaddress
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from webhook.regular_files import read_file_bytes

CA_NAME = "task-resource-webhook CA"
# The authority outlives many serving certificates: its renewal needs the caBundle changed.
CA_DAYS = 3650
# Clocks of other machines may be behind.
CLOCK_SKEW = timedelta(minutes=5)
# RFC 5280 limits a common name to 64 characters; the subject's alternative names are what counts.
LONGEST_COMMON_NAME = 64
LARGEST_FILE_BYTES = 2**20


class InvalidCertificateFiles(ValueError):
    """Files in the folder that cannot be used or replaced safely; the message names them."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate with the key that signs others."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Made:
    """What was written: the reason for each renewal, None where what was there is kept."""

    authority: str | None
    serving: str | None
    not_after: datetime
    client: str | None = None


def ensure_certificates(
    folder: Path,
    names: Sequence[str],
    *,
    days: int = 365,
    renew_before_days: int = 30,
    client: str | None = None,
    force: bool = False,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Made:
    """Writes ca.crt, ca.key, tls.crt and tls.key where they are missing, end soon, or lack one of the names.

    `names` are DNS names and IP addresses; with `client`, client.crt and client.key are likewise made for who has that
    name. Keys get mode 0600. Raises InvalidCertificateFiles where a file that is there is no certificate or key of
    ours: it is not replaced without `force`. Raises OSError.
    """
    today = now()
    soon = today + timedelta(days=renew_before_days)
    folder.mkdir(parents=True, exist_ok=True)
    old, why_authority = _usable_authority(folder, soon, force=force)
    authority = old if old is not None and why_authority is None else _make_authority(today)
    if why_authority is not None:
        trusted = [authority.certificate, *([old.certificate] if old is not None and not force else [])]
        # In an order that leaves, if this run ends in between, what the next one can go on from: a first key that has
        # signed nothing, or a certificate too many.
        files = [("ca.key", _key_pem(authority.key), 0o600), ("ca.crt", b"".join(map(_pem, trusted)), 0o644)]
        for name, content, mode in files if old is None else reversed(files):
            _write(folder / name, content, mode)
    end = min(today + timedelta(days=days), authority.certificate.not_valid_after_utc)

    def ensure(stem: str, names: Sequence[str], usage: x509.ObjectIdentifier) -> str | None:
        why = why_authority or _why_renew(folder, stem, authority, names, soon)
        if why is not None:
            certificate, key = _make_signed(authority, names, usage, today, end)
            # The key first: a reader that sees the new certificate finds its key.
            _write(folder / f"{stem}.key", _key_pem(key), 0o600)
            _write(folder / f"{stem}.crt", _pem(certificate), 0o644)
        return why

    why_serving = ensure("tls", names, ExtendedKeyUsageOID.SERVER_AUTH)
    why_client = None if client is None else ensure("client", [client], ExtendedKeyUsageOID.CLIENT_AUTH)
    return Made(why_authority, why_serving, _read_certificate(folder / "tls.crt").not_valid_after_utc, why_client)


def _usable_authority(folder: Path, soon: datetime, *, force: bool) -> tuple[Authority | None, str | None]:
    """The authority in the folder, and why it is to be renewed all the same."""
    certificate_file, key_file = folder / "ca.crt", folder / "ca.key"
    if force:
        return None, "--force"
    if not certificate_file.exists() and (not key_file.exists() or not (folder / "tls.crt").exists()):
        return None, "there was none"
    if not key_file.exists() or not certificate_file.exists():
        missing, there = ("ca.key", "ca.crt") if certificate_file.exists() else ("ca.crt", "ca.key")
        raise InvalidCertificateFiles(f"{folder} has {there} but no {missing}: add it, or replace all with --force")
    first, *others = _read_certificates(certificate_file)
    key = _read_key(key_file)
    if first.public_key() != key.public_key():
        for each in others:
            if each.public_key() == key.public_key():
                return Authority(each, key), "its renewal was interrupted"
        raise InvalidCertificateFiles(f"{key_file} is not the key of {certificate_file}: replace both with --force")
    authority = Authority(first, key)
    if authority.certificate.not_valid_after_utc <= soon:
        return authority, f"it ends on {authority.certificate.not_valid_after_utc:%Y-%m-%d}"
    return authority, None


def _why_renew(folder: Path, stem: str, authority: Authority, names: Sequence[str], soon: datetime) -> str | None:
    """Why a pair cannot stay as it is."""
    certificate_file, key_file = folder / f"{stem}.crt", folder / f"{stem}.key"
    if not certificate_file.exists() or not key_file.exists():
        return "there was none"
    certificate, key = _read_certificate(certificate_file), _read_key(key_file)
    if certificate.public_key() != key.public_key():
        return "the key was another's"
    if certificate.not_valid_after_utc <= soon:
        return f"it ends on {certificate.not_valid_after_utc:%Y-%m-%d}"
    missing = [name for name in names if name not in names_of(certificate)]
    if missing:
        return f"it had no name {', '.join(missing)}"
    try:
        certificate.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return "it was of another CA"
    return None


def names_of(certificate: x509.Certificate) -> set[str]:
    """The DNS names and addresses that a certificate is for."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    addresses = {str(address) for address in extension.get_values_for_type(x509.IPAddress)}
    return addresses | set(extension.get_values_for_type(x509.DNSName))


def _make_authority(today: datetime) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, CA_NAME)])
    usage = _key_usage(key_cert_sign=True, crl_sign=True)
    certificate = (
        _builder(name, name, key, today, today + timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key)


def _make_signed(
    authority: Authority, names: Sequence[str], usage: x509.ObjectIdentifier, today: datetime, not_after: datetime
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:LONGEST_COMMON_NAME])])
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    certificate = (
        _builder(subject, authority.certificate.subject, key, today, not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.SubjectAlternativeName(map(_general_name, names)), critical=False)
        .add_extension(signer, critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return certificate, key


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, today: datetime, not_after: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - CLOCK_SKEW)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _read_certificate(file: Path) -> x509.Certificate:
    """The first certificate of the file."""
    return _read_certificates(file)[0]


def _read_certificates(file: Path) -> list[x509.Certificate]:
    """The certificates of the file, of which there is at least one."""
    try:
        return x509.load_pem_x509_certificates(read_file_bytes(file, largest=LARGEST_FILE_BYTES))
    except ValueError as error:
        raise InvalidCertificateFiles(f"{file} is no PEM certificate: {error}; replace it with --force") from error


def _read_key(file: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(read_file_bytes(file, largest=LARGEST_FILE_BYTES), password=None)
    except (ValueError, TypeError) as error:
        raise InvalidCertificateFiles(f"{file} is no unencrypted PEM key: {error}; replace it with --force") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InvalidCertificateFiles(f"{file} is no elliptic-curve key, hence not ours; replace it with --force")
    return key


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(file: Path, content: bytes, mode: int) -> None:
    """Whole or not at all, and never readable by others in between."""
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        Path(temporary).chmod(mode)
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def is_name(name: str) -> bool:
    """Whether a certificate can be made for it: a DNS name (a wildcard's first label may be *) or an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        labels = name.removeprefix("*.").split(".")
        return len(name) <= 253 and all(map(_is_label, labels))
    return True


def _is_label(label: str) -> bool:
    allowed: Iterable[str] = label.replace("-", "")
    return 0 < len(label) <= 63 and label[0] != "-" != label[-1] and all(c.isascii() and c.isalnum() for c in allowed)
