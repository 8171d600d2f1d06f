"""Whoever reaches the review port and means no good, each kind by itself or all at once, from a process of its own.

`python -m tests.e2e.attackers CA PORT SECONDS [KIND...]` ends by itself and writes how often each kind did its thing.
Rates are bounded: what is shown is that nobody else is held up, not how fast this machine is.
"""

import asyncio
import json
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.request import urlopen

from tests.e2e.pods import container, pod
from tests.e2e.service import Certificates, Service, creation

Json = dict[str, Any]

# Of each kind that holds connections open.
HELD = 300
# A body or head has two seconds: new ones come before the others have ended.
HELD_SECONDS = 1.5
REVIEWS_A_SECOND, HANDSHAKES_A_SECOND = 4.0, 20.0

# Of a kubelet: every two seconds, and as long as the chart has it wait.
PROBE_SECONDS, PROBE_TIMEOUT_SECONDS = 2.0, 5.0
OURS = "task-resources.io"
HEAD = b"POST /mutate?timeout=30s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@dataclass(frozen=True, slots=True)
class Target:
    """Where the attacked server listens, and how it is trusted."""

    port: int
    tls: ssl.SSLContext
    ends_at: float

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.ends_at

    @asynccontextmanager
    async def connection(self, *, tls: bool = True) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        options: Json = {"ssl": self.tls, "server_hostname": "localhost"} if tls else {}
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port, **options)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()


async def _hold(target: Target, done: Counter[str], kind: str, said: Sequence[bytes], *, tls: bool = True) -> None:
    """Connections that say something, then nothing until they are given up or end."""

    async def hold() -> None:
        while not target.is_over:
            with suppress(OSError, EOFError, TimeoutError):
                async with target.connection(tls=tls) as (reader, writer):
                    for piece in said:
                        writer.write(piece)
                    done[kind] += 1
                    async with asyncio.timeout(HELD_SECONDS):
                        await reader.read()
            await asyncio.sleep(0.05)

    await asyncio.gather(*(hold() for _ in range(HELD)))


async def slow_bodies(target: Target, done: Counter[str]) -> None:
    await _hold(target, done, "slow-bodies", [HEAD + b"Content-Length: 2000\r\n\r\n{"])


async def slow_chunks(target: Target, done: Counter[str]) -> None:
    large = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"10000\r\n" + b" " * 65536 + b"\r\n"
    await _hold(target, done, "slow-chunks", [large])


async def slow_heads(target: Target, done: Counter[str]) -> None:
    await _hold(target, done, "slow-heads", [HEAD])


async def silence(target: Target, done: Counter[str]) -> None:
    await _hold(target, done, "silence", [], tls=False)


async def silence_after_tls(target: Target, done: Counter[str]) -> None:
    await _hold(target, done, "silence-after-tls", [])


async def unread_answers(target: Target, done: Counter[str]) -> None:
    body = json.dumps(creation(pod(container(limits={"cpu": "64"})), "a-development")).encode()
    request = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    await _at(HANDSHAKES_A_SECOND, target, done, "unread-answers", cycle([request * 20]), is_read=False)


async def garbage(target: Target, done: Counter[str]) -> None:
    await _at(HANDSHAKES_A_SECOND, target, done, "garbage", cycle([b"\x16\x03\x01\x00\x05hello" * 20]), tls=False)


async def hostile_reviews(target: Target, done: Counter[str]) -> None:
    bodies = [json.dumps(creation(task, "a-development")).encode() for task in HOSTILE.values()]
    requests = [HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body for body in bodies]
    await _at(REVIEWS_A_SECOND, target, done, "hostile-reviews", cycle(requests))


