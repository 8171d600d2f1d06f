"""Policies that change while the server runs (P5): looks at their files, and has them read again when they changed.

It looks again and again instead of being told: inotify does not see what other machines do to a network file system,
and a mounted ConfigMap changes by the swap of a link that none of its files is in. What is done with a good set is its
user's part, what may be in the files that of `policy_files`.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from webhook.logs import timestamp
from webhook.policy import PolicySet
from webhook.policy_document import InvalidPolicies
from webhook.sources.policy_files import policy_files
from webhook.sources.policy_process import ReadingFailed, policies_from, start_reading

logger = logging.getLogger(__name__)

# With settling, the start of a process (half a second) and the reading of some hundred policies, a change is in force
# within the 2 s of P5.
LOOK_SECONDS = 0.25
# A look at a file takes a tenth of it: thousands of files are looked at less often, not with half of the core.
SECONDS_A_FILE = 0.0001
# What is still being written after so many looks is read all the same; if it changed again meanwhile, once more.
SETTLING_LOOKS = 3
# A process that was killed may have been one too many at that moment only.
RETRY_SECONDS = 10.0

Signature = tuple[tuple[str | int, ...], ...]


def signature(paths: Sequence[Path]) -> Signature:
    """Changes with the policy files of these files and folders: what they are, and which bytes they have.

    Links are followed: the file behind one is another after a swap. The time of the last change of the inode (ctime)
    cannot be set back, so that a file of the same size and age is seen, too, and so are permissions.
    """
    return tuple(seen for path in paths for seen in _seen(path))


def _seen(path: Path) -> Iterator[tuple[str | int, ...]]:
    try:
        files = policy_files(path)
    except OSError as error:
        files = []
        yield str(path), error.errno or 0
    for file in files:
        try:
            found = file.stat()
        except OSError as error:
            yield str(file), error.errno or 0
        else:
            yield str(file), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why the files as they are now are not in force."""

    at: datetime
    errors: tuple[str, ...]


class PolicyReload:
    """Keeps policies as their files are; a change with anything wrong in it is refused whole, the last good set stays.

    `seen` is the signature that the files had before the set with that hash was read from them: no change is missed.
    `use` brings a set into force; `count` counts what came of a change. Both are called in the event loop.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        seen: Signature,
        policy_hash: str,
        use: Callable[[PolicySet], None],
        count: Callable[[Literal["success", "failure"]], None],
        *,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._paths, self._seen, self._hash = tuple(paths), seen, policy_hash
        self._use, self._count = use, count
        self._refusal: _Refusal | None = None
        self._retry_seconds, self._retry_at = retry_seconds, math.inf

    def note(self) -> str | None:
        """What is wrong with the files as they are now; None where they are in force."""
        refusal = self._refusal
        if refusal is None:
            return None
        first, *others = refusal.errors
        more = f" (and {len(others)} more, see the log)" if others else ""
        at = timestamp(refusal.at)
        return f"the last change was refused at {at}, policy set {self._hash} stays: {first}{more}"

    async def run(self) -> None:
        """Watches until it is cancelled."""
        while True:
            looked = await self._look_later()
            if looked != self._seen:
                await self._reload(await self._settled(looked))
            elif asyncio.get_running_loop().time() >= self._retry_at:
                await self._reload(looked)

    async def _look_later(self) -> Signature:
        await asyncio.sleep(LOOK_SECONDS + SECONDS_A_FILE * len(self._seen))
        return await self._look()

    async def _look(self) -> Signature:
        return await asyncio.to_thread(signature, self._paths)

    async def _settled(self, looked: Signature) -> Signature:
        """The files once they are the same for two looks: editors and copies take a moment to write."""
        for _ in range(SETTLING_LOOKS):
            before, looked = looked, await self._look_later()
            if looked == before:
                break
        return looked

    async def _reload(self, looked: Signature) -> None:
        clock = asyncio.get_running_loop().time
        started = clock()
        outcome = await self._read()
        if await self._look() != looked:
            logger.warning("policy files changed while they were read, and are read again")
            return
        self._seen = looked
        self._retry_at = clock() + self._retry_seconds if isinstance(outcome, ReadingFailed) else math.inf
        if isinstance(outcome, PolicySet):
            self._accept(outcome, clock() - started)
        else:
            self._refuse(outcome)

    async def _read(self) -> PolicySet | InvalidPolicies | ReadingFailed:
        try:
            process = await asyncio.to_thread(start_reading, self._paths)
        except OSError as error:
            return ReadingFailed(f"no process to read policies could be started: {error.strerror}")
        try:
            return await asyncio.to_thread(policies_from, process)
        except (InvalidPolicies, ReadingFailed) as error:
            return error
        finally:
            process.kill()  # where the server ends; a process that has ended is not concerned

    def _accept(self, policies: PolicySet, seconds: float) -> None:
        logger.info("policy set %s: %d policies, read in %.1f s", policies.hash, len(policies.documents), seconds)
        self._use(policies)
        self._count("success")
        self._hash, self._refusal = policies.hash, None

    def _refuse(self, error: InvalidPolicies | ReadingFailed) -> None:
        errors = tuple(str(error).splitlines())
        self._count("failure")
        if self._refusal is None or self._refusal.errors != errors:
            counted = f"{len(errors)} error{'s' if len(errors) > 1 else ''}"
            logger.error("policies were refused, policy set %s stays: %s\n%s", self._hash, counted, "\n".join(errors))
        self._refusal = _Refusal(datetime.now(UTC), errors)
