"""More reviews than are answered, from a process of its own, which those whose time is taken meanwhile do not wait for.

A review is given up after two seconds, as by the API server; one that finds no free connection in that time is never
sent.
"""

import asyncio
import json
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import count
from typing import TypeAlias

import uvloop

from benchmarks.load import Target

TIMEOUT_SECONDS = 2.0

Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class Flood:
    """What is sent where: `per_second` reviews, or as many as are answered where it is 0. `ca` is a path."""

    ca: str
    ports: Sequence[int]
    review: str
    connections: int
    seconds: float
    per_second: float = 0.0

    def play(self) -> Counter[str]:
        """How many were answered, by status, how many timed out, lost their connection, and were never sent."""
        command = [sys.executable, "-m", "benchmarks.flood"]
        done = subprocess.run(command, input=json.dumps(asdict(self)), stdout=subprocess.PIPE, text=True, check=True)
        return Counter(json.loads(done.stdout))


async def flood(plan: Flood) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    numbers = count()
    started = time.monotonic()
    tls = ssl.create_default_context(cafile=plan.ca)
    # uvloop prints a traceback for each handshake that is given up.
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)

    async def keep_sending(port: int) -> None:
        target = Target(port, tls)
        request = target.request(plan.review.encode())
        streams: Streams | None = None
        while (now := time.monotonic()) < started + plan.seconds:
            due = started + next(numbers) / plan.per_second if plan.per_second else now
            if due > now:
                await asyncio.sleep(due - now)
            elif due < now - TIMEOUT_SECONDS:
                outcomes["never sent"] += 1
                continue
            try:
                async with asyncio.timeout_at(asyncio.get_running_loop().time() + TIMEOUT_SECONDS):
                    streams = streams or await _connect(target)
                    status, is_last = await _ask(streams, request)
            except TimeoutError:
                status, is_last = "timed out", True
            except (OSError, EOFError):
                status, is_last = "connection lost", True
            outcomes[status] += 1
            if is_last and streams is not None:
                streams[1].transport.abort()
                streams = None
        if streams is not None:
            streams[1].transport.abort()

    await asyncio.gather(*(keep_sending(plan.ports[number % len(plan.ports)]) for number in range(plan.connections)))
    return outcomes


async def _connect(target: Target) -> Streams:
    return await asyncio.open_connection("127.0.0.1", target.port, ssl=target.tls, server_hostname="localhost")


async def _ask(streams: Streams, request: bytes) -> tuple[str, bool]:
    """The status of the answer, and whether the connection ends by it."""
    reader, writer = streams
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
    await reader.readexactly(int(length))
    return head[9:12].decode(), b"connection: close" in head


if __name__ == "__main__":
    print(json.dumps(uvloop.run(flood(Flood(**json.load(sys.stdin))))))
