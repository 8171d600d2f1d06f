"""Certificates that change while the server runs (H2): looks at their files, and has them served when they are good.

It looks again and again, as `sources.policy_reload` does and for its reasons. What may be in the files is the part of
`tls`.
"""

import asyncio
import logging
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime

from webhook.aside import Aside, TakesTooLong
from webhook.logs import timestamp
from webhook.metrics import Metrics
from webhook.tls import (
    HandshakeFailure,
    InvalidTlsFile,
    Serving,
    TlsFiles,
    Trust,
    current_context,
    load_serving,
    load_trust,
)

logger = logging.getLogger(__name__)

# The files are small. What is the same for two looks is read: keys and certificates are written one after the other.
LOOK_SECONDS = 0.25
# Where a network file system is away, none of its calls returns.
ANSWER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why the files as they are now are not in force."""

    at: datetime
    reason: str


class CertificateReload:
    """Serves what the files say; a change with anything wrong in it is refused whole, what was served before stays.

    Wrong is also what clients would not accept: ended, or not of the CA that they trust. That CA is as its file says,
    even where it is not that of the certificate in force, which then makes the server not ready. A refused change is
    tried again at every look, as time alone may mend it. Files that do not answer are such a change.

    Raises InvalidTlsFile where there is nothing to begin with.
    """

    def __init__(self, files: TlsFiles, metrics: Metrics, *, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._files, self._metrics = files, metrics
        self._aside: Aside  # while it runs
        self._answer_seconds = answer_seconds
        self._seen = files.fingerprint()  # before they are read: a change since then is seen
        self._trust = self._load_trust()
        self._serving = load_serving(files)
        self.context = current_context(self._serving.context, self._failed)
        self._refusal: _Refusal | None = None
        self._tell()

    def why_not_ready(self) -> str | None:
        """Why clients do not accept what is served at this moment; None where they do."""
        return _why_refused(self._serving, self._trust)

    def note(self) -> str | None:
        """What is wrong with the files as they are now; None where they are in force."""
        if self._refusal is None:
            return None
        at = timestamp(self._refusal.at)
        return f"the last change was refused at {at}, what was served before stays: {self._refusal.reason}"

    async def run(self) -> None:
        """Watches until it is cancelled."""
        looked = self._seen
        with closing(Aside()) as self._aside:
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                before, looked = looked, await self._look()
                if looked == before and (looked != self._seen or self._refusal is not None):
                    await self._reload(looked)

    async def _look(self) -> tuple[bytes | int, ...]:
        """What is in the files, once they answer."""
        while True:
            try:
                return await self._aside.call(self._files.fingerprint, within=self._answer_seconds)
            except TakesTooLong as error:
                self._refuse_unanswered(error)

    async def _reload(self, looked: tuple[bytes | int, ...]) -> None:
        try:
            outcome = await self._aside.call(self._load, within=self._answer_seconds)
        except TakesTooLong as error:
            self._refuse_unanswered(error)
            return
        if await self._look() != looked:
            return  # half of it may be of before: the next looks decide
        is_change, self._seen = looked != self._seen, looked
        if isinstance(outcome, InvalidTlsFile):
            self._refuse(str(outcome), is_change=is_change)
        else:
            self._accept(outcome)
        self._tell()

    def _accept(self, serving: Serving) -> None:
        self._serving, self._refusal = serving, None
        self.context.current = serving.context
        self._metrics.count_certificate_reload("success")
        logger.info("certificates were read again: valid until %s UTC", f"{serving.not_after:%Y-%m-%d %H:%M}")

    def _load(self) -> Serving | InvalidTlsFile:
        try:
            self._trust = self._load_trust()
            serving = load_serving(self._files)
        except InvalidTlsFile as error:
            return error
        reason = _why_refused(serving, self._trust)
        return serving if reason is None else InvalidTlsFile(f"{self._files.certificate}: {reason}")

    def _load_trust(self) -> Trust | None:
        return None if self._files.ca is None else load_trust(self._files.ca, self._files.name)

    def _refuse_unanswered(self, error: TakesTooLong) -> None:
        """Once they answer they are read, and it is said whether they are in force."""
        self._refuse(f"{self._files.certificate} and what belongs to it: {error}", is_change=self._seen != ())
        self._seen = ()

    def _refuse(self, reason: str, *, is_change: bool) -> None:
        if is_change:
            self._metrics.count_certificate_reload("failure")
        is_new = self._refusal is None or self._refusal.reason != reason
        if is_new:
            logger.error("certificates were refused, what was served before stays: %s", reason)
        if is_new or is_change:
            self._refusal = _Refusal(datetime.now(UTC), reason)

    def _tell(self) -> None:
        ends = {
            "serving": self._serving.not_after,
            "ca": None if self._trust is None else self._trust.not_after,
            "client-ca": self._serving.client_ca_not_after,
        }
        for which, end in ends.items():
            if end is not None:
                self._metrics.set_certificate(which, end.timestamp())

    def _failed(self, kind: HandshakeFailure, reason: str) -> None:
        self._metrics.count_failed_handshake(kind)
        logger.debug("a TLS handshake failed: %s", reason)


def _why_refused(serving: Serving, trust: Trust | None) -> str | None:
    reason = serving.why_outdated(datetime.now(UTC))
    if reason is None and trust is not None:
        reason = trust.why_refused(serving)
    return reason
