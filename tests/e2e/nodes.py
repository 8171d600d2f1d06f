"""The nodes that the scheduler chooses from: what a kubelet would say of each, and no kubelet behind any of them.

Each has room for all the pods of a session. NODE is not ready, as a node without a kubelet is: nothing is placed there,
and tests that want a pod on a node put it there by hand.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.control_plane import NODE

Json = dict[str, Any]

GPU = "nvidia.com/gpu"
SLICE = "nvidia.com/mig-2g.10gb"

POOL = "e2e.example/pool"
ZONE = "topology.kubernetes.io/zone"
ACCELERATOR = "k8s.amazonaws.com/accelerator"
PARTITION = "k8s.amazonaws.com/gpu-partition-size"
LIFECYCLE = "lifecycle"

A100 = "nvidia-tesla-a100"
T4 = "nvidia-tesla-t4"

TOLERATES_GPUS = {"key": GPU, "operator": "Exists", "effect": "NoSchedule"}
TOLERATES_EVERYTHING = {"operator": "Exists"}


@dataclass(frozen=True)
class Node:
    """A node as an administrator would set it up; its taints are all NoSchedule."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Mapping[str, str] = field(default_factory=dict)
    devices: Mapping[str, str] = field(default_factory=dict)


CPU_NODE = Node("cpu-1", {POOL: "cpu", ZONE: "a"})
A100_NODE = Node("a100-1", {POOL: "gpu", ZONE: "a", ACCELERATOR: A100}, {GPU: "present"}, {GPU: "1000"})
# Costly or cheap, a kind of device may be kept for those that name it: tainted with the device, too.
T4_NODE = Node("t4-1", {POOL: "gpu", ZONE: "b", ACCELERATOR: T4}, {GPU: "present", ACCELERATOR: T4}, {GPU: "1000"})
# Some of its devices are whole, others cut into slices.
MIG_NODE = Node(
    "mig-1",
    {POOL: "gpu", ZONE: "a", ACCELERATOR: A100, PARTITION: "2g.10gb"},
    {GPU: "present", PARTITION: "2g.10gb"},
    {GPU: "1000", SLICE: "1000"},
)
SPOT_NODE = Node("spot-1", {POOL: "cpu", ZONE: "a", LIFECYCLE: "spot"}, {LIFECYCLE: "spot"})

READY = (CPU_NODE, A100_NODE, T4_NODE, MIG_NODE, SPOT_NODE)


def create_nodes(core: Any) -> None:
    """Creates all nodes; `core` is the client of the core API."""
    # Sorted, as the API server wants them. The first is asked for by 1.35 only.
    features = ["GuaranteedQoSPodCPUResize", "InPlacePodLevelResourcesVerticalScaling"]
    status = {"allocatable": _allocatable(), "declaredFeatures": features}
    core.create_node({"metadata": {"name": NODE}, "status": status})
    for node in READY:
        status = {"allocatable": {**_allocatable(), **node.devices}}
        core.create_node({"metadata": {"name": node.name, "labels": dict(node.labels)}, "status": status})
        # Admission taints each new node as not ready; these are its taints once it is.
        taints = [{"key": key, "value": value, "effect": "NoSchedule"} for key, value in node.taints.items()]
        core.patch_node(node.name, [{"op": "replace", "path": "/spec/taints", "value": taints}])


def _allocatable() -> Json:
    return {"cpu": "1000", "memory": "10Ti", "pods": "1000"}
