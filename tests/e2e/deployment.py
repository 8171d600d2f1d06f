"""The webhook as a Deployment and a Service have it: two replicas behind a balancer, and what is done to them.

Each replica has volumes of its own, a ConfigMap with the policies and a Secret with the certificates, as on two nodes:
kubelets bring changes to them at times of their own.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event, Thread

from tests.config_map import write_config_map
from tests.e2e.balancer import balancer
from tests.e2e.cluster import Cluster
from tests.e2e.processes import eventually
from tests.e2e.registration import trust
from tests.e2e.service import Certificates, Service, is_ready, make_certificates, serving
from tests.e2e.stream import Stream

REPLICAS = 2

# Instead of a thousand, so that connections are made all the time, and both looks at a pod meet both replicas.
OFTEN_CONNECTED = {"--connection-max-requests": 5}

POLICY = """\
apiVersion: task-resources.io/v1alpha1
kind: TaskResourcePolicy
metadata: {name: platform}
spec: {container: {max: {cpu: %s}}}
"""

Files = Mapping[str, str]


@dataclass(frozen=True)
class Replica:
    """One webhook, and the volumes that are mounted in it."""

    service: Service
    config_map: Path
    secret: Path

    def says(self, text: str) -> bool:
        """Whether this is in the list of its checks."""
        return text in self.service.ask("/readyz?verbose").text

    def cpu_in_force(self) -> str:
        """The maximum by which it decides."""
        values = self.service.ask("/policies/effective/a-development").json()["values"]
        return next(str(value["value"]) for value in values if value["field"] == "container.max.cpu")


class Deployment:
    """Replicas that are ready and get connections; every change waits until it is done."""

    def __init__(
        self, folder: Path, certificates: Certificates, options: Mapping[str, object], stack: ExitStack
    ) -> None:
        self.replicas: list[Replica] = []
        self.url = ""
        self.ready_ports: Sequence[int] = ()
        self.secret = secret(certificates)
        self._config_map = {"platform.yaml": POLICY % 4}
        self._folder, self._options, self._stack = folder, options, stack
        self._started = 0

    def start(self) -> Replica:
        """One more replica, which gets connections."""
        self._started += 1
        folder = self._folder / f"replica-{self._started}"
        volumes = folder / "config-map", folder / "secret"
        for volume, files in zip(volumes, (self._config_map, self.secret), strict=True):
            volume.mkdir(parents=True)
            write_config_map(volume, files)
        config_map, secret = volumes
        options = {"--tls-ca": secret / "ca.crt", **self._options}
        running = serving(Certificates(secret), folder / "webhook.log", policies=config_map, more=options)
        replica = Replica(self._stack.enter_context(running), config_map, secret)
        self.replicas.append(replica)
        eventually(lambda: replica.service.port in self.ready_ports, "the new replica gets connections")
        return replica

    def restart(self) -> None:
        """Each replica is replaced by a new one, which is ready first: maxSurge 1, maxUnavailable 0."""
        for old in list(self.replicas):
            self.start()
            old.service.process.terminate()
            assert old.service.process.wait(60) == 0
            self.replicas.remove(old)

    def kill(self) -> None:
        """One replica is gone at once, and another one started."""
        killed = self.replicas.pop()
        killed.service.process.kill()
        killed.service.process.wait()
        eventually(lambda: killed.service.port not in self.ready_ports, "the killed replica gets no connections")
        self.start()

    def mount_secret(self, secret: Files) -> None:
        """Has every replica serve this certificate."""
        self.secret = secret
        for replica in self.replicas:
            write_config_map(replica.secret, secret)
        self._wait_for_all(lambda replica: replica.service.serves(secret["tls.crt"]), "the new certificate is served")

    def mount_broken_secret(self, secret: Files) -> None:
        """Gives every replica a certificate that it cannot use, and then its own again."""
        self._break("certificate", lambda replica: replica.secret, secret, self.secret)

    def mount_broken_policy(self) -> None:
        """Gives every replica a policy that is none, and then its own again."""
        broken = {"platform.yaml": POLICY % "lots"}
        self._break("policies", lambda replica: replica.config_map, broken, self._config_map)

    def _break(self, check: str, volume: Callable[[Replica], Path], broken: Files, sound: Files) -> None:
        for files, said in ((broken, f"[+]{check} ok: the last change was refused"), (sound, f"[+]{check} ok\n")):
            for replica in self.replicas:
                write_config_map(volume(replica), files)
            self._wait_for_all(partial(Replica.says, text=said), said)

    def change_maximum(self, cpu: int, stream: Stream, between: int) -> None:
        """Another maximum, which one replica sees first, and the others when `between` pods were created."""
        self._config_map = {"platform.yaml": POLICY % cpu}
        first, *others = self.replicas
        stream.allowed |= {str(cpu)}
        write_config_map(first.config_map, self._config_map)
        eventually(lambda: first.says("[+]policies ok: policy set"), "one replica has seen it")
        stream.wait_for_more(between)
        for replica in others:
            write_config_map(replica.config_map, self._config_map)
        self._wait_for_all(lambda replica: replica.cpu_in_force() == str(cpu), "the new maximum is in force")
        stream.allowed = frozenset({str(cpu)})

    def _wait_for_all(self, look: Callable[[Replica], bool], what: str) -> None:
        eventually(lambda: all(look(replica) for replica in self.replicas), what)


def secret(certificates: Certificates) -> Files:
    """A Secret of these, as cert-manager writes it."""
    return {path.name: path.read_text() for path in (certificates.authority, *certificates.pair)}


def renewed(certificates: Certificates, folder: Path) -> Certificates:
    """Another serving certificate of the same authority, with a key of its own."""
    folder.mkdir()
    for name in ("ca.crt", "ca.key"):
        shutil.copy2(certificates.folder / name, folder)
    return make_certificates(folder)


def replace_authority(cluster: Cluster, deployment: Deployment, new: Files, stream: Stream, between: int) -> None:
    """The steps of docs/certificates.md, with so many pods created between them."""
    old, both = deployment.secret, {"ca.crt": deployment.secret["ca.crt"] + new["ca.crt"]}
    trust(cluster, stream.namespace, both["ca.crt"])
    deployment.mount_secret({**old, **both})
    stream.wait_for_more(between)
    deployment.mount_secret({**new, **both})
    stream.wait_for_more(between)
    trust(cluster, stream.namespace, new["ca.crt"])
    deployment.mount_secret(new)
    stream.wait_for_more(between)


@contextmanager
def deployed(
    certificates: Certificates, folder: Path, *, probe_seconds: float, options: Mapping[str, object]
) -> Iterator[Deployment]:
    """Two replicas with these options of `serve`; they get connections while they were ready when last probed."""
    with ExitStack() as stack:
        deployment = Deployment(folder, certificates, options, stack)
        stack.enter_context(_probing(deployment, probe_seconds))
        port = stack.enter_context(balancer(lambda: [("127.0.0.1", port) for port in deployment.ready_ports]))
        deployment.url = f"https://127.0.0.1:{port}"
        for _ in range(REPLICAS):
            deployment.start()
        yield deployment


@contextmanager
def _probing(deployment: Deployment, seconds: float) -> Iterator[None]:
    ended = Event()

    def probe() -> None:
        while not ended.wait(seconds):
            services = [replica.service for replica in list(deployment.replicas)]
            deployment.ready_ports = [each.port for each in services if is_ready(each.management_url)]

    probing = Thread(target=probe)
    probing.start()
    try:
        yield
    finally:
        ended.set()
        probing.join()
