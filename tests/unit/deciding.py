"""What the decision tests share: a pod and a policy in, the decision and the pod as the API server stores it out."""

import json
from textwrap import indent
from typing import Any

import jsonpatch
import yaml

from webhook.admission import decode, patch_json
from webhook.annotations import APPLIED, PRIMARY_CONTAINER
from webhook.decision import Decision, Endpoint
from webhook.policy import PolicySet
from webhook.snapshot import Snapshot
from webhook.sources.policy_files import parse_policies
from webhook.usage import QosClass, qos_class, stored_pod_level
from webhook.validity import StoredPod

Json = dict[str, Any]

NAMESPACE = "flytesnacks-development"


def policy_set(*specs: str | Json) -> PolicySet:
    """A policy set of these specs, the first named policy-0. Text is YAML as a user would write it: `mode: Off`."""
    documents = [
        "apiVersion: task-resources.io/v1alpha1\nkind: TaskResourcePolicy\n"
        f"metadata: {{name: policy-{index}}}\nspec:\n"
        + indent(spec if isinstance(spec, str) else yaml.safe_dump(spec), "  ")
        for index, spec in enumerate(specs)
    ]
    return parse_policies("\n---\n".join(documents), file="policies.yaml")


def container(name: str = "main", *, limits: Json | None = None, requests: Json | None = None, **fields: Any) -> Json:
    """A container as the API server sends it: a request that is absent beside a limit has been filled in."""
    resources: Json = {}
    if limits is not None:
        resources["limits"] = limits
    if requests is not None or limits is not None:
        resources["requests"] = {**(limits or {}), **(requests or {})}
    return {"name": name, "image": "busybox", "resources": resources, **fields}


def sidecar(name: str, **amounts: Any) -> Json:
    return container(name, restartPolicy="Always", **amounts)


def pod(
    *containers: Json,
    init: list[Json] | None = None,
    annotations: Json | None = None,
    labels: Json | None = None,
    **spec: Any,
) -> Json:
    metadata: Json = {"name": "task", "namespace": NAMESPACE}
    if annotations is not None:
        metadata["annotations"] = annotations
    if labels is not None:
        metadata["labels"] = labels
    body: Json = {"containers": list(containers) or [container()], **spec}
    if init is not None:
        body["initContainers"] = init
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": body}


def review_body(pod: Json, *, old: Json | None = None, **request: Any) -> bytes:
    operation = {"operation": "CREATE"} if old is None else {"operation": "UPDATE", "subResource": "resize"}
    return json.dumps(
        {
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
                "kind": {"group": "", "version": "v1", "kind": "Pod"},
                "resource": {"group": "", "version": "v1", "resource": "pods"},
                "namespace": NAMESPACE,
                "userInfo": {"username": "admin"},
                "object": pod,
                "oldObject": old,
                "dryRun": False,
                **operation,
                **request,
            },
        }
    ).encode()


def decided(
    pod: Json, *specs: str | Json, endpoint: Endpoint = "mutate", old: Json | None = None, **request: Any
) -> Decision:
    """The decision about the pod under policies with these specs."""
    snapshot = Snapshot(policy_set(*specs))
    return snapshot.decide(decode(review_body(pod, old=old, **request)), endpoint)


def patched(pod: Json, decision: Decision) -> Json:
    """The pod with the decision's operations applied strictly by RFC 6902."""
    result: Json = jsonpatch.JsonPatch(patch_json(decision.operations)).apply(pod)
    return result


def reviewed(pod: Json, *specs: str | Json, **request: Any) -> Json:
    """The pod after the decision, as the API server reads it.

    A second review of it must change nothing (R14).
    """
    decision = decided(pod, *specs, **request)
    assert decision.denial is None, decision.denial
    result: Json = json.loads(json.dumps(patched(pod, decision)))
    if "old" not in request:
        again = decided(result, *specs, **request)
        assert not again.operations, (again.operations, result)
    return result


def resources_after(pod: Json, *specs: str | Json, **request: Any) -> Json:
    """Each container's resources after the decision, by name; the pod level's under "pod"."""
    spec = reviewed(pod, *specs, **request)["spec"]
    after = {c["name"]: c.get("resources", {}) for c in (*spec["containers"], *spec.get("initContainers", ()))}
    return after | ({"pod": spec["resources"]} if "resources" in spec else {})


def qos_of(pod: StoredPod) -> QosClass:
    """The class that the API server gives a pod that is stored so."""
    containers = [(c.requests, c.limits) for c in (*pod.regular, *pod.init)]
    if pod.pod_level is None:
        return qos_class(containers)
    init = [((c.requests, c.limits), c.is_sidecar) for c in pod.init]
    typed = pod.pod_level.requests, pod.pod_level.limits
    return qos_class(containers, stored_pod_level(typed, [(c.requests, c.limits) for c in pod.regular], init))


def denial(pod: Json, *specs: str | Json, **request: Any) -> str:
    """Why the pod is denied."""
    decision = decided(pod, *specs, **request)
    assert decision.denial is not None, patched(pod, decision)["spec"]
    assert not decision.operations
    return decision.denial.message


__all__ = ["APPLIED", "PRIMARY_CONTAINER"]
