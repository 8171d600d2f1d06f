"""The typed view of a pod: only the fields that are read.

msgspec decodes a review straight into it and skips the rest; it is never written back, so a field
that this module does not name cannot get lost.
"""

import msgspec

# Quantities stay raw JSON: numbers keep their digits, and each text is parsed once (`parse_json_quantity`).
Quantities = dict[str, msgspec.Raw]


class _View(msgspec.Struct, rename="camel", frozen=True, gc=False):
    pass


class ResourceClaim(_View, frozen=True):
    name: str = ""
    request: str | None = None


class Resources(_View, frozen=True):
    limits: Quantities | None = None
    requests: Quantities | None = None
    claims: list[ResourceClaim] | None = None


class VolumeMount(_View, frozen=True):
    name: str = ""
    mount_path: str = ""


class VolumeDevice(_View, frozen=True):
    device_path: str = ""


class Container(_View, frozen=True):
    name: str = ""
    resources: Resources | None = None
    restart_policy: str | None = None
    volume_mounts: list[VolumeMount] | None = None
    volume_devices: list[VolumeDevice] | None = None

    @property
    def is_sidecar(self) -> bool:
        """Whether an init container keeps running beside the pod's regular ones."""
        return self.restart_policy == "Always"


class Toleration(_View, frozen=True, omit_defaults=True):
    """Written to pods, too: a policy's toleration is one of these."""

    key: str | None = None
    operator: str | None = None
    value: str | None = None
    effect: str | None = None
    toleration_seconds: int | None = None


class NodeRequirement(_View, frozen=True, omit_defaults=True):
    """One requirement of a label (or field) of nodes; written to pods, too."""

    key: str = ""
    operator: str = ""
    values: tuple[str, ...] | None = None


class NodeSelectorTerm(_View, frozen=True):
    """A node fits that meets all of it; one without any requirement fits no node."""

    match_expressions: list[NodeRequirement] | None = None
    match_fields: list[NodeRequirement] | None = None


class NodeSelector(_View, frozen=True):
    """A node fits that fits any of the terms."""

    node_selector_terms: list[NodeSelectorTerm] | None = None


class NodeAffinity(_View, frozen=True):
    required_during_scheduling_ignored_during_execution: NodeSelector | None = None

    @property
    def required(self) -> NodeSelector | None:
        return self.required_during_scheduling_ignored_during_execution


class Affinity(_View, frozen=True):
    node_affinity: NodeAffinity | None = None


class Volume(_View, frozen=True):
    name: str = ""


class OperatingSystem(_View, frozen=True):
    name: str = ""


class OwnerReference(_View, frozen=True):
    kind: str = ""


class Metadata(_View, frozen=True):
    name: str | None = None
    generate_name: str | None = None
    namespace: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[OwnerReference] | None = None


class PodSpec(_View, frozen=True):
    containers: list[Container] | None = None
    init_containers: list[Container] | None = None
    ephemeral_containers: list[Container] | None = None
    resources: Resources | None = None
    overhead: Quantities | None = None
    os: OperatingSystem | None = None
    tolerations: list[Toleration] | None = None
    node_selector: dict[str, str] | None = None
    affinity: Affinity | None = None
    volumes: list[Volume] | None = None
    resource_claims: list[ResourceClaim] | None = None


class Pod(_View, frozen=True):
    metadata: Metadata = Metadata()
    spec: PodSpec = PodSpec()

    @property
    def annotations(self) -> dict[str, str]:
        return self.metadata.annotations or {}

    @property
    def labels(self) -> dict[str, str]:
        return self.metadata.labels or {}

    @property
    def is_windows(self) -> bool:
        return self.spec.os is not None and self.spec.os.name == "windows"
