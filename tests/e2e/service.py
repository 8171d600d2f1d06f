"""The webhook as a process of its own: `task-resources serve` with what `task-resources certs` made."""

import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.processes import free_ports, running

Json = dict[str, Any]
Metrics = Mapping[tuple[str, frozenset[tuple[str, str]]], float]

PROGRAM = (sys.executable, "-m", "webhook")
POLICIES = Path(__file__).parent / "policies.yaml"


@dataclass(frozen=True)
class Certificates:
    """An authority and a serving pair for this machine's loopback."""

    folder: Path

    @property
    def authority(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def pair(self) -> tuple[Path, Path]:
        return self.folder / "tls.crt", self.folder / "tls.key"


@dataclass(frozen=True)
class Service:
    """Where a running webhook answers."""

    url: str
    management_url: str
    certificates: Certificates
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def serves(self, certificate: str) -> bool:
        """Whether a new connection gets this certificate, PEM."""
        served = ssl.get_server_certificate(("127.0.0.1", self.port))
        return ssl.PEM_cert_to_DER_cert(served) == ssl.PEM_cert_to_DER_cert(certificate)

    def client(self) -> httpx.Client:
        """A client that trusts the service's authority, and it alone."""
        context = ssl.create_default_context(cafile=str(self.certificates.authority))
        return httpx.Client(base_url=self.url, verify=context, timeout=10, trust_env=False)

    def review(self, pod: Json, namespace: str, endpoint: str = "mutate") -> Json:
        """The answer to a review of the pod's creation."""
        with self.client() as client:
            answer = client.post(f"/{endpoint}", json=creation(pod, namespace))
        assert answer.status_code == 200, answer.text
        response: Json = answer.json()["response"]
        return response

    def ask(self, path: str) -> httpx.Response:
        """What the management port answers."""
        return httpx.get(self.management_url + path, timeout=10, trust_env=False)

    def metrics(self) -> Metrics:
        """Every sample of /metrics but those of the process itself."""
        families = text_string_to_metric_families(self.ask("/metrics").text)
        samples = [sample for family in families for sample in family.samples]
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for sample in samples
            if sample.name.startswith("task_resources_")
        }


def creation(pod: Json, namespace: str) -> Json:
    """A review of the pod's creation, as the API server would ask for it."""
    request = {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "namespace": namespace,
        "operation": "CREATE",
        "userInfo": {"username": "admin"},
        "object": pod,
        "oldObject": None,
        "dryRun": False,
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


def make_certificates(folder: Path) -> Certificates:
    names = ["--dns-name", "localhost", "--dns-name", "127.0.0.1"]
    command = [*PROGRAM, "certs", "--dir", str(folder), *names]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return Certificates(folder)


@contextmanager
def serving(
    certificates: Certificates,
    log: Path,
    *,
    drain_seconds: float = 0,
    policies: Path = POLICIES,
    kubeconfig: Path | None = None,
    more: Mapping[str, object] = {},
) -> Iterator[Service]:
    """A webhook that is ready, with the namespaces of the cluster that a kubeconfig names; ended at the end.

    `more` are further options.
    """
    port, management_port = free_ports(2)
    management_url = f"http://127.0.0.1:{management_port}"
    certificate, key = certificates.pair
    options = {
        "--policy": policies,
        "--host": "127.0.0.1",
        "--port": port,
        "--management-host": "127.0.0.1",
        "--management-port": management_port,
        "--tls-cert": certificate,
        "--tls-key": key,
        "--namespaces": "cluster" if kubeconfig else "none",
        "--log-format": "json",
        "--drain-seconds": drain_seconds,
        **more,
    }
    words = [str(word) for option in options.items() for word in option]
    environment = {"KUBECONFIG": str(kubeconfig)}
    command = [*PROGRAM, "serve", *words]
    with running(command, log, is_ready=lambda: is_ready(management_url), environment=environment) as process:
        yield Service(f"https://127.0.0.1:{port}", management_url, certificates, process, log)


def is_ready(management_url: str) -> bool:
    try:
        with urlopen(f"{management_url}/readyz", timeout=10) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