async def _at(
    rate: float,
    target: Target,
    done: Counter[str],
    kind: str,
    sent: Iterator[bytes],
    *,
    tls: bool = True,
    is_read: bool = True,
) -> None:
    """So many connections a second, each for one piece."""
    while not target.is_over:
        started = time.monotonic()
        with suppress(OSError, EOFError, TimeoutError):
            async with target.connection(tls=tls) as (reader, writer):
                writer.write(next(sent))
                async with asyncio.timeout(5):
                    await writer.drain()
                    if is_read:
                        await reader.read(1)
                done[kind] += 1
        await asyncio.sleep(max(0.0, started + 1 / rate - time.monotonic()))


# Of the size that an API server lets through; each is refused before the API server has looked at any name.
LARGE: Json = {"cpu": "64", "memory": "1Gi"}
HOSTILE: Mapping[str, Json] = {
    "annotations-wrong-in-thousands-of-places": pod(
        container(limits=LARGE), annotations={f"limits.{OURS}/c{index}": "x," * 2000 for index in range(60)}
    ),
    "a-long-key": pod(container(limits=LARGE), annotations={f"limits.{OURS}/{'x' * 20_000}": "x," * 2000}),
    "a-longer-key": pod(container(limits=LARGE), annotations={f"limits.{OURS}/{'x' * 200_000}": "x," * 2000}),
    "a-long-name-and-many-resources": pod(
        container("x" * 20_000, limits=LARGE | {f"example.com/{index}": "2" for index in range(500)})
    ),
    "many-resources": pod(container(limits=LARGE | {f"example.com/{index}": "2" for index in range(20_000)})),
    "many-containers": pod(*[container(f"c{index}", limits=LARGE) for index in range(1_001)]),
    "many-tolerations": pod(container(limits=LARGE), tolerations=[{"operator": "Exists"}] * 60_000),
    "many-labels": {
        **pod(container(limits=LARGE)),
        "metadata": {"name": "task", "labels": {f"l{index}": "" for index in range(100_000)}},
    },
}

KINDS: Mapping[str, Callable[[Target, Counter[str]], Awaitable[None]]] = {
    "slow-bodies": slow_bodies,
    "slow-chunks": slow_chunks,
    "slow-heads": slow_heads,
    "silence": silence,
    "silence-after-tls": silence_after_tls,
    "unread-answers": unread_answers,
    "garbage": garbage,
    "hostile-reviews": hostile_reviews,
}


@contextmanager
def attacking(certificates: Certificates, port: int, seconds: float, kinds: Sequence[str] = ()) -> Iterator[None]:
    """Attacks a port from now on, by these kinds or all, until the end or for so many seconds."""
    command = [sys.executable, "-m", __name__, str(certificates.authority), str(port), str(seconds), *kinds]
    attacker = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        attacker.kill()
        attacker.wait()


@contextmanager
def probed(service: Service) -> Iterator[list[str]]:
    """What was wrong with each probe that failed."""
    failed: list[str] = []
    over = Event()

    def probe() -> None:
        while not over.wait(PROBE_SECONDS):
            for path in ("/livez", "/readyz"):
                try:
                    with urlopen(service.management_url + path, timeout=PROBE_TIMEOUT_SECONDS) as answer:
                        answer.read()
                except OSError as error:
                    failed.append(f"{path}: {error}")

    prober = Thread(target=probe)
    prober.start()
    try:
        yield failed
    finally:
        over.set()
        prober.join()


def rss_mib(service: Service) -> float:
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


async def main(ca: str, port: int, seconds: float, kinds: Sequence[str]) -> Counter[str]:
    done: Counter[str] = Counter()
    # A handshake that is cut off is no surprise here.
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    target = Target(port, ssl.create_default_context(cafile=ca), time.monotonic() + seconds)
    await asyncio.gather(*(KINDS[kind](target, done) for kind in kinds or KINDS))
    return done


if __name__ == "__main__":
    ca, port, seconds, *kinds = sys.argv[1:]
    sys.stdout.write(json.dumps(asyncio.run(main(ca, int(port), float(seconds), kinds))) + "\n")
