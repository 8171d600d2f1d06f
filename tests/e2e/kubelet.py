"""The least of a kubelet: pods of the webhook's image, whoever made them, run as processes of this machine.

It places them on its node, makes their volumes as kubelets do and keeps them up to date, runs the image's program with
the container's own arguments and the paths of its mounts, asks its probes, says in the pod's status what came of it,
ends it as the API asks, and answers for its log. Each pod has a loopback address of its own. A pod of another image
stays as it was created.
"""

import base64
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

from kubernetes import client

from tests.config_map import write_config_map
from tests.e2e.balancer import Address
from tests.e2e.cluster import connected
from tests.e2e.control_plane import ControlPlane
from tests.e2e.service import PROGRAM
from tests.http_server import Handler, listening
from webhook.certificates import ensure_certificates

Json = dict[str, Any]

IMAGE = re.compile(r"(.*/)?task-resource-webhook[:@].+")
NODE = "kubelet-1"

# How often it looks at the pods, and at what is in their volumes: real ones take a minute for the latter.
POD_SECONDS, VOLUME_SECONDS = 0.05, 0.5
# What the message about a container's end holds.
MESSAGE_LENGTH = 2048


class Kubelet:
    """A node of the cluster, and the pods on it."""

    def __init__(self, plane: ControlPlane, api: client.ApiClient, folder: Path) -> None:
        self.plane = plane
        self.folder = folder
        self.core: Any = client.CoreV1Api(api)
        self.pods: dict[str, RunningPod] = {}
        self.exit_codes: list[int] = []
        self._addresses = (_loopback(number) for number in count())

    def run_until(self, done: Event) -> None:
        """Looks after its pods, and ends all of them then."""
        try:
            while not done.wait(POD_SECONDS):
                self._look()
        finally:
            for pod in self.pods.values():
                pod.kill()

    def _look(self) -> None:
        found = {pod["metadata"]["uid"]: pod for pod in self._pods_of_the_image()}
        for uid in self.pods.keys() - found.keys():
            self.pods.pop(uid).kill()
        for uid, manifest in found.items():
            if "nodeName" not in manifest["spec"]:
                self._place(manifest["metadata"])
            elif uid not in self.pods:
                folder = self.folder / f"{manifest['metadata']['name']}-{len(list(self.folder.iterdir()))}"
                folder.mkdir()
                self.pods[uid] = RunningPod(self, manifest, folder, next(self._addresses))
            else:
                self.pods[uid].look_after(manifest)

    def _pods_of_the_image(self) -> list[Json]:
        answer = self.core.list_pod_for_all_namespaces(resource_version="0", _preload_content=False)
        pods: list[Json] = json.loads(answer.data)["items"]
        return [pod for pod in pods if all(IMAGE.fullmatch(each["image"]) for each in pod["spec"]["containers"])]

    def _place(self, metadata: Json) -> None:
        binding = {"metadata": {"name": metadata["name"]}, "target": {"kind": "Node", "name": NODE}}
        with suppress(client.ApiException):  # deleted, or placed already
            self.core.create_namespaced_binding(metadata["namespace"], binding, _preload_content=False)

    def endpoints(self, namespace: str, service: str) -> list[Address]:
        """Where a Service leads: its port of those pods that it selects and that are ready."""
        try:
            spec = self.core.read_namespaced_service(service, namespace).spec
        except client.ApiException:
            return []
        selected = [pod for pod in list(self.pods.values()) if pod.is_selected(namespace, spec.selector)]
        return [(pod.address, pod.port(spec.ports[0].target_port)) for pod in selected if pod.is_ready]

    def log_of(self, namespace: str, name: str) -> str:
        """What the pod has written. Raises StopIteration where it is not on the node."""
        logs = (pod.log for pod in list(self.pods.values()) if (pod.namespace, pod.name) == (namespace, name))
        return next(logs).read_text()


def _loopback(number: int) -> str:
    """A loopback address of this process, which others on the machine leave alone: pods all have the same ports."""
    process = os.getpid()
    return f"127.{process // 250 % 250 + 1}.{process % 250 + 1}.{number % 250 + 1}"


