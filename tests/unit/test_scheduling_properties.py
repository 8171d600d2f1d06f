"""Section 6 for every pod under every policy: what holds always, and the rules written down a second time, plainly."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from posixpath import normpath
from typing import Any

import jsonpatch
import msgspec
from hypothesis import HealthCheck, assume, event, given, note, settings
from hypothesis import strategies as st

from tests.unit.deciding import policy_set, review_body
from tests.unit.strategies import NODE_LABELS, NODE_NAMES, filled_in, nanos, placements
from webhook.admission import decode, patch_json
from webhook.decision import Decision
from webhook.pod import Pod, Toleration
from webhook.snapshot import Snapshot
from webhook.validity import StoredPod, errors, stored, toleration_errors

Json = dict[str, Any]

thorough = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

APPLIED, PRIMARY = "task-resources.io/applied", "task-resources.io/primary-container"
ACCELERATOR, PARTITION = "task-resources.io/accelerator", "task-resources.io/accelerator-partition"
SHARED_MEMORY, INTERRUPTIBLE = "task-resources.io/shared-memory", "task-resources.io/interruptible"
REQUESTS = "task-resources.io/requests"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
VOLUME = "task-resources-shm"

OF_RESOURCES = re.compile(
    r"/metadata/annotations(/task-resources\.io~1(applied|primary-container))?"
    r"|/spec/(containers|initContainers)/\d+/resources(/(limits|requests)(/[^/]+)?)?"
)
OF_PLACEMENT = re.compile(
    r"/spec/tolerations(/-)?"
    r"|/spec/nodeSelector(/[^/]+)?"
    rf"|/spec/affinity(/nodeAffinity(/{REQUIRED}(/nodeSelectorTerms(/\d+/matchExpressions(/-)?)?)?)?)?"
    r"|/spec/volumes(/-)?"
    r"|/spec/containers/\d+/volumeMounts(/-)?"
)


# A pod in, a decision and the pod as it is stored out


def deciding(spec: Json) -> Snapshot:
    return Snapshot(policy_set(json.dumps(spec)))


def decided(snapshot: Snapshot, pod: Json, **request: Any) -> Decision:
    return snapshot.decide(decode(review_body(pod, **request)))


def copied(pod: Json) -> Json:
    """Without any part that is shared, as it comes over the wire."""
    copy: Json = json.loads(json.dumps(pod))
    return copy


def after(pod: Json, decision: Decision) -> Json:
    """The pod with the patch applied strictly, as the API server then reads it."""
    patch = patch_json(decision.operations)
    note(f"patch: {patch}")
    result: Json = jsonpatch.JsonPatch(patch).apply(copied(pod))
    return filled_in(result)


def admitted(pod: Json, spec: Json) -> Json:
    """The pod after its review, which must not deny it."""
    decision = decided(deciding(spec), pod)
    event(decision.outcome)
    assume(decision.denial is None)
    return after(pod, decision)


def view(pod: Json) -> StoredPod:
    return stored(msgspec.json.decode(json.dumps(pod), type=Pod))


def all_containers(pod: Json) -> list[Json]:
    return [*pod["spec"]["containers"], *pod["spec"].get("initContainers", ())]


def annotations(pod: Json) -> Json:
    return pod["metadata"].get("annotations") or {}


def tolerations(pod: Json) -> list[Json]:
    return pod["spec"].get("tolerations") or []


def selector(pod: Json) -> dict[str, str]:
    return pod["spec"].get("nodeSelector") or {}


def terms(pod: Json) -> list[Json]:
    required = ((pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}).get(REQUIRED) or {}
    return required.get("nodeSelectorTerms") or []


def expressions(term: Json) -> list[Json]:
    return term.get("matchExpressions") or []


def added_requirements(pod: Json, result: Json) -> list[list[Json]]:
    """What each required term of the result has beside what it had; an added term by itself."""
    before = terms(pod) or [{} for _ in terms(result)]
    return [expressions(now)[len(expressions(was)) :] for was, now in zip(before, terms(result), strict=True)]


# What Kubernetes makes of a node, of a requirement and of a toleration


def meets(requirement: Json, value: str | None) -> bool:
    """Whether a node that has the label so, or not at all, meets the requirement."""
    match requirement["operator"]:
        case "In":
            return value in requirement["values"]
        case "NotIn":
            return value not in requirement["values"]
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    if value is None or not value.isdigit():
        return False
    bound = int(requirement["values"][0])
    return int(value) > bound if requirement["operator"] == "Gt" else int(value) < bound


Node = dict[str, str]  # labels, and the field metadata.name


@cache
def all_nodes() -> list[Node]:
    """One node of every kind there is: each label with each value, one that nobody knows, and without it."""
    choices = [[None, "other", *values] for values in NODE_LABELS.values()]
    kinds = [
        {label: value for label, value in zip(NODE_LABELS, values, strict=True) if value is not None}
        for values in product(*choices)
    ]
    return [{**kind, "metadata.name": NODE_NAMES[index % 2]} for index, kind in enumerate(kinds)]


def has(node: Node, requirements: Iterable[Json]) -> bool:
    return all(meets(each, node.get(each["key"])) for each in requirements)


def fits(node: Node, pod: Json) -> bool:
    """Whether the scheduler may put the pod there: all of the node selector, and any of the required terms."""
    if any(node.get(key) != value for key, value in selector(pod).items()):
        return False
    alternatives = [[*expressions(term), *(term.get("matchFields") or [])] for term in terms(pod)]
    return not alternatives or any(each and has(node, each) for each in alternatives)


Taint = tuple[str, str, str]  # key, value, effect
FOREVER = float("inf")


def tolerated_seconds(toleration: Json, taint: Taint) -> float:
    """How long the pod stays on a node with that taint; -1 where it does not go there."""
    key, value, effect = taint
    match toleration.get("operator") or "Equal":
        case "Exists":
            is_meant = not toleration.get("key") or toleration["key"] == key
        case "Equal":
            is_meant = toleration.get("key") == key and (toleration.get("value") or "") == value
        case _:
            is_meant = False
    if not is_meant or toleration.get("effect") not in (None, "", effect):
        return -1
    seconds = toleration.get("tolerationSeconds")
    return FOREVER if seconds is None else max(0, int(seconds))


def covers(given: Json, wanted: Json) -> bool:
    """Whether no taint is tolerated by `wanted`, or longer by `wanted`, that `given` does not tolerate so."""
    keys = {given.get("key") or "", wanted.get("key") or "", "another"}
    values = {given.get("value") or "", wanted.get("value") or "", "another"}
    taints = product(keys - {""}, values, ("NoSchedule", "PreferNoSchedule", "NoExecute"))
    return all(tolerated_seconds(given, taint) >= tolerated_seconds(wanted, taint) for taint in taints)


def said(toleration: Json) -> Json:
    """Without what says nothing."""
    return {key: value for key, value in toleration.items() if value not in ("", None)}


# Section 6, plainly


@dataclass
class Reference:
    """What a pod has after G2 to G6, and why it is refused."""

    tolerations: list[Json]
    node_selector: dict[str, str]
    terms: list[Json]
    requirements: list[Json] = field(default_factory=list)
    shared_memory: Json | None = None
    refusals: set[str] = field(default_factory=set)
    called_for: list[Json] = field(default_factory=list)

    def tolerate(self, wanted: Json) -> None:
        self.called_for.append(wanted)
        if not any(covers(given, wanted) for given in self.tolerations):
            self.tolerations.append(said(wanted))

    def place(self, placing: Json, *, is_default: bool = False) -> None:
        for toleration in placing.get("tolerations") or ():
            self.tolerate(toleration)
        for key, value in placing.get("nodeSelector", {}).items():
            if is_default and self.excludes(key, value):
                continue
            if self.node_selector.setdefault(key, value) != value and not is_default:
                self.refusals.add("G3")

    def excludes(self, key: str, value: str) -> bool:
        """Whether every alternative is for nodes with another value of the label; numbers are not compared."""
        alternatives = [expressions(term) for term in self.terms if any(term.values())] if self.terms else [[]]
        return all(
            any(
                each["key"] == key and each["operator"] not in ("Gt", "Lt") and not meets(each, value)
                for each in (*alternative, *self.requirements)
            )
            for alternative in alternatives
        )

    def require_label(self, label: str, value: str) -> None:
        self.tolerate({"key": label, "operator": "Equal", "value": value, "effect": "NoSchedule"})
        self.requirements.append({"key": label, "operator": "In", "values": [value]})


def is_about(entry: Json, resource: str) -> bool:
    pattern = entry["resource"]
    if "*" not in pattern:
        return bool(pattern == resource)
    return "/" in resource and re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), resource) is not None


def asked_resources(pod: Json, *, least: int = 1) -> set[str]:
    """G1; `least`: 0 for those that are named, whatever the amount."""
    return {
        name
        for container in all_containers(pod)
        for amounts in (container.get("resources") or {}).values()
        for name, text in amounts.items()
        if (nanos(text) or 0) >= least
    }


def reference(pod: Json, spec: Json) -> Reference:
    """What section 6 makes of a pod whose resources are decided."""
    scheduling = spec["scheduling"]
    entries, interruptible = with_all_names(scheduling.get("resources", [])), scheduling.get("interruptible", {})
    asked, named = asked_resources(pod), asked_resources(pod, least=0)
    if annotations(pod).get(REQUESTS, "").startswith("gpu="):
        named.add("nvidia.com/gpu")
    found = Reference([*tolerations(pod)], {**selector(pod)}, terms(pod))
    called_for = [entry for entry in entries if any(is_about(entry, name) for name in asked)]

    for entry in called_for:
        found.place(entry)
    choose(found, "device", annotations(pod).get(ACCELERATOR), asked, entries)
    choose(found, "partition", annotations(pod).get(PARTITION), asked, entries)
    for device in [entry["device"] for entry in called_for if "allowed" in entry.get("device", {})]:
        found.requirements.append({"key": device["label"], "operator": "In", "values": allowed_devices(device)})

    text = annotations(pod).get(INTERRUPTIBLE)
    is_interruptible = (text or (pod["metadata"].get("labels") or {}).get("interruptible")) == "true"
    if text not in (None, "true", "false"):
        found.refusals.add("A3")
    if is_interruptible:
        found.place(interruptible)
    requirement = interruptible.get("requirement" if is_interruptible else "otherwise")
    if requirement is not None:
        found.requirements.append(requirement)
    found.place(scheduling.get("defaults", {}), is_default=True)

    by_plugin = [{"key": name, "operator": "Exists", "effect": "NoSchedule"} for name in named]
    shared = [entry for entry in entries if any(is_about(entry, name) for name in named)]
    shared.append({"tolerations": [*found.called_for, *by_plugin]})
    if any(intrudes(tolerations(pod), entry, shared) for entry in entries if entry.get("reserved") == "Deny"):
        found.refusals.add("G5")
    give_shared_memory(found, pod, spec)
    return found


def choose(found: Reference, choice: str, text: str | None, asked: set[str], entries: list[Json]) -> None:
    """G4, for devices or for partitions."""
    if text is None:
        return
    having = [name for name in asked if any(choice in each and is_about(each, name) for each in entries)]
    if len(having) != 1:
        found.refusals.add("G4")
        return
    for entry in entries:
        if choice in entry and is_about(entry, having[0]):
            (choose_device if choice == "device" else choose_partition)(found, entry[choice], text)


def with_all_names(entries: list[Json]) -> list[Json]:
    """The names of a device are for every entry with its label; its own come first."""
    devices = [entry["device"] for entry in entries if "device" in entry]

    def names(device: Json) -> list[tuple[str, str]]:
        others = [each for each in devices if each["label"] == device["label"]]
        return [pair for each in (device, *others) for pair in each.get("names", {}).items()]

    return [
        {**entry, "device": {**entry["device"], "names": names(entry["device"])}} if "device" in entry else entry
        for entry in entries
    ]


def device_named(device: Json, text: str) -> str:
    return next((value for name, value in device["names"] if name.lower() == text.lower()), text)


def allowed_devices(device: Json) -> list[str]:
    return [*dict.fromkeys(device_named(device, text) for text in device["allowed"])]


def is_label_value(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?", text) is not None


def choose_device(found: Reference, device: Json, text: str) -> None:
    value = device_named(device, text)
    if not is_label_value(value) or ("allowed" in device and value not in allowed_devices(device)):
        found.refusals.add("G4")
    else:
        found.require_label(device["label"], value)


def choose_partition(found: Reference, partition: Json, text: str) -> None:
    label, whole = partition["label"], partition.get("whole", {})
    if text == "none":
        if "toleration" in whole:
            found.tolerate({"key": label, **whole["toleration"]})
        found.requirements.append({"key": label, **whole.get("requirement", {"operator": "DoesNotExist"})})
    elif is_label_value(text):
        found.require_label(label, text)
    else:
        found.refusals.add("G4")


def intrudes(own: list[Json], entry: Json, shared: list[Json]) -> bool:
    """G5: whether the pod tolerates what is for others, and nothing that it may have tolerates that, too."""
    free = [toleration for placing in shared for toleration in placing.get("tolerations") or ()]
    taints = [
        taint
        for taint in entry.get("tolerations") or ()
        if taint.get("key") and not any(is_same_key(other, taint) or covers(other, taint) for other in free)
    ]
    judged = [each for each in own if not any(covers(other, each) for other in free)]
    return any(is_same_key(each, taint) or is_for_every_key(each, taint) for each in judged for taint in taints)


def is_same_key(toleration: Json, taint: Json) -> bool:
    return bool(toleration.get("key") == taint["key"])


def is_for_every_key(toleration: Json, taint: Json) -> bool:
    """Of that effect; see "Every NoSchedule taint is every GPU taint" in docs/decisions.md."""
    effects = {toleration.get("effect") or "", taint.get("effect") or ""} - {""}
    return not toleration.get("key") and toleration.get("operator") == "Exists" and len(effects) < 2


def primary_of(pod: Json) -> Json:
    regular = pod["spec"]["containers"]
    by_name = {container["name"]: container for container in regular}
    wanted = [annotations(pod).get(PRIMARY), *(["primary", pod["metadata"]["name"]] if len(regular) > 1 else [])]
    return next((by_name[name] for name in wanted if name in by_name), regular[0])


def give_shared_memory(found: Reference, pod: Json, spec: Json) -> None:
    """G6."""
    text = annotations(pod).get(SHARED_MEMORY, "false")
    size = None if text == "true" else nanos(text)
    if text not in ("true", "false") and (size is None or size <= 0):
        found.refusals.add("A3")
    primary = primary_of(pod)
    paths = {normpath(mount["mountPath"]) for mount in primary.get("volumeMounts") or ()}
    if text == "false" or "/dev/shm" in paths or pod["spec"].get("os") == {"name": "windows"}:
        return
    if any(volume["name"] == VOLUME for volume in pod["spec"].get("volumes") or ()):
        found.refusals.add("G6")
    limit = nanos(((primary.get("resources") or {}).get("limits") or {}).get("memory", "0"))
    if size is not None and limit and size > limit:
        size = limit
        if spec.get("onExceed") == "Deny":
            found.refusals.add("G6")
    found.shared_memory = {"container": primary["name"], "bytes": None if size is None else -(-size // 10**9)}


def without_placement(pod: Json) -> Json:
    kept = {key: text for key, text in annotations(pod).items() if key not in (ACCELERATOR, PARTITION, SHARED_MEMORY)}
    return {**pod, "metadata": {**pod["metadata"], "annotations": kept}}


def after_section_4(pod: Json, spec: Json) -> Json | None:
    """The pod with its resources decided and nothing else; None where that alone denies it."""
    entries = spec["scheduling"].get("resources", [])
    aliases = [{key: entry[key] for key in ("resource", "alias")} for entry in entries if "alias" in entry]
    bare = without_placement(pod)
    bare["metadata"]["annotations"].pop(INTERRUPTIBLE, None)
    decision = decided(deciding({**spec, "scheduling": {"resources": aliases}}), bare)
    if decision.denial is not None:
        return None
    result = after(bare, decision)
    return {**result, "metadata": pod["metadata"]}


# What holds


@thorough
@given(placements(good_annotations=False))
def test_a_pod_gets_what_the_policy_calls_for_and_nothing_else(placement: tuple[Json, Json]) -> None:
    pod, spec = placement
    decision = decided(deciding(spec), pod)
    bare = after_section_4(pod, spec)
    if bare is None:
        assert decision.denial is not None
        return
    wanted = reference(bare, spec)
    event(", ".join(sorted(wanted.refusals)) or "placed")
    assert bool(wanted.refusals) == (decision.denial is not None), (wanted.refusals, decision.denial)
    if decision.denial is not None:
        return
    result = after(pod, decision)
    assert [said(each) for each in tolerations(result)] == [said(each) for each in wanted.tolerations]
    assert selector(result) == wanted.node_selector
    assert all(each in wanted.requirements for added in added_requirements(pod, result) for each in added)
    assert shared_memory_of(pod, result) == wanted.shared_memory


def shared_memory_of(pod: Json, result: Json) -> Json | None:
    """The volume that was added, and whom for."""
    volumes = (result["spec"].get("volumes") or [])[len(pod["spec"].get("volumes") or []) :]
    mounts = {
        now["name"]: mount
        for was, now in zip(all_containers(pod), all_containers(result), strict=True)
        for mount in (now.get("volumeMounts") or [])[len(was.get("volumeMounts") or []) :]
    }
    if not volumes and not mounts:
        return None
    (volume,), (container,) = volumes, mounts
    assert mounts[container] == {"name": VOLUME, "mountPath": "/dev/shm"}
    size = volume["emptyDir"].pop("sizeLimit", None)
    assert volume == {"name": VOLUME, "emptyDir": {"medium": "Memory"}}
    return {"container": container, "bytes": None if size is None else (nanos(size) or 0) // 10**9}


@thorough
@given(placements(doomed=True))
def test_tolerations_are_only_added_at_the_end_and_none_says_what_another_says(placement: tuple[Json, Json]) -> None:
    pod, spec = placement
    result = admitted(pod, spec)
    own, now = tolerations(pod), tolerations(result)
    assert now[: len(own)] == own
    for index, added in enumerate(now[len(own) :], len(own)):
        assert toleration_errors("", msgspec.convert(added, Toleration)) == []
        assert not any(covers(earlier, added) for earlier in now[:index]), added


@thorough
@given(placements(doomed=True))
def test_required_terms_only_grow_and_all_other_affinity_stays(placement: tuple[Json, Json]) -> None:
    pod, spec = placement
    result = admitted(pod, spec)
    own, now = terms(pod), terms(result)
    assert len(now) == len(own) or (not own and len(now) == 1)
    for was, term in zip(own, now, strict=False):
        assert term.get("matchFields") == was.get("matchFields")
        kept = expressions(was)
        assert expressions(term)[: len(kept)] == kept
        assert kept or was.get("matchFields") or term == was, "an empty term fits no node and stays so"
    assert affinity_besides(result) == affinity_besides(pod)
    for added, term in zip(added_requirements(pod, result), now, strict=True):
        texts = [json.dumps(each, sort_keys=True) for each in expressions(term)]
        assert all(texts.count(json.dumps(each, sort_keys=True)) == 1 for each in added), "nothing is there twice"


def affinity_besides(pod: Json) -> list[Json]:
    """All affinity but the required terms; nothing at all is like an empty one."""
    affinity = {**(pod["spec"].get("affinity") or {})}
    node_affinity = {**(affinity.pop("nodeAffinity", None) or {})}
    node_affinity.pop(REQUIRED, None)
    return [affinity, node_affinity]


@thorough
@given(placements())
def test_a_node_fits_the_result_that_fits_the_pod_and_all_that_the_policy_requires(
    placement: tuple[Json, Json],
) -> None:
    pod, spec = placement
    result = admitted(pod, spec)
    bare = after_section_4(pod, spec)
    assert bare is not None
    wanted = reference(bare, spec)
    only_by_policy = {"spec": {"nodeSelector": wanted.node_selector}}
    fitting = 0
    for node in all_nodes():
        is_fit = fits(node, result)
        fitting += is_fit
        assert is_fit == (fits(node, pod) and fits(node, only_by_policy) and has(node, wanted.requirements)), node
    event("some nodes fit" if fitting else "no node fits")


@thorough
@given(placements(doomed=True, good_annotations=False))
def test_a_patch_touches_only_what_is_ours_and_a_denied_pod_has_none(placement: tuple[Json, Json]) -> None:
    pod, spec = placement
    decision = decided(deciding(spec), pod)
    event(decision.outcome)
    assert decision.invalid == ()
    if decision.denial is not None:
        assert decision.operations == ()
        return
    paths = [operation.path for operation in decision.operations]
    assert all(OF_RESOURCES.fullmatch(path) or OF_PLACEMENT.fullmatch(path) for path in paths), paths
    result = after(pod, decision)
    assert stripped(result) == stripped(pod)
    pairs = [(pod["spec"].get("volumes"), result["spec"].get("volumes"))]
    for was, now in zip(all_containers(pod), all_containers(result), strict=True):
        pairs.append((was.get("volumeMounts"), now.get("volumeMounts")))
    assert all((now or [])[: len(was or [])] == (was or []) for was, now in pairs)
    assert selector(pod).items() <= selector(result).items()


def stripped(pod: Json) -> str:
    """The pod without what a patch may touch, byte for byte."""
    rest = copied(pod)
    for container in all_containers(rest):
        container.pop("resources", None)
        container.pop("volumeMounts", None)
    for name in ("tolerations", "nodeSelector", "volumes"):
        rest["spec"].pop(name, None)
    rest["spec"]["affinity"] = affinity_besides(rest)
    rest["metadata"]["annotations"] = {k: v for k, v in annotations(rest).items() if k not in (APPLIED, PRIMARY)}
    return json.dumps(rest)


@thorough
@given(placements())
def test_a_valid_pod_stays_valid(placement: tuple[Json, Json]) -> None:
    pod, spec = placement
    assume(not errors(view(pod)))
    result = admitted(pod, spec)
    assert errors(view(result)) == []
    volumes = [volume["name"] for volume in result["spec"].get("volumes") or ()]
    assert len(volumes) == len(set(volumes))
    for container in all_containers(result):
        paths = [mount["mountPath"] for mount in container.get("volumeMounts") or ()]
        assert len(paths) == len(set(paths))


CONTROLLER = {"username": "system:serviceaccount:kube-system:daemon-set-controller"}
OWNERS = [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": "1", "controller": True}]


@thorough
@given(placements(good_annotations=False))
def test_the_pod_of_a_daemon_set_is_judged_and_not_placed(placement: tuple[Json, Json]) -> None:
    pod, spec = placement
    snapshot = deciding(spec)
    owned = {**pod, "metadata": {**pod["metadata"], "ownerReferences": OWNERS}}
    decision = decided(snapshot, owned, userInfo=CONTROLLER)
    # The owner alone anybody could write, and the controller makes no other pods.
    for other, user in ((owned, {"username": "admin"}), (pod, CONTROLLER)):
        assert decided(snapshot, other, userInfo=user).outcome == decided(snapshot, pod).outcome
    bare = after_section_4(owned, spec)
    if bare is None:
        assert decision.denial is not None
        return
    shared = Reference([], {}, [])
    give_shared_memory(shared, bare, spec)
    refusals = shared.refusals | (reference(bare, spec).refusals & {"G5"})
    refused = bool(refusals) or names_a_forbidden_device(bare, spec)
    event("refused" if refused else "left")
    if refused:
        assert decision.denial is not None
    if decision.denial is not None:
        assert refused or decision.denial.reason == "accelerator", decision.denial
        return
    result = after(owned, decision)
    assert [tolerations(result), selector(result), terms(result)] == [tolerations(pod), selector(pod), terms(pod)]
    assert shared_memory_of(pod, result) == shared.shared_memory
    for label, allowed in devices_to_require(bare, spec):
        assert all(node.get(label) in allowed for node in all_nodes() if fits(node, pod)), "a node with another device"


def devices_to_require(pod: Json, spec: Json) -> list[tuple[str, list[str]]]:
    """Labels with the values that nodes of the pod must have of them."""
    asked = asked_resources(pod)
    return [
        (entry["device"]["label"], allowed_devices(entry["device"]))
        for entry in with_all_names(spec["scheduling"].get("resources", []))
        if "allowed" in entry.get("device", {}) and any(is_about(entry, name) for name in asked)
    ]


def names_a_forbidden_device(pod: Json, spec: Json) -> bool:
    """Whether the annotation is about one resource, and is a device of it that may not be used."""
    text = annotations(pod).get(ACCELERATOR)
    entries, asked = with_all_names(spec["scheduling"].get("resources", [])), asked_resources(pod)
    having = [name for name in asked if any("device" in each and is_about(each, name) for each in entries)]
    if text is None or len(having) != 1:
        return False
    devices = [each["device"] for each in entries if "device" in each and is_about(each, having[0])]
    named = [(device_named(device, text), allowed_devices(device)) for device in devices if "allowed" in device]
    return any(is_label_value(value) and value not in allowed for value, allowed in named)


@thorough
@given(placements(), st.randoms(use_true_random=False))
def test_a_pod_that_has_it_all_is_placed_already(placement: tuple[Json, Json], random: Any) -> None:
    pod, spec = placement
    bare = after_section_4(pod, spec)
    assume(bare is not None)
    assert bare is not None
    wanted = reference(bare, spec)
    assume(not wanted.refusals)
    ready = copied(pod)
    listed = [*wanted.tolerations]
    random.shuffle(listed)
    ready["spec"] |= {"tolerations": listed, "nodeSelector": wanted.node_selector}
    ready["spec"]["affinity"] = having_required(ready["spec"].get("affinity") or {}, wanted.requirements)
    decision = decided(deciding(spec), ready)
    assert decision.denial is None
    result = after(ready, decision)
    assert [tolerations(result), selector(result), terms(result)] == [listed, wanted.node_selector, terms(ready)]


def having_required(affinity: Json, requirements: list[Json]) -> Json:
    """The affinity with all of them in every term that is not empty."""
    node_affinity = affinity.get("nodeAffinity") or {}
    given = (node_affinity.get(REQUIRED) or {}).get("nodeSelectorTerms") or []
    full = [
        {**term, "matchExpressions": [*expressions(term), *requirements]} if any(term.values()) else term
        for term in given
    ]
    if not given and requirements:
        full = [{"matchExpressions": requirements}]
    required = {REQUIRED: {"nodeSelectorTerms": full}} if full else {}
    return {**affinity, "nodeAffinity": {**node_affinity, **required}}


@thorough
@given(placements(doomed=True))
def test_reviewing_what_a_patch_made_changes_nothing(placement: tuple[Json, Json]) -> None:
    pod, spec = placement
    snapshot = deciding(spec)
    decision = decided(snapshot, pod)
    assume(decision.operations)
    again = decided(snapshot, after(pod, decision))
    assert again.denial is None
    assert again.operations == ()


@thorough
@given(placements())
def test_it_agrees_with_the_extended_resource_toleration_plugin(placement: tuple[Json, Json]) -> None:
    """The plugin runs before the webhook, and once more where the webhook changed the pod."""
    pod, spec = placement
    snapshot = deciding(spec)
    for came in (with_plugin(pod), pod):
        decision = decided(snapshot, came)
        if decision.denial is not None:
            continue
        first = after(came, decision)
        second = with_plugin(first)
        again = decided(snapshot, second)
        assert again.denial is None
        assert again.operations == ()
        added = tolerations(second)[len(tolerations(came)) :]
        assert all([said(each) for each in tolerations(second)].count(said(new)) == 1 for new in added)
        if extended_requests(first) == extended_requests(came) and came is not pod:
            assert second == first, "the plugin has nothing to add"


def extended_requests(pod: Json) -> list[str]:
    names = {name for each in all_containers(pod) for name in (each.get("resources") or {}).get("requests") or {}}
    return sorted(name for name in names if "/" in name and "kubernetes.io/" not in name)


def with_plugin(pod: Json) -> Json:
    """As ExtendedResourceToleration leaves it: AddOrUpdateTolerationInPod, in the order of names."""
    result = copied(pod)
    for name in extended_requests(pod):
        wanted = {"key": name, "operator": "Exists", "effect": "NoSchedule"}
        now = [
            wanted if said({**each, "tolerationSeconds": None}) == wanted else each
            for each in result["spec"].get("tolerations") or ()
        ]
        result["spec"]["tolerations"] = now if wanted in now else [*now, wanted]
    return result
