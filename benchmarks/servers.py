"""The servers that are compared, each a process of its own on one core, and what the kernel says of it."""

import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.request import urlopen

from benchmarks.load import ANSWER_SECONDS, Target

HERE = Path(__file__).parent
ROOT = HERE.parent
EXAMPLE_POLICIES = ROOT / "examples" / "policies"

GENERATOR_CORE, SERVER_CORE = 0, 1
START_SECONDS = 120.0  # 10,000 policies take a while to read
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class DidNotStart(RuntimeError):
    """A server or a build ended, or did not listen in time; the message has the end of its output."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: where to send reviews, and its process."""

    name: str
    target: Target
    pid: int
    management_port: int = 0

    def wait_until_ready(self) -> None:
        """Raises DidNotStart."""
        end = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if time.monotonic() > end:
                raise DidNotStart(f"{self.name} is not ready")
            time.sleep(0.02)

    def _is_ready(self) -> bool:
        try:
            return bool(self._managed("/readyz") == "ok\n")
        except OSError:
            return False

    def sample(self, name: str) -> float:
        """The value of a metric without labels."""
        lines = self._managed("/metrics").splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    def _managed(self, path: str) -> str:
        with urlopen(f"http://127.0.0.1:{self.management_port}{path}", timeout=ANSWER_SECONDS) as answer:
            text: str = answer.read().decode()
            return text

    def cpu_seconds(self) -> float:
        """User and system time of all its threads so far, in steps of 10 ms."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND

    def rss_mib(self) -> float:
        """Resident memory in MiB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@dataclass(frozen=True, slots=True)
class Bench:
    """What all servers of a run share: certificates and logs in one directory."""

    directory: Path
    # The checkout whose webhook is run.
    source: Path = ROOT

    def make_certificates(self) -> None:
        """A CA and one pair for all, so that no server has the cheaper key."""
        command = [sys.executable, "-m", "webhook", "certs", "--dir", str(self.directory), "--dns-name", "localhost"]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)

    def build_controller_runtime(self) -> Path | None:
        """The Go webhook's program; None where there is no Go. The first build takes minutes."""
        if shutil.which("go") is None:
            return None
        program = self.directory / "controller-runtime"
        command = ["go", "build", "-o", str(program), "."]
        built = subprocess.run(command, cwd=HERE / "controller-runtime", capture_output=True, text=True, check=False)
        if built.returncode:
            raise DidNotStart(built.stderr)
        return program

    @contextmanager
    def echo(self) -> Iterator[Server]:
        """uvicorn with uvloop and httptools, and the least an ASGI app can do."""
        port = _free_port()
        pair = ["--ssl-certfile", str(self.directory / "tls.crt"), "--ssl-keyfile", str(self.directory / "tls.key")]
        options = ["--port", str(port), "--loop", "uvloop", "--http", "httptools", "--no-access-log"]
        command = [sys.executable, "-m", "uvicorn", "benchmarks.echo:app", *options, *pair, "--log-level", "warning"]
        with self._running("echo", command, port) as server:
            yield server

    @contextmanager
    def webhook(self, *policies: Path, name: str = "webhook", kubeconfig: Path | None = None) -> Iterator[Server]:
        """Our service as it is deployed: its defaults, logs included; with the namespaces of a kubeconfig's cluster."""
        port, management_port = _free_port(), _free_port()
        source = "none" if kubeconfig is None else "cluster"
        options = ["--host", "127.0.0.1", "--port", str(port), "--namespaces", source]
        management = ["--management-host", "127.0.0.1", "--management-port", str(management_port)]
        pair = ["--tls-cert", str(self.directory / "tls.crt"), "--tls-key", str(self.directory / "tls.key")]
        paths = [argument for path in policies for argument in ("--policy", str(path))]
        command = [sys.executable, "-m", "webhook", "serve", *paths, *options, *management, *pair]
        with self._running(name, command, port, KUBECONFIG=str(kubeconfig)) as server:
            yield replace(server, management_port=management_port)

    @contextmanager
    def controller_runtime(self, program: Path) -> Iterator[Server]:
        """The Go webhook on one core."""
        port = _free_port()
        with self._running(
            "controller-runtime", [str(program), "-port", str(port), "-certs", str(self.directory)], port
        ) as server:
            yield server

    @contextmanager
    def _running(self, name: str, command: Sequence[str], port: int, **environment: str) -> Iterator[Server]:
        log = self.directory / f"{name}.log"
        with log.open("wb") as output, _on_core(SERVER_CORE):
            process = subprocess.Popen(
                command,
                cwd=self.source,
                stdout=output,
                stderr=output,
                env={**os.environ, "GOMAXPROCS": "1", **environment},
            )
        try:
            _wait_until_it_listens(process, port, log)
            tls = ssl.create_default_context(cafile=self.directory / "ca.crt")
            yield Server(name, Target(port, tls), process.pid)
        finally:
            process.terminate()
            try:
                process.wait(ANSWER_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def generator_core() -> Iterator[None]:
    """Keep this process, the load generator, off the servers' core."""
    with _on_core(GENERATOR_CORE):
        yield


@contextmanager
def _on_core(core: int) -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise DidNotStart(f"{log.stem} does not listen:\n{log.read_text()[-2000:]}")
