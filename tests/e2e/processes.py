"""Programs that the end-to-end tests run: started with a log in a file, watched while they start, ended by their id."""

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

READY_SECONDS = 60.0
END_SECONDS = 20.0
LINES_SHOWN = 30

Found = TypeVar("Found")


class NotInTime(AssertionError):
    """What was waited for did not come."""


def eventually(look: Callable[[], Found | None], what: str, *, seconds: float = READY_SECONDS) -> Found:
    """What `look` finds, as soon as it finds something true. Raises NotInTime."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise NotInTime(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.02)
    return found


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(listening.getsockname()[1]) for listening in sockets]
    for listening in sockets:
        listening.close()
    return ports


def is_listening(port: int) -> bool:
    with closing(socket.socket()) as trying:
        return trying.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(
    command: Sequence[str],
    log: Path,
    *,
    is_ready: Callable[[], bool],
    environment: Mapping[str, str] = {},
) -> Iterator[subprocess.Popen[bytes]]:
    """A program from the moment it is ready; ended, and waited for, at the end."""
    name = log.stem
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
        )
    try:
        _wait_until_ready(process, is_ready, name, log)
        yield process
    finally:
        end(process)


def _wait_until_ready(process: subprocess.Popen[bytes], is_ready: Callable[[], bool], name: str, log: Path) -> None:
    def ready_or_ended() -> bool:
        return process.poll() is not None or is_ready()

    try:
        eventually(ready_or_ended, f"{name} is ready")
    except NotInTime as error:
        raise NotInTime(f"{error}; the end of its log:\n{tail(log)}") from None
    if process.poll() is not None:
        raise NotInTime(f"{name} ended with {process.returncode}; the end of its log:\n{tail(log)}")


def end(process: subprocess.Popen[bytes]) -> int:
    """The exit code of the program, which is asked to end, and killed if it does not."""
    process.terminate()
    try:
        return process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-LINES_SHOWN:])
