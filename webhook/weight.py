"""Whether a pod is worth reading and deciding about, counted in bytes and items (Bounded work).

No pod that runs comes near any of these bounds. One that is above them is refused like one above a maximum: whoever
could make an answer slow could have pods created that nobody bounded, where `failurePolicy` is Ignore.
"""

from collections.abc import Sequence

import msgspec

from webhook.annotations import Asked
from webhook.node_affinity import required_terms
from webhook.pod import Pod
from webhook.resources import ContainerResources

MOST_CONTAINERS = 1_000
MOST_RESOURCES = 100
# Containers times different resources: totals and the pod level look at each of these several times.
MOST_AMOUNTS = 5_000
MOST_TOLERATIONS = 1_000
MOST_REQUIREMENTS = 5_000  # of required node affinity, each value of a requirement counts
# Containers times amounts, each for itself: most pods are below it, and need no closer look.
SURELY_FEW = 100

# In JSON, before anything is read. An item of three bytes becomes an object of a hundred, so that a part with more is
# not made objects of. The parts that are read item by item have a hundredth of it in usual pods.
MOST_PART_BYTES = 256 * 1024
MOST_LABELS = 10_000  # and annotations
# A container or volume takes more than 13 bytes for each of its objects, an empty object 3.
LEAST_BYTES_AN_OBJECT = 8
MOST_USER_BYTES = 2**20


class _View(msgspec.Struct, rename="camel", frozen=True, gc=False):
    pass


_NOTHING = msgspec.Raw(b"null")


class _Container(_View, frozen=True):
    resources: msgspec.Raw = _NOTHING


class _Metadata(_View, frozen=True):
    labels: msgspec.Raw = _NOTHING
    annotations: msgspec.Raw = _NOTHING
    owner_references: msgspec.Raw = _NOTHING


class _Spec(_View, frozen=True):
    containers: msgspec.Raw = _NOTHING
    init_containers: msgspec.Raw = _NOTHING
    ephemeral_containers: msgspec.Raw = _NOTHING
    volumes: msgspec.Raw = _NOTHING
    resources: msgspec.Raw = _NOTHING
    overhead: msgspec.Raw = _NOTHING
    tolerations: msgspec.Raw = _NOTHING
    node_selector: msgspec.Raw = _NOTHING
    affinity: msgspec.Raw = _NOTHING
    resource_claims: msgspec.Raw = _NOTHING


class WeighedPod(_View, frozen=True):
    """A pod whose parts are not read yet."""

    metadata: _Metadata = _Metadata()
    spec: _Spec = _Spec()

    def why_too_large(self) -> str | None:
        """What of it takes too much, in words; None where it may be read. Raises msgspec.DecodeError."""
        spec, metadata = self.spec, self.metadata
        large = [spec.containers, spec.init_containers, spec.ephemeral_containers, spec.volumes]
        if any(part.count(b"{") * LEAST_BYTES_AN_OBJECT > len(part) for part in map(bytes, large)):
            return "nearly empty containers or volumes in great number"
        if sum(map(_strings, (metadata.labels, metadata.annotations))) // 2 > MOST_LABELS:
            return f"more than {MOST_LABELS} labels and annotations"
        parts = [spec.resources, spec.overhead, spec.tolerations, spec.node_selector, spec.affinity]
        parts += [spec.resource_claims, metadata.owner_references]
        for containers in large[:3]:
            parts += [container.resources for container in _decode_containers(containers) or ()]
        total = sum(map(len, parts))
        if total > MOST_PART_BYTES:
            return (
                f"{total} bytes of resources, tolerations, node selector, affinity, claims and owners, "
                f"above {MOST_PART_BYTES}"
            )
        return None


_decode_containers = msgspec.json.Decoder(list[_Container] | None).decode


def _strings(part: msgspec.Raw) -> int:
    """How many strings are in it; a quote within one has a backslash before it."""
    text = bytes(part)
    return (text.count(b'"') - text.count(b'\\"')) // 2


def why_too_large(pod: Pod, containers: Sequence[ContainerResources], amounts: int, asked: Asked) -> str | None:
    """What of a pod is too much to be decided about, in words; None where it may be.

    `containers` has the pod level, if any; `asked` is what annotations ask for, and `amounts` how many resources both
    name, each for itself.
    """
    spec = pod.spec
    if amounts > MOST_RESOURCES or len(containers) * amounts > MOST_AMOUNTS:
        names = len(asked.resources.union(*(container.requests for container in containers)))
        if names > MOST_RESOURCES:
            return f"{names} different resources, above {MOST_RESOURCES}"
        if len(containers) * names > MOST_AMOUNTS:
            return f"{len(containers)} containers times {names} resources, above {MOST_AMOUNTS}"
    if spec.tolerations is not None and len(spec.tolerations) > MOST_TOLERATIONS:
        return f"{len(spec.tolerations)} tolerations, above {MOST_TOLERATIONS}"
    if spec.affinity is not None and (count := _requirements(pod)) > MOST_REQUIREMENTS:
        return f"{count} requirements of node affinity, above {MOST_REQUIREMENTS}"
    return None


def _requirements(pod: Pod) -> int:
    """Terms, requirements and values of the required node affinity."""
    count = 0
    for term in required_terms(pod):
        given = [*(term.match_expressions or ()), *(term.match_fields or ())]
        count += 1 + len(given) + sum(len(each.values or ()) for each in given)
    return count
