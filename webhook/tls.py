"""The serving certificate: read, checked and made into what the server speaks TLS with.

What is wrong with it is said at the start, with the file's name, and not by the API server's first failed call.
"""

import ssl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from cryptography import x509

MinimumVersion = Literal["1.2", "1.3"]

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class InvalidServingPair(ValueError):
    """The certificate or its key cannot be served; the message names the file."""


@dataclass(frozen=True, slots=True)
class ServingPair:
    """A certificate chain and its key, checked against each other."""

    context: ssl.SSLContext
    not_before: datetime
    not_after: datetime

    def why_invalid(self, now: datetime) -> str | None:
        """Why no client would accept it at that time; None where it is valid."""
        if now > self.not_after:
            return f"the serving certificate ended on {self.not_after:%Y-%m-%d %H:%M} UTC"
        if now < self.not_before:
            return f"the serving certificate is valid only from {self.not_before:%Y-%m-%d %H:%M} UTC"
        return None


def load_serving_pair(certificate: Path, key: Path, minimum_version: MinimumVersion) -> ServingPair:
    """The pair in two PEM files; the first certificate is the server's own. Raises InvalidServingPair."""
    leaf = _leaf(certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[minimum_version]
    # The API server's only HTTP version towards webhooks that are no loopback URL.
    context.set_alpn_protocols(["http/1.1"])
    _readable(key)
    try:
        context.load_cert_chain(certificate, key, password=_refuse_password)
    except ssl.SSLError as error:
        reason = "is not the key of" if error.reason == "KEY_VALUES_MISMATCH" else "is no PEM key for"
        raise InvalidServingPair(f"{key} {reason} {certificate} ({error.reason or error})") from error
    except _EncryptedKey as error:
        raise InvalidServingPair(f"{key} is encrypted: give a key without a passphrase") from error
    return ServingPair(context, leaf.not_valid_before_utc, leaf.not_valid_after_utc)


class _EncryptedKey(ValueError):
    pass


def _refuse_password() -> str:
    """Instead of OpenSSL's own prompt on the terminal."""
    raise _EncryptedKey


def _leaf(file: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(_readable(file))[0]
    except ValueError as error:
        raise InvalidServingPair(f"{file} is no PEM certificate: {error}") from error


def _readable(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidServingPair(f"{file} cannot be read: {error.strerror}") from error
