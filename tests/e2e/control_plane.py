"""A Kubernetes control plane of processes on loopback: etcd, kube-apiserver, kube-controller-manager, kube-scheduler.

The API server authorizes by RBAC and Node, restricts nodes as in a real cluster, and writes an audit log. The
controller manager runs the controllers that make pods of Deployments, Jobs and DaemonSets, those that count for
ResourceQuotas and PodDisruptionBudgets, and those that delete what a deleted object or namespace had, each by its own
service account. The scheduler places the pods that name it; no kubelet then runs them.
"""

import json
import os
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.e2e.processes import free_ports, is_listening, running

Json = dict[str, Any]

NODE = "node-1"

# Tokens that open nothing but a control plane of one test session on loopback.
USERS = {
    "admin": ("admin", ("system:masters",)),
    "node": (f"system:node:{NODE}", ("system:nodes",)),
    "kube-controller-manager": ("system:kube-controller-manager", ()),
    "kube-scheduler": ("system:kube-scheduler", ()),
    "quotas": ("quotas", ()),
}
CONTROLLERS = (
    "deployment-controller",
    "replicaset-controller",
    "job-controller",
    "daemonset-controller",
    "resourcequota-controller",
    "disruption-controller",
    "garbage-collector-controller",
    "namespace-controller",
)

# A pod that does not name it stays as it was created: most tests compare pods, which should not change meanwhile.
SCHEDULER = "e2e-scheduler"

RESTRICTED_NODES = ("NodeRestriction",)

# The default from 1.36 on: pods' own level can be resized. The second is what the first needs.
GATES = ("InPlacePodLevelResourcesVerticalScaling", "NodeDeclaredFeatures")

AUDIT_POLICY: Json = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "Metadata", "resources": [{"group": "", "resources": ["pods", "pods/resize"]}]},
        {"level": "None"},
    ],
}


@dataclass(frozen=True)
class ControlPlane:
    """A running control plane: where it answers, and what speaks to it."""

    programs: Mapping[str, str]
    folder: Path
    url: str
    etcd_url: str

    @property
    def port(self) -> int:
        return _port(self.url)

    @property
    def ca(self) -> Path:
        return self.folder / "apiserver.crt"

    @property
    def audit_log(self) -> Path:
        return self.folder / "audit.log"

    def token(self, user: str) -> str:
        return f"{user}-token"

    def kubeconfig(self, user: str, token: str | None = None) -> Path:
        """A kubeconfig of one of USERS, or of whoever has this token."""
        path = self.folder / f"{user}.kubeconfig"
        cluster = {"server": self.url, "certificate-authority": str(self.ca)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "e2e", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": token or self.token(user)}}],
            "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": user}}],
            "current-context": "e2e",
        }
        path.write_text(yaml.safe_dump(config))
        return path

    @property
    def environment(self) -> dict[str, str]:
        """For programs that speak to it as admin; what they keep at home they keep in its folder."""
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig("admin")), "HOME": str(self.folder)}

    def kubectl(self, *arguments: str, given: Json | None = None) -> "subprocess.CompletedProcess[str]":
        """What kubectl prints, as admin; `given` is its standard input."""
        command = [self.programs["kubectl"], *arguments]
        given_text = None if given is None else json.dumps(given)
        return subprocess.run(
            command, input=given_text, capture_output=True, text=True, timeout=60, env=self.environment, check=False
        )

    def audit_events(self, namespace: str) -> list[Json]:
        """What the API server's audit log says of requests about this namespace."""
        events = [json.loads(line) for line in self.audit_log.read_text().splitlines() if namespace in line]
        return [event for event in events if event["objectRef"].get("namespace") == namespace]


@contextmanager
def control_plane(programs: Mapping[str, str], folder: Path) -> Iterator[ControlPlane]:
    """A control plane that is ready for requests; ended at the end."""
    port, etcd_port = free_ports(2)
    plane = ControlPlane(programs, folder, f"https://127.0.0.1:{port}", f"http://127.0.0.1:{etcd_port}")
    with ExitStack() as processes:
        processes.enter_context(_etcd(plane))
        processes.enter_context(_api_server(plane, RESTRICTED_NODES))
        processes.enter_context(_controller_manager(plane))
        processes.enter_context(_scheduler(plane))
        yield plane


