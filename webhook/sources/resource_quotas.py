"""ResourceQuotas in a cluster: made, changed and deleted so that each namespace has what policies write down (Q1).

By server-side apply: the API server removes a value that was applied before and is not any more, and leaves values
alone that others have added.
"""

from dataclasses import dataclass
from typing import Any, Literal

from kubernetes import client

from webhook.resource_quota import MANAGED_BY, NAME, Json, hard, is_ours
from webhook.sources.cluster_requests import RefusedRequest, ask

FIELD_MANAGER = "task-resources"

Outcome = Literal["created", "changed", "unchanged", "deleted", "absent"]


class NotOurs(Exception):
    """There is an object of our name that somebody else made; it is left as it is."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What was done in one namespace; `before` and `after` are the totals by resource, as the API server has them."""

    outcome: Outcome
    before: dict[str, str]
    after: dict[str, str]


def apply_quota(api: client.ApiClient, namespace: str, wanted: Json | None) -> Applied:
    """Gives the namespace that ResourceQuota, or for None takes ours away.

    Raises NotOurs, RefusedRequest and UnreachableCluster.
    """
    present = _present(api, namespace)
    theirs = present is not None and not is_ours(present)
    if wanted is None:
        return Applied("absent", {}, {}) if present is None or theirs else _delete(api, namespace, present)
    if theirs:
        label = next(f"{key}={value}" for key, value in MANAGED_BY.items())
        raise NotOurs(
            f"the ResourceQuota {NAME} is not ours: it has no label {label}; delete it, or give it the label "
            "to have it replaced"
        )
    return _apply(api, namespace, wanted, present)


def _present(api: client.ApiClient, namespace: str) -> Json | None:
    core: Any = client.CoreV1Api(api)
    try:
        return ask("read the ResourceQuota", core.read_namespaced_resource_quota, NAME, namespace)
    except RefusedRequest as error:
        if error.status == 404:
            return None
        raise


def _apply(api: client.ApiClient, namespace: str, wanted: Json, present: Json | None) -> Applied:
    core: Any = client.CoreV1Api(api)
    applied = ask(
        "apply the ResourceQuota",
        core.patch_namespaced_resource_quota,
        NAME,
        namespace,
        wanted,
        _content_type="application/apply-patch+yaml",
        field_manager=FIELD_MANAGER,
        # The object is ours: a value of it that somebody changed by hand is set back.
        force=True,
    )
    before, after = hard(present), hard(applied)
    if present is None:
        return Applied("created", before, after)
    return Applied("unchanged" if before == after else "changed", before, after)


def _delete(api: client.ApiClient, namespace: str, present: Json) -> Applied:
    """Deletes this very object, and not one that was made in its place meanwhile."""
    core: Any = client.CoreV1Api(api)
    body = {"preconditions": {"uid": present["metadata"]["uid"]}}
    ask("delete the ResourceQuota", core.delete_namespaced_resource_quota, NAME, namespace, body=body)
    return Applied("deleted", hard(present), {})
