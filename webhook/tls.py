"""What the server speaks TLS with, and whether clients will accept it: files are read and checked here.

What is wrong with them is said with the file's name, and not by the API server's first failed call. When they are read
again is left to `certificate_reload`.
"""

import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from webhook.regular_files import read_file_bytes

MinimumVersion = Literal["1.2", "1.3"]
# No certificate of a client that counts; the client's alert, as to a certificate that it does not trust; anything else.
HandshakeFailure = Literal["client-certificate", "alert", "protocol"]

# Is told the kind and OpenSSL's own word.
OnFailure = Callable[[HandshakeFailure, str], None]

# Far above any bundle of authorities; a system's own has a quarter of a megabyte.
LARGEST_FILE_BYTES = 8 * 2**20

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class InvalidTlsFile(ValueError):
    """A file that cannot be used, or not with the others; the message names it."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What is mounted, as PEM.

    `ca` is what clients are told to trust, and `name` what they call; where they are None nothing is said about either.
    With `client_ca` clients must have a certificate of it.
    """

    certificate: Path
    key: Path
    ca: Path | None = None
    name: str | None = None
    client_ca: Path | None = None
    minimum_version: MinimumVersion = "1.2"

    def fingerprint(self) -> tuple[bytes | int, ...]:
        """Changes with what is in the files, wherever links lead, and with the reason why one cannot be read."""
        files = (self.certificate, self.key, self.ca, self.client_ca)
        return tuple(_fingerprint(file) for file in files if file is not None)


def _fingerprint(file: Path) -> bytes | int:
    try:
        return sha256(read_file_bytes(file, largest=LARGEST_FILE_BYTES)).digest()
    except OSError as error:
        return error.errno or 0


@dataclass(frozen=True, slots=True)
class Serving:
    """A certificate chain and its key, checked against each other, with the authority of clients if there is one."""

    context: ssl.SSLContext
    not_before: datetime
    not_after: datetime
    client_ca_not_after: datetime | None

    def why_outdated(self, now: datetime) -> str | None:
        """Why no client would accept it at that time; None where it is valid."""
        if now > self.not_after:
            return f"the serving certificate ended on {self.not_after:%Y-%m-%d %H:%M} UTC"
        if now < self.not_before:
            return f"the serving certificate is valid only from {self.not_before:%Y-%m-%d %H:%M} UTC"
        return None


