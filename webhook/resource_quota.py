"""The ResourceQuota that policies write down for a namespace (Q1). The webhook itself never reads one."""

from collections.abc import Mapping
from typing import Any

from webhook.policy import PolicySet, merge_quota
from webhook.projects import Scope

Json = dict[str, Any]

NAME = "task-resources"
# Who made the object: one of this name without the label is somebody else's.
MANAGED_BY: Mapping[str, str] = {"app.kubernetes.io/managed-by": "task-resources"}


def resource_quota(policies: PolicySet, scope: Scope) -> Json | None:
    """The object as a manifest; None where the policies set no quota for the namespace."""
    quota = merge_quota(policies.matching(scope))
    if not quota:
        return None
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": NAME, "namespace": scope.namespace, "labels": dict(MANAGED_BY)},
        "spec": {"hard": {name: str(amount.value) for name, amount in sorted(quota.items())}},
    }


def is_ours(quota: Json) -> bool:
    """Whether an object of a cluster was made from policies."""
    labels = quota["metadata"].get("labels") or {}
    return MANAGED_BY.items() <= labels.items()


def hard(quota: Json | None) -> dict[str, str]:
    """The totals of an object, as text by resource; none where there is no object."""
    amounts: dict[str, str] = ((quota or {}).get("spec") or {}).get("hard") or {}
    return amounts