@dataclass
class RunningPod:
    """A pod on the node, with one container."""

    kubelet: Kubelet
    manifest: Json
    folder: Path
    address: str
    process: "subprocess.Popen[bytes] | None" = None
    restarts: int = 0
    volumes: dict[str, dict[str, str]] = field(default_factory=dict)
    volumes_at: float = 0.0
    probes: "dict[str, Probe]" = field(default_factory=dict)
    kill_at: float | None = None
    has_ended: bool = False
    status: Json = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        return str(self.manifest["metadata"]["namespace"])

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])

    @property
    def container(self) -> Json:
        (container,) = self.manifest["spec"]["containers"]
        return dict(container)

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def is_ready(self) -> bool:
        """Whether Services have it."""
        return (
            self.kill_at is None and self.is_running and "readiness" in self.probes and self.probes["readiness"].holds
        )

    def is_selected(self, namespace: str, selector: Mapping[str, str]) -> bool:
        return self.namespace == namespace and selector.items() <= self.manifest["metadata"]["labels"].items()

    def port(self, name: str) -> int:
        return next(int(port["containerPort"]) for port in self.container["ports"] if port["name"] == name)

    def look_after(self, manifest: Json) -> None:
        """What a kubelet does again and again for a pod that is there."""
        self.manifest = manifest
        if "deletionTimestamp" in manifest["metadata"]:
            self._end(manifest["metadata"]["deletionGracePeriodSeconds"])
        elif self._make_volumes():
            self._start()
        self._ask_probes()
        self._tell()

    def _make_volumes(self) -> bool:
        """Brings the volumes up to date; False while an object that they need is not there."""
        if time.monotonic() < self.volumes_at:
            return bool(self.volumes)
        self.volumes_at = time.monotonic() + VOLUME_SECONDS
        try:
            wanted = {each["name"]: self._files(each) for each in self.manifest["spec"].get("volumes", ())}
        except (client.ApiException, KeyError):  # the object, or its key
            return bool(self.volumes)
        for name, files in wanted.items():
            if files != self.volumes.get(name):
                (self.folder / name).mkdir(exist_ok=True)
                write_config_map(self.folder / name, files)
        self.volumes = wanted
        return True

    def _files(self, volume: Json) -> dict[str, str]:
        """What belongs into a volume, or into a part of a projected one."""
        if "projected" in volume:
            parts = [self._files(part) for part in volume["projected"]["sources"]]
            return {name: text for part in parts for name, text in part.items()}
        core, namespace = self.kubelet.core, self.namespace
        if "configMap" in volume:
            source = volume["configMap"]
            data = core.read_namespaced_config_map(source["name"], namespace).data
        else:
            source = volume["secret"]
            encoded = core.read_namespaced_secret(source.get("secretName") or source["name"], namespace).data
            data = {name: base64.b64decode(text).decode() for name, text in encoded.items()}
        return {item["path"]: data[item["key"]] for item in source["items"]} if "items" in source else data

    def _start(self) -> None:
        """Runs the container where it does not, unless it ended for good."""
        if self.process is not None:
            if self.process.poll() is None or self.manifest["spec"]["restartPolicy"] == "Never":
                return
            self.restarts += 1
        container = self.container
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*PROGRAM, *(self._with_local_paths(word) for word in container["args"])],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self._environment()},
            )
        self.probes = {kind: Probe(self._url(spec), spec) for kind, spec in self._probe_specs().items()}

    def _with_local_paths(self, word: str) -> str:
        for mount in self.container.get("volumeMounts", ()):
            word = re.sub(rf"(^|=){mount['mountPath']}(?=/|$)", rf"\g<1>{self.folder / mount['name']}", word)
        return word

    def _environment(self) -> dict[str, str]:
        given = {each["name"]: each["value"] for each in self.container.get("env", ())}
        spec = self.manifest["spec"]
        token = {"KUBECONFIG": self._service_account(spec)} if spec.get("automountServiceAccountToken", True) else {}
        return {"TASK_RESOURCES_HOST": self.address, **token, **given}

    def _service_account(self, spec: Json) -> str:
        """A kubeconfig of the pod's service account, by a token that counts for as long as the pod is there."""
        bound = {"apiVersion": "v1", "kind": "Pod", "name": self.name, "uid": self.manifest["metadata"]["uid"]}
        asked = {"spec": {"audiences": [], "expirationSeconds": 3607, "boundObjectRef": bound}}
        create = self.kubelet.core.create_namespaced_service_account_token
        token = create(spec["serviceAccountName"], self.namespace, asked).status.token
        return str(self.kubelet.plane.kubeconfig(self.folder.name, token))

    def _probe_specs(self) -> dict[str, Json]:
        kinds = ("startup", "readiness")
        return {kind: self.container[f"{kind}Probe"] for kind in kinds if f"{kind}Probe" in self.container}

    def _url(self, probe: Json) -> str:
        return f"http://{self.address}:{self.port(probe['httpGet']['port'])}{probe['httpGet']['path']}"

    def _ask_probes(self) -> None:
        """The startup probe until it holds, then whether the pod is ready."""
        if self.is_running and self.probes:
            startup = self.probes.get("startup")
            (startup if startup is not None and not startup.holds else self.probes["readiness"]).ask()

    def _end(self, grace_seconds: float) -> None:
        """Asks the process to end, and kills it when its time is up; then the pod is gone."""
        if self.kill_at is None:
            self.kill_at = time.monotonic() + grace_seconds
            if self.process is not None:
                self.process.terminate()
        if self.is_running and time.monotonic() > self.kill_at:
            self.kill()
        if not self.is_running and not self.has_ended:
            self.has_ended = True
            if self.process is not None:
                self.kubelet.exit_codes.append(self.process.wait())
            self._ask(self.kubelet.core.delete_namespaced_pod, grace_period_seconds=0)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def _tell(self) -> None:
        """Says in the pod's status what is new."""
        status = self._status()
        if status != self.status and not self.has_ended:
            self.status = status
            now = datetime.now(UTC).isoformat()
            conditions = [{**each, "lastTransitionTime": now} for each in status["conditions"]]
            body = {"status": {**status, "conditions": conditions}}
            self._ask(self.kubelet.core.patch_namespaced_pod_status, body)

    def _status(self) -> Json:
        phase, state = self._phase_and_state()
        container = {
            "name": self.container["name"],
            "image": self.container["image"],
            "imageID": "",
            "ready": self.is_ready,
            "started": self.is_running,
            "restartCount": self.restarts,
            "state": state,
        }
        ready = str(self.is_ready)
        holds = {"PodScheduled": "True", "Initialized": "True", "ContainersReady": ready, "Ready": ready}
        return {
            "phase": phase,
            "podIP": self.address,
            "podIPs": [{"ip": self.address}],
            "conditions": [{"type": kind, "status": status} for kind, status in holds.items()],
            "containerStatuses": [container],
        }

    def _phase_and_state(self) -> tuple[str, Json]:
        if self.process is None:
            return "Pending", {"waiting": {"reason": "ContainerCreating"}}
        code = self.process.poll()
        if code is None:
            return "Running", {"running": {}}
        says_why = self.container.get("terminationMessagePolicy") == "FallbackToLogsOnError" and code != 0
        message = self.log.read_text()[-MESSAGE_LENGTH:] if says_why else ""
        terminated = {"exitCode": code, "reason": "Error" if code else "Completed", "message": message}
        ended_for_good = self.manifest["spec"]["restartPolicy"] == "Never"
        phase = ("Failed" if code else "Succeeded") if ended_for_good else "Running"
        return phase, {"terminated": terminated}

    def _ask(self, method: Any, *arguments: Any, **options: Any) -> None:
        with suppress(client.ApiException):  # it is gone
            method(self.name, self.namespace, *arguments, _preload_content=False, **options)