def load_serving(files: TlsFiles) -> Serving:
    """What is to be served; the first certificate of its file is the server's own. Raises InvalidTlsFile."""
    leaf = _certificates(files.certificate)[0]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[files.minimum_version]
    # The API server's only HTTP version towards webhooks that are no loopback URL.
    context.set_alpn_protocols(["http/1.1"])
    context.sslobject_class = _ServerSide
    _load_pair(context, files.certificate, files.key)
    client_ca_not_after = None
    if files.client_ca is not None:
        client_ca_not_after = _trust(context, files.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return Serving(context, leaf.not_valid_before_utc, leaf.not_valid_after_utc, client_ca_not_after)


def _load_pair(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    _readable(key)
    try:
        context.load_cert_chain(certificate, key, password=_refuse_password)
    except ssl.SSLError as error:
        reason = "is not the key of" if error.reason == "KEY_VALUES_MISMATCH" else "is no PEM key for"
        raise InvalidTlsFile(f"{key} {reason} {certificate} ({error.reason or error})") from error
    except _EncryptedKey as error:
        raise InvalidTlsFile(f"{key} is encrypted: give a key without a passphrase") from error
    except OSError as error:  # gone since it was looked at
        raise InvalidTlsFile(f"{certificate} or {key} cannot be read: {error.strerror}") from error


class _EncryptedKey(ValueError):
    pass


def _refuse_password() -> str:
    """Instead of OpenSSL's own prompt on the terminal."""
    raise _EncryptedKey


@dataclass(frozen=True, slots=True)
class Trust:
    """What clients trust, and the name that they expect."""

    context: ssl.SSLContext
    not_after: datetime
    file: Path
    name: str | None

    def why_refused(self, serving: Serving) -> str | None:
        """Why a client would not connect, found out by a handshake in memory; None where it would."""
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = self.context.wrap_bio(to_client, to_server, server_hostname=self.name)
        server = serving.context.wrap_bio(to_server, to_client, server_side=True)
        try:
            # Hello; hello, certificate and its signature; and what the client makes of them, in TLS 1.2 and 1.3 both.
            for side in (client, server, client):
                with suppress(ssl.SSLWantReadError):
                    side.do_handshake()
        except ssl.SSLCertVerificationError as error:
            return f"the serving certificate is refused by who trusts {self.file}: {error.verify_message}"
        except ssl.SSLError as error:
            return f"no handshake with the serving certificate succeeds: {error.reason or error}"
        return None


def load_trust(ca: Path, name: str | None) -> Trust:
    """The clients that a CA file and a name, which may be an address, stand for. Raises InvalidTlsFile."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    not_after = _trust(context, ca)
    context.check_hostname = name is not None
    context.hostname_checks_common_name = False  # as Go
    return Trust(context, not_after, ca, name)


def _trust(context: ssl.SSLContext, file: Path) -> datetime:
    """Has the context trust the file's certificates, and says when the last of them ends."""
    certificates = _certificates(file)
    context.load_verify_locations(cadata=b"".join(each.public_bytes(Encoding.DER) for each in certificates))
    # Go trusts every certificate that it is given, and not only those that signed themselves.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return max(each.not_valid_after_utc for each in certificates)


def _certificates(file: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_readable(file))
    except ValueError as error:
        raise InvalidTlsFile(f"{file} is no PEM certificate: {error}") from error


def _readable(file: Path) -> bytes:
    try:
        return read_file_bytes(file, largest=LARGEST_FILE_BYTES)
    except OSError as error:
        raise InvalidTlsFile(f"{file} cannot be read: {error.strerror}") from error


class CurrentContext(ssl.SSLContext):
    """Speaks TLS with whichever context is `current` when a connection comes in; those that are there keep theirs.

    A context has its own keys of session tickets: what was trusted by one before is not resumed.
    """

    current: ssl.SSLContext
    on_failure: OnFailure

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        """As event loops ask for it, once for each connection."""
        connection = self.current.wrap_bio(*arguments, **options)
        if isinstance(connection, _ServerSide):
            connection.on_failure = self.on_failure
        return connection


def current_context(context: ssl.SSLContext, on_failure: OnFailure) -> CurrentContext:
    found = CurrentContext(ssl.PROTOCOL_TLS_SERVER)
    found.current, found.on_failure = context, on_failure
    return found


class _ServerSide(ssl.SSLObject):
    """Tells of a handshake that failed, and lets a client know that its certificate is the reason.

    Event loops close the connection at once where a handshake fails, before OpenSSL's alert is sent. Asking for more to
    read instead has it sent; what comes then, usually the end, gets the failure.
    """

    on_failure: OnFailure | None = None
    # Not the error itself: its traceback holds this object, and neither would go before Python looks for cycles.
    _failure: tuple[type[ssl.SSLError], tuple[Any, ...]] | None = None

    def do_handshake(self) -> None:
        if self._failure is not None:
            kind_of_error, arguments = self._failure
            raise kind_of_error(*arguments)
        try:
            super().do_handshake()
        except ssl.SSLWantReadError:
            raise
        except ssl.SSLError as error:
            self._failure, kind = (type(error), error.args), _kind(error)
            if self.on_failure is not None:
                self.on_failure(kind, error.reason or str(error))
            if kind == "client-certificate":
                raise ssl.SSLWantReadError from error
            raise


def _kind(error: ssl.SSLError) -> HandshakeFailure:
    reason = error.reason or ""
    if isinstance(error, ssl.SSLCertVerificationError) or reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return "client-certificate"
    return "alert" if "_ALERT_" in reason else "protocol"


def names_of_client(certificate: Mapping[str, Any]) -> frozenset[str]:
    """The common name and the DNS names of what `getpeercert` says."""
    common = {value for names in certificate.get("subject", ()) for key, value in names if key == "commonName"}
    return frozenset(common | {value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"})
