"""Real Helm at a cluster of its own: nothing is registered but what is installed, and its pods run on one node."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kubernetes import client

from tests.chart.rendering import CHART, run_helm
from tests.e2e.balancer import balancer
from tests.e2e.cluster import Answer, connected, create
from tests.e2e.control_plane import ControlPlane, control_plane
from tests.e2e.kubelet import Kubelet, kubelet

Json = dict[str, Any]

HELM_SECONDS = 100
WAIT = ("--wait", "--timeout", "60s")

# So that a test does not wait for what replicas wait for: a ConfigMap that comes to all nodes, endpoints that change.
QUICK = {"policies.rolloutSeconds": 0, "server.drainSeconds": 2}


@dataclass(frozen=True)
class Site:
    """A cluster, what speaks to it, and the node on which the webhook's pods run."""

    plane: ControlPlane
    api: client.ApiClient
    kubelet: Kubelet
    program: str

    @property
    def core(self) -> Any:
        return client.CoreV1Api(self.api)

    def helm(self, *arguments: str, values: Mapping[str, Any] | None = None) -> "subprocess.CompletedProcess[str]":
        """What Helm does and says at this cluster."""
        environment = self.plane.environment
        return run_helm(self.program, *arguments, values=values, environment=environment, seconds=HELM_SECONDS)

    def try_out(self, namespace: str, task: Json) -> Answer:
        """A creation that is answered like a real one, and not stored."""
        return create(self.api, namespace, task, dry_run=True)

    @contextmanager
    def release(self, name: str, namespace: str, values: Mapping[str, Any] = {}) -> Iterator["Release"]:
        """A release of the chart, which is ready; uninstalled at the end if it is still there."""
        service = name if CHART.name in name else f"{name}-{CHART.name}"
        with self.service(namespace, service) as url:
            release = Release(self, name, namespace, url)
            try:
                release.install(values)
                yield release
            finally:
                self.helm("uninstall", name, "--namespace", namespace, "--ignore-not-found", "--wait")

    @contextmanager
    def service(self, namespace: str, name: str) -> Iterator[str]:
        """A URL that leads to a Service, which no API server reaches without a network of pods."""
        with balancer(lambda: self.kubelet.endpoints(namespace, name)) as port:
            yield f"https://127.0.0.1:{port}"


@dataclass(frozen=True)
class Release:
    """A release of the chart whose webhooks are called at that URL."""

    site: Site
    name: str
    namespace: str
    url: str

    def helm(
        self, command: Literal["install", "upgrade"], values: Mapping[str, Any], *more: str
    ) -> "subprocess.CompletedProcess[str]":
        """What Helm does and says; all values but these are the chart's own."""
        ours = {"webhooks.url": self.url, **QUICK, **values}
        return self.site.helm(command, self.name, str(CHART), "--namespace", self.namespace, *more, values=ours)

    def install(self, values: Mapping[str, Any]) -> None:
        """Installs, and waits until all of it is ready."""
        done = self.helm("install", values, "--create-namespace", *WAIT)
        assert done.returncode == 0, done.stderr

    def upgrade(self, values: Mapping[str, Any] = {}) -> None:
        """Upgrades, and waits until all of it is ready."""
        done = self.helm("upgrade", values, *WAIT)
        assert done.returncode == 0, done.stderr

    def pods(self) -> list[str]:
        """The names of its replicas that nobody has asked to end."""
        pods = self.site.core.list_namespaced_pod(self.namespace).items
        return sorted(pod.metadata.name for pod in pods if pod.metadata.deletion_timestamp is None)


@contextmanager
def site(programs: Mapping[str, str], folder: Path) -> Iterator[Site]:
    """A cluster in which nothing is installed."""
    pods = folder / "pods"
    pods.mkdir()
    with (
        control_plane(programs, folder) as plane,
        connected(plane) as api,
        kubelet(plane, pods) as node,
    ):
        yield Site(plane, api, node, programs["helm"])