@dataclass
class Probe:
    """One of a container's probes, asked as often as it says."""

    url: str
    spec: Json
    holds: bool = False
    failures: int = 0
    next_at: float = 0.0

    def ask(self) -> None:
        if time.monotonic() < self.next_at:
            return
        self.next_at = time.monotonic() + self.spec["periodSeconds"]
        try:
            with urlopen(self.url, timeout=self.spec["timeoutSeconds"]):
                self.failures, self.holds = 0, True
        except OSError:
            self.failures += 1
            self.holds = self.holds and self.failures < self.spec["failureThreshold"]


@contextmanager
def kubelet(plane: ControlPlane, folder: Path) -> Iterator[Kubelet]:
    """A kubelet at work; all that it runs is ended at the end."""
    done = Event()
    with connected(plane) as api, ThreadPoolExecutor(1) as thread:
        found = Kubelet(plane, api, folder)
        with _logs(found) as port:
            found.core.create_node(_node(port))
            working = thread.submit(found.run_until, done)
            try:
                yield found
            finally:
                done.set()
            working.result()


def _node(port: int) -> Json:
    addresses = [{"type": "InternalIP", "address": "127.0.0.1"}]
    return {
        "metadata": {"name": NODE},
        "status": {"addresses": addresses, "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}},
    }


@contextmanager
def _logs(kubelet: Kubelet) -> Iterator[int]:
    """The port on which the API server asks for a container's log."""

    class Answers(Handler):
        def do_GET(self) -> None:
            _, namespace, name, _ = urlsplit(self.path).path.strip("/").split("/")
            self.answer(200, kubelet.log_of(namespace, name).encode(), "text/plain")

    certificates = kubelet.plane.folder / "kubelet"
    ensure_certificates(certificates, [NODE])
    with listening(Answers, certificates) as port:
        yield port
