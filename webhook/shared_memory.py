"""`/dev/shm` of the primary container (G6): a volume in memory, where its annotation asks for one.

Kubernetes gives containers 64 MiB, too little for what PyTorch's data loaders share. The volume counts as the
container's memory, so its size is bounded by the container's limit.
"""

from posixpath import normpath
from typing import Literal

import msgspec

from webhook.annotations import SHARED_MEMORY
from webhook.pod import Pod, VolumeMount
from webhook.quantity import Quantity
from webhook.resource_names import unit_nanos
from webhook.resources import Case, ContainerResources, Refusal, where

VOLUME = "task-resources-shm"
MOUNT_PATH = "/dev/shm"  # noqa: S108 - a path in the container


class SharedMemory(msgspec.Struct, frozen=True, gc=False):
    """A volume to add and to mount in the primary container.

    `mounts` is what that container mounts already. `size` is None where only the container's own limit bounds it;
    `asked` is what was asked instead.
    """

    container: ContainerResources
    mounts: list[VolumeMount] | None
    size: Quantity | None = None
    asked: Quantity | None = None


def decide_shared_memory(
    pod: Pod, primary: ContainerResources, asked: Quantity | Literal[True], case: Case
) -> SharedMemory | None:
    """The volume that the primary container gets; None where it has its own `/dev/shm`, or is refused one."""
    spec = pod.spec
    container = next(each for each in spec.containers or () if each.name == primary.name)
    mounts = container.volume_mounts
    taken = [mount.mount_path for mount in mounts or ()]
    taken += [device.device_path for device in container.volume_devices or ()]
    if any(normpath("/" + path.lstrip("/")) == MOUNT_PATH for path in taken):
        return None
    if any(volume.name == VOLUME for volume in spec.volumes or ()):
        text = (
            f'{where(primary)}: annotation {SHARED_MEMORY}: the pod has a volume "{VOLUME}" that is not mounted at '
            f"{MOUNT_PATH}; rename it, or leave the annotation out"
        )
        case.refusals.append(Refusal("shared-memory", text))
        return None
    size = None if asked is True else asked
    limit = primary.limits.get("memory")
    if size is None or not limit or size <= limit:
        return SharedMemory(primary, mounts, size)
    if case.deny:
        text = f"{where(primary)}: shared memory {size} is above the container's memory limit {limit}"
        case.refusals.append(Refusal("shared-memory", text, case.policy.on_exceed.origin))
        return None
    return SharedMemory(primary, mounts, limit.rounded_down(unit_nanos("memory")), asked=size)
