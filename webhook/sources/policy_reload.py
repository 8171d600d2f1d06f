"""Policies that change while the server runs (P5): looks at their files, and has them read again when they changed.

It looks again and again instead of being told: inotify does not see what other machines do to a network file system,
and a mounted ConfigMap changes by the swap of a link that none of its files is in. What is done with a good set is its
user's part, what may be in the files that of `policy_files`.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

from webhook.aside import Aside, TakesTooLong
from webhook.logs import timestamp
from webhook.policy import PolicySet
from webhook.policy_document import InvalidPolicies
from webhook.sources.policy_files import policy_files
from webhook.sources.policy_process import Outcome, PolicyReader, ReadingFailed

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

# One line of the log has room for these.
MOST_LOGGED = 100

# From the moment that a change is seen until it is in force, or counts as failed ("Bounded work").
CHANGE_SECONDS = 10.0
# Where a network file system is away, none of its calls returns. Thousands of files take a while of a busy server.
ANSWER_SECONDS, ANSWER_SECONDS_A_FILE = 5.0, 0.001

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

    A change that is not read in time counts as refused, too, whether its files do not answer, or go on changing, or
    take long; it is read all the same, and comes into force when it can.

    `seen` is the signature that the files had before the set with that hash was read from them: no change is missed.
    `use` brings a set into force and is told when its files were seen, by the clock of the event loop; `expect` is told
    whether a change has been seen that is neither read nor refused; `count` counts what came of a change. All of them
    are called in the event loop.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        seen: Signature,
        policy_hash: str,
        use: Callable[[PolicySet, float], None],
        count: Callable[[Literal["success", "failure"]], None],
        expect: Callable[[bool], None],
        *,
        retry_seconds: float = RETRY_SECONDS,
        change_seconds: float = CHANGE_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._paths, self._hash = tuple(paths), policy_hash
        self._seen: Signature | None = seen  # None where the files have not answered since: they may be any
        self._use, self._count, self._expect = use, count, expect
        self._refusal: _Refusal | None = None
        self._retry_seconds, self._retry_at = retry_seconds, math.inf
        self._change_seconds = change_seconds
        self._change_ends: asyncio.TimerHandle | None = None
        self._answer_seconds = answer_seconds + ANSWER_SECONDS_A_FILE * len(seen)
        self._look_seconds = LOOK_SECONDS + SECONDS_A_FILE * len(seen)
        self._aside: Aside  # while it runs
        self._reader = PolicyReader(self._paths)

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
        clock = asyncio.get_running_loop().time
        with closing(Aside()) as self._aside:
            while True:
                looked = await self._look_later()
                if looked != self._seen:
                    await self._reload(*await self._settled(looked))
                elif clock() >= self._retry_at:
                    await self._reload(looked, clock())
                else:
                    self._end_change()  # it was taken back

    async def _look_later(self) -> Signature:
        await asyncio.sleep(self._look_seconds)
        return await self._look()

    async def _look(self) -> Signature:
        """What the files are, once they answer."""
        while True:
            try:
                return await self._aside.call(partial(signature, self._paths), within=self._answer_seconds)
            except TakesTooLong as error:
                if self._seen is not None:
                    self._end_change()
                    self._refuse(ReadingFailed(f"{self._places()}: {error}"))
                self._seen = None

    async def _settled(self, looked: Signature) -> tuple[Signature, float]:
        """The files once they are the same for two looks, as editors and copies take a moment to write, and when they
        were seen to be so for the first time."""
        seen_at = self._begin_change()
        for _ in range(SETTLING_LOOKS):
            before, looked = looked, await self._look_later()
            if looked == before:
                break
            seen_at = self._begin_change()
        return looked, seen_at

    def _begin_change(self) -> float:
        """The time now; what has not ended since the first change that was seen counts as failed in time."""
        loop = asyncio.get_running_loop()
        if self._change_ends is None:
            self._expect(True)
            self._change_ends = loop.call_later(self._change_seconds, self._give_up)
        return loop.time()

    def _end_change(self) -> None:
        if self._change_ends is not None:
            self._change_ends.cancel()
            self._change_ends = None
            self._expect(False)

    def _give_up(self) -> None:
        self._expect(False)
        text = f"{self._places()}: changed {self._change_seconds:g} s ago and not read yet, which goes on"
        self._refuse(ReadingFailed(text))

    def _places(self) -> str:
        return ", ".join(map(str, self._paths))

    async def _reload(self, looked: Signature, seen_at: float) -> None:
        clock = asyncio.get_running_loop().time
        started = clock()
        outcome = await self._read(looked)
        if outcome is None or await self._look() != looked:
            logger.warning("policy files changed while they were read, and are read again")
            return
        self._seen = looked
        self._look_seconds = LOOK_SECONDS + SECONDS_A_FILE * len(looked)
        self._retry_at = clock() + self._retry_seconds if isinstance(outcome, ReadingFailed) else math.inf
        self._end_change()
        if isinstance(outcome, PolicySet):
            self._accept(outcome, seen_at, clock() - started)
        else:
            self._refuse(outcome)

    async def _read(self, looked: Signature) -> Outcome | None:
        """What came of reading the files; None where they changed before that was known."""
        reading = asyncio.ensure_future(self._reader.read())
        try:
            while not (await asyncio.wait([reading], timeout=self._look_seconds))[0]:
                if await self._look() != looked:
                    return None
            return reading.result()
        finally:
            reading.cancel()
            await asyncio.wait([reading])

    def _accept(self, policies: PolicySet, seen_at: float, seconds: float) -> None:
        logger.info("policy set %s: %d policies, read in %.1f s", policies.hash, len(policies.documents), seconds)
        self._use(policies, seen_at)
        self._count("success")
        self._hash, self._refusal = policies.hash, None

    def _refuse(self, error: InvalidPolicies | ReadingFailed) -> None:
        errors = tuple(str(error).splitlines())
        self._count("failure")
        if self._refusal is None or self._refusal.errors != errors:
            counted = f"{len(errors)} error{'s' if len(errors) > 1 else ''}"
            more = [f"and {len(errors) - MOST_LOGGED} more"] if len(errors) > MOST_LOGGED else []
            text = "\n".join([*errors[:MOST_LOGGED], *more])
            logger.error("policies were refused, policy set %s stays: %s\n%s", self._hash, counted, text)
        self._refusal = _Refusal(datetime.now(UTC), errors)