@contextmanager
def another_api_server(
    plane: ControlPlane,
    folder: Path,
    plugins: Sequence[str] = (),
    *,
    port: int | None = None,
    flags: Sequence[str] = (),
) -> Iterator[ControlPlane]:
    """One more API server of the same cluster, with these admission plugins and flags, too; ended at the end.

    With the folder and port of one that was there before it is that one, started again.
    """
    another = replace(plane, folder=folder, url=f"https://127.0.0.1:{port or free_ports(1)[0]}")
    with _api_server(another, (*RESTRICTED_NODES, *plugins), flags):
        yield another


@contextmanager
def _etcd(plane: ControlPlane) -> Iterator[None]:
    (peer_port,) = free_ports(1)
    client, peer = plane.etcd_url, f"http://127.0.0.1:{peer_port}"
    command = [
        plane.programs["etcd"],
        f"--data-dir={plane.folder / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",  # nothing here outlives the session
    ]
    with running(command, plane.folder / "etcd.log", is_ready=lambda: is_listening(_port(client))):
        yield


@contextmanager
def _api_server(plane: ControlPlane, plugins: Sequence[str], flags: Sequence[str] = ()) -> Iterator[None]:
    folder = plane.folder
    service_account_key = folder / "service-account.key"
    if not service_account_key.exists():
        service_account_key.write_bytes(_private_key())
    tokens = folder / "tokens.csv"
    tokens.write_text(
        "".join(f'{plane.token(key)},{name},{key},"{",".join(groups)}"\n' for key, (name, groups) in USERS.items())
    )
    audit_policy = folder / "audit-policy.yaml"
    audit_policy.write_text(yaml.safe_dump(AUDIT_POLICY))
    plane.audit_log.touch()
    command = [
        plane.programs["kube-apiserver"],
        f"--etcd-servers={plane.etcd_url}",
        "--bind-address=127.0.0.1",
        f"--secure-port={_port(plane.url)}",
        f"--cert-dir={folder}",
        f"--service-account-key-file={service_account_key}",
        f"--service-account-signing-key-file={service_account_key}",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-cluster-ip-range=10.0.0.0/24",
        f"--token-auth-file={tokens}",
        "--authorization-mode=Node,RBAC",
        f"--enable-admission-plugins={','.join(plugins)}",
        "--disable-admission-plugins=ServiceAccount",  # its token controller is not run
        "--allow-privileged=true",
        f"--feature-gates={','.join(f'{gate}=true' for gate in GATES)}",
        f"--audit-policy-file={audit_policy}",
        f"--audit-log-path={plane.audit_log}",
        *flags,
    ]
    with running(command, folder / "kube-apiserver.log", is_ready=lambda: _is_ready(plane)):
        yield


@contextmanager
def _controller_manager(plane: ControlPlane) -> Iterator[None]:
    (port,) = free_ports(1)
    command = [
        plane.programs["kube-controller-manager"],
        f"--kubeconfig={plane.kubeconfig('kube-controller-manager')}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={plane.folder / 'kube-controller-manager'}",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--controllers={','.join(CONTROLLERS)}",
    ]
    with running(command, plane.folder / "kube-controller-manager.log", is_ready=lambda: is_listening(port)):
        yield


@contextmanager
def _scheduler(plane: ControlPlane) -> Iterator[None]:
    (port,) = free_ports(1)
    config = plane.folder / "kube-scheduler.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "kubescheduler.config.k8s.io/v1",
                "kind": "KubeSchedulerConfiguration",
                "clientConnection": {"kubeconfig": str(plane.kubeconfig("kube-scheduler"))},
                "leaderElection": {"leaderElect": False},
                "profiles": [{"schedulerName": SCHEDULER}],
            }
        )
    )
    command = [
        plane.programs["kube-scheduler"],
        f"--config={config}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={plane.folder / 'kube-scheduler'}",
    ]
    with running(command, plane.folder / "kube-scheduler.log", is_ready=lambda: is_listening(port)):
        yield


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])


def _private_key() -> bytes:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def _is_ready(plane: ControlPlane) -> bool:
    if not plane.ca.exists():
        return False
    asking = urllib.request.Request(f"{plane.url}/readyz", headers={"Authorization": f"Bearer {plane.token('admin')}"})
    try:
        context = ssl.create_default_context(cafile=str(plane.ca))
        with urllib.request.urlopen(asking, timeout=5, context=context) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False
