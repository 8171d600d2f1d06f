"""Policies read by a process of its own, so that reviews are answered meanwhile: both sides of the pipe between them.

Ten thousand policies take seconds of Python to read. In a thread that would be seconds in which every review waits
for the interpreter at each step; a process has its own, and is at the end of the queue for the cores. Where reviews
leave it no time there, another one reads at the server's own priority: that of the first cannot be raised again without
rights that no pod should have. What is left for the server, to make objects of what comes through the pipe, is done in
steps that let reviews pass.
"""

import asyncio
import gc
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from webhook.aside import Aside
from webhook.policy import Policy, PolicySet
from webhook.policy_document import InvalidPolicies
from webhook.snapshot import Snapshot
from webhook.sources.policy_files import load_policies

# A pickle is read in one go; this many policies take a fraction of a millisecond.
POLICIES_AT_ONCE = 10

# How long a review waits for the interpreter where a thread has it, and a thread that looks at files where reviews come
# without end. Python's own 5 ms would be a hundred reviews for the one and seconds for the other, file by file.
SWITCH_SECONDS = 0.0002

LOWEST_PRIORITY, OWN_PRIORITY = 19, 0

# How long a process is left with less than half of a core. Ten thousand policies need some three seconds of one, which
# leaves room in the ten that a change may take.
STARVING_SECONDS, STARVING_SHARE = 0.5, 0.5
# A process that was killed is gone by then, unless the kernel holds it for a file system that does not answer.
ENDING_SECONDS = 1.0

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


class ReadingFailed(Exception):
    """The process ended before it had said what it read; the message says how."""


Outcome = PolicySet | InvalidPolicies | ReadingFailed


class PolicyReader:
    """Reads policies in a process of its own, or in two where the first gets too little time: who is first counts."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._left: set[asyncio.Future[Any]] = set()

    async def read(self) -> Outcome:
        """What came of it. It waits as long as that takes; cancelling ends the processes.

        As long as one of an earlier reading cannot be ended no other is started: it would be held up like that one.
        """
        if self._left:
            await asyncio.wait(self._left)
        readings: list[_Reading] = []
        try:
            readings.append(await _begin(self._paths, LOWEST_PRIORITY))
            return await self._first_of(readings)
        except OSError as error:
            return ReadingFailed(f"no process to read policies could be started: {error.strerror}")
        finally:
            for reading in readings:
                reading.process.kill()
            if readings:
                _, self._left = await asyncio.wait([each.outcome for each in readings], timeout=ENDING_SECONDS)

    async def _first_of(self, readings: "list[_Reading]") -> Outcome:
        waiting = [readings[0].outcome]
        while True:
            done, _ = await asyncio.wait(waiting, timeout=STARVING_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                waiting.remove(each)
                if not waiting or not isinstance(each.result(), ReadingFailed):
                    return each.result()
            if len(readings) == 1 and readings[0].is_starving():
                with suppress(OSError):  # the first goes on, and this is tried again
                    readings.append(await _begin(self._paths, OWN_PRIORITY))
                    waiting.append(readings[1].outcome)


@dataclass(frozen=True, slots=True)
class _Reading:
    process: "subprocess.Popen[bytes]"
    started_at: float
    outcome: "asyncio.Future[Outcome]"

    def is_starving(self) -> bool:
        """Whether it could do something and gets no time for it; True as well where the system does not say."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return True
        if fields[0] in ("S", "D", "Z"):  # it waits for a file, or for the server
            return False
        seconds = (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND
        return seconds < STARVING_SHARE * (asyncio.get_running_loop().time() - self.started_at)


async def _begin(paths: Sequence[Path], priority: int) -> _Reading:
    """Raises OSError."""
    started_at = asyncio.get_running_loop().time()
    process = await asyncio.to_thread(start_reading, paths, priority)
    aside = Aside()
    outcome = aside.begin(partial(_outcome, process))
    aside.close()
    return _Reading(process, started_at, outcome)


def _outcome(process: "subprocess.Popen[bytes]") -> Outcome:
    try:
        return policies_from(process)
    except (InvalidPolicies, ReadingFailed) as error:
        return error


def start_reading(paths: Sequence[Path], priority: int = LOWEST_PRIORITY) -> "subprocess.Popen[bytes]":
    """Starts a process that reads these policies; `policies_from` gets them. Raises OSError.

    In a group of its own a Ctrl-C in a terminal is the server's alone; in a session of its own the kernel would not
    weigh its priority against the server's (autogroups).
    """
    # It finds what this process finds, and nothing in the folder that it happens to be in.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-P", "-m", __name__, *map(str, paths)]
    process = subprocess.Popen(  # noqa: S603 - ourselves
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, process_group=0
    )
    if priority != OWN_PRIORITY:
        os.setpriority(os.PRIO_PROCESS, process.pid, priority)
    return process


def policies_from(process: "subprocess.Popen[bytes]") -> PolicySet:
    """What the process reads, once it has. Raises InvalidPolicies with every error of the files, and ReadingFailed."""
    assert process.stdout is not None
    with process:
        try:
            errors = _next(process.stdout)
            if errors:
                raise InvalidPolicies(errors, more=_next(process.stdout))
            with letting_reviews_pass():
                return PolicySet(_pieces(process.stdout))
        except (EOFError, pickle.UnpicklingError) as error:
            raise ReadingFailed(f"the process that reads policies {_end(process.wait())}") from error


def _pieces(stream: IO[bytes]) -> Iterator[Policy]:
    while policies := _next(stream):
        yield from policies


def _next(stream: IO[bytes]) -> Any:
    return pickle.load(stream)  # noqa: S301 - from the process that we started


def _end(code: int) -> str:
    if code >= 0:
        return f"ended with {code}"
    return f"was ended by signal {-code}" + (", perhaps for want of memory" if code == -signal.SIGKILL else "")


def let_go(held: list[Snapshot]) -> None:
    """Takes the snapshot out of the list and frees it in steps: at once, 10,000 policies would hold up everything."""
    snapshot = held.pop()
    pieces = snapshot.pieces()
    del snapshot
    with letting_reviews_pass():
        while pieces:
            pieces.pop()


@contextmanager
def letting_reviews_pass() -> Iterator[None]:
    """Lets a thread make many objects that stay, without holding up the one that answers reviews.

    No garbage collection looks through what is being made: of 10,000 policies one takes some tenths of a second.
    Afterwards they are left out for good, as at the start.
    """
    gc.collect(1)
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def main(paths: Sequence[Path], stream: IO[bytes]) -> None:
    """Writes the errors of the policies that are read, a tuple, and how many more there are; where there are none,
    tuples of policies and an empty one: what was cut off has no end."""
    gc.disable()  # nothing that is read goes before the process does
    try:
        policies = load_policies(paths).documents
    except InvalidPolicies as error:
        _send(error.errors, stream)
        _send(error.more, stream)
    else:
        _send((), stream)
        for first in range(0, len(policies), POLICIES_AT_ONCE):
            _send(policies[first : first + POLICIES_AT_ONCE], stream)
        _send((), stream)
    stream.flush()


def _send(value: object, stream: IO[bytes]) -> None:
    pickle.dump(value, stream, pickle.HIGHEST_PROTOCOL)


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]], sys.stdout.buffer)
    os._exit(0)  # its memory goes as a whole: an orderly end would take as long as the sending did
