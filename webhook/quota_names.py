"""The words of a ResourceQuota's `spec.hard`: which are known, and in what steps each counts.

Source of the rules: kubernetes pkg/apis/core/validation/validation.go ValidateResourceQuotaResourceName,
pkg/apis/core/helper/helpers.go IsStandardQuotaResourceName. Stricter: what the API server would accept and
then never count (`nvidia.com/gpu` without `requests.`) is refused.
"""

from webhook.quantity import NANOS_PER_MILLI, NANOS_PER_UNIT
from webhook.resource_names import COMPUTE, QUOTA_PREFIX, is_container_resource, is_hugepages, is_qualified_name

OBJECTS = frozenset(
    {
        "pods",
        "services",
        "replicationcontrollers",
        "resourcequotas",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "services.nodeports",
        "services.loadbalancers",
    }
)
LIMITS_PREFIX = "limits."
# Ends of names that carry a class before them: fast.storageclass.storage.k8s.io/requests.storage.
CLASS_ENDS = (
    ".storageclass.storage.k8s.io/requests.storage",
    ".storageclass.storage.k8s.io/persistentvolumeclaims",
    ".volumeattributesclass.storage.k8s.io/persistentvolumeclaims",
    ".deviceclass.resource.k8s.io/devices",
)


def counted_resource(name: str) -> str:
    """The container resource, or its alias, that the quota totals; the name itself where it counts something else."""
    for prefix in (QUOTA_PREFIX, LIMITS_PREFIX):
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def is_quota_name(name: str, aliases: frozenset[str]) -> bool:
    """Whether a quota may be written for it; `aliases` stand for resources behind `requests.` and `limits.`."""
    resource = counted_resource(name)
    if name in OBJECTS or resource in COMPUTE or name == "requests.storage":
        return True
    if name.startswith("count/") or name.endswith(CLASS_ENDS):
        return is_qualified_name(name)
    if name.startswith(QUOTA_PREFIX):
        return resource in aliases or is_container_resource(resource)
    return (is_hugepages(name) and is_container_resource(name)) or (name != resource and resource in aliases)


def quota_step_nanos(name: str) -> int:
    """The smallest step of its values in nanos: a thousandth of a core, a byte, an object or a device."""
    return NANOS_PER_MILLI if counted_resource(name) == "cpu" else NANOS_PER_UNIT
