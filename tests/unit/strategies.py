"""Random pods, as the API server would send them, and random policies, for tests of what holds for all of them.

Amounts come from short lists, so that they often meet, or just miss, a bound.
"""

from fnmatch import fnmatchcase
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from webhook.quantity import InvalidQuantity, parse_json_quantity, parse_quantity

Json = dict[str, Any]

# In ascending order: policies take their minimum, defaults and maximum from left to right.
POLICY_AMOUNTS: dict[str, list[str]] = {
    "cpu": ["1m", "50m", "100m", "0.5", "1", "1500m", "2", "4", "1e1"],
    "memory": ["1Mi", "16Mi", "64Mi", "500M", "1Gi", "1.5Gi", "4Gi", "1e10", "16Ei"],
    "ephemeral-storage": ["16Mi", "1Gi", "10G", "20Gi"],
}
DEVICE_MAXIMA = {
    "nvidia.com/gpu": ["0", "1", "2", "8"],
    "nvidia.com/mig-1g.5gb": ["0", "1", "3"],
    "nvidia.com/*": ["0", "1", "4"],
    "example.kubernetes.io/slice": ["0", "1", "3"],
    "hugepages-2Mi": ["0", "2Mi", "64Mi", "1Gi"],
}

# What pods ask for beside the same amounts: zeros, other notations of them, the very small and the very large.
POD_AMOUNTS: dict[str, list[str]] = {
    "cpu": [*POLICY_AMOUNTS["cpu"], "0", "0m", "1000m", "3", "1e-3", "100E", "1e40"],
    "memory": [*POLICY_AMOUNTS["memory"], "0", "1", "400m", "1025", "1024Ki", "1G", "3Gi", "8Ei", "100E", "1e300"],
    "ephemeral-storage": [*POLICY_AMOUNTS["ephemeral-storage"], "0", "1500m", "1e12"],
    "nvidia.com/gpu": ["0", "1", "2", "1000m", "4", "16", "1k"],
    "nvidia.com/mig-1g.5gb": ["0", "1", "2", "7"],
    "example.kubernetes.io/slice": ["0", "1", "500m", "2", "10"],
    "hugepages-2Mi": ["0", "2Mi", "4Mi", "128Mi", "2Gi"],
}
# Keys and values that no API server accepts in a container, or that we do not compute with.
ODD_AMOUNTS: dict[str, list[str]] = {
    "nvidia.com/gpu": ["500m", "1.5", "-1"],
    "example.kubernetes.io/slice": ["-1"],
    "hugepages-2Mi": ["3Mi", "1", "-2Mi"],
    "hugepages-x": ["1"],
    "cpu": ["-1", "1e999999", "1" * 70],
    "memory": ["1e999999", "-1Gi"],
    "ephemeral-storage": ["-1"],
    "gpu": ["0", "1", "2"],
    "mem": ["1Gi", "2Gi"],
    "pods": ["1"],
    "a/b/c": ["1"],
}
ANNOTATION_AMOUNTS: dict[str, list[str]] = {
    "cpu": ["1m", "250m", "0.5", "1", "2", "6", "1e3", "1E"],
    "memory": ["1", "16Mi", "350Mi", "0.1Gi", "4Gi", "1Ti", "16Ei"],
    "mem": ["1Gi"],
    "ephemeral-storage": ["1Gi", "50Gi"],
    "ephemeral_storage": ["2Gi"],
    "gpu": ["0", "1", "8"],
    "nvidia.com/mig-1g.5gb": ["1"],
    "example.kubernetes.io/slice": ["1500m", "1.0001"],
    "hugepages-2Mi": ["2Mi", "128Mi"],
}
POD_LEVEL = ("cpu", "memory", "hugepages-2Mi")

CONTAINER_NAMES = ["main", "primary", "task", "logs"]
INIT_NAMES = ["setup", "proxy", "fetch"]

# What scheduling is about. Pods and policies choose from the same few labels, taints and names.
NODE_LABELS: dict[str, list[str]] = {
    "node-group": ["gpu", "cpu"],
    "accelerator": ["a100", "t4", "h100"],
    "partition": ["1g.5gb", "2g.10gb"],
    "capacity": ["spot", "on-demand"],
    "gpu-count": ["1", "8", "many"],
}
NODE_NAMES = ["node-1", "node-2"]
# What policies schedule, with amounts; at times by an alias, which only some policies know.
PLACED_AMOUNTS: dict[str, list[str]] = {
    "nvidia.com/gpu": ["1", "1", "2", "0"],
    "memory": ["64Mi", "1Gi", "4Gi", "0"],
    "nvidia.com/mig-1g.5gb": ["1", "0"],
    "cpu": ["500m", "2"],
    "nvidia.com/mig-2g.10gb": ["1"],
    "example.kubernetes.io/slice": ["0", "500m"],
    "gpu": ["1"],
    "card": ["1"],
}
PLACED_SETS: list[list[str]] = [
    [],
    ["nvidia.com/gpu"],
    ["nvidia.com/gpu", "memory"],
    ["memory"],
    ["nvidia.com/mig-1g.5gb"],
    ["nvidia.com/mig-2g.10gb", "nvidia.com/mig-1g.5gb"],
    ["nvidia.com/gpu", "nvidia.com/mig-1g.5gb"],
    ["example.kubernetes.io/slice", "cpu"],
    ["gpu", "memory"],
    ["card"],
]
SCHEDULED_RESOURCES: list[list[str]] = [
    ["nvidia.com/gpu"],
    ["nvidia.com/*"],
    ["nvidia.com/gpu", "nvidia.com/mig-*"],
    ["nvidia.com/mig-1g.5gb", "nvidia.com/gpu"],
    ["nvidia.com/mig-*", "nvidia.com/*", "nvidia.com/mig-1g.5gb"],
    ["cpu", "example.kubernetes.io/*"],
    ["*"],
    [],
]
PLACED_REQUESTS = ["nvidia.com/gpu=1", "nvidia.com/mig-1g.5gb=1", "gpu=1", "gpu=0", "cpu=1", "memory=2Gi"]

FLYTE_PRIMARY = "primary_container_name"
KUBECTL_DEFAULT = "kubectl.kubernetes.io/default-container"


def is_above(request: str, limit: str) -> bool:
    """Whether the API server would refuse the two together; what is not computed with counts as fine."""
    try:
        return parse_quantity(request) > parse_quantity(limit)
    except InvalidQuantity:
        return False


@st.composite
def both_sides(draw: DrawFn, resource: str, amounts: list[str], *, doomed: bool) -> tuple[str | None, str | None]:
    """Limit and request of one resource, either of them or none; `doomed`: also a request above its limit."""
    limit = draw(st.none() | st.sampled_from(amounts))
    request = draw(st.none() | st.sampled_from(amounts))
    if limit is None or request is None or doomed:
        return limit, request
    if resource in DEVICE_MAXIMA and "kubernetes.io/" not in resource:
        return limit, limit
    return (request, limit) if is_above(request, limit) else (limit, request)


@st.composite
def resources(
    draw: DrawFn, amounts: dict[str, list[str]], *, doomed: bool = False, fill_requests: bool = True
) -> Json | None:
    """A `resources` field, absent at times. `fill_requests`: absent requests are filled in from limits.

    `doomed`: with keys, values and pairs that the API server will refuse if nothing changes them.
    """
    kind = draw(st.sampled_from(["none", "empty", "some", "some", "some", "some"]))
    if kind != "some":
        return None if kind == "none" else {}
    limits: dict[str, str] = {}
    requests: dict[str, str] = {}
    for resource in draw(st.lists(st.sampled_from(sorted(amounts)), unique=True, max_size=4)):
        limit, request = draw(both_sides(resource, amounts[resource], doomed=doomed))
        if limit is not None:
            limits[resource] = limit
            if fill_requests:
                requests[resource] = limit
        if request is not None:
            requests[resource] = request
    return draw(_either_or_both(limits, requests))


@st.composite
def _either_or_both(draw: DrawFn, limits: dict[str, str], requests: dict[str, str]) -> Json:
    """Both sides; an empty one is at times there and at times not."""
    present = {side: draw(st.booleans()) for side in ("limits", "requests")}
    given: Json = {}
    for side, amounts in (("limits", limits), ("requests", requests)):
        if amounts or present[side]:
            given[side] = amounts
    return given


def _merged(*tables: dict[str, list[str]]) -> dict[str, list[str]]:
    names = {name for table in tables for name in table}
    return {name: [amount for table in tables for amount in table.get(name, [])] for name in names}


@st.composite
def containers(draw: DrawFn, names: list[str], *, doomed: bool, least: int, init: bool = False) -> list[Json]:
    amounts = _merged(POD_AMOUNTS, ODD_AMOUNTS) if doomed else POD_AMOUNTS
    found = []
    for name in draw(st.lists(st.sampled_from(names), unique=True, min_size=least, max_size=3)):
        container: Json = {"name": name, "image": "busybox", "env": [{"name": "LIMIT", "value": "é"}]}
        given = draw(resources(amounts, doomed=doomed))
        if given is not None:
            container["resources"] = given
        if init and draw(st.booleans()):
            container["restartPolicy"] = "Always"
        found.append(container)
    return found


@st.composite
def amount_lists(draw: DrawFn) -> str:
    """The value of one of our annotations, such as cpu=2,memory=4Gi; good ones."""
    names = draw(st.lists(st.sampled_from(sorted(ANNOTATION_AMOUNTS)), unique=True, min_size=1, max_size=3))
    return draw(st.sampled_from([",", ", "])).join(
        f"{name}={draw(st.sampled_from(ANNOTATION_AMOUNTS[name]))}" for name in names
    )


BAD_LISTS = [
    "",
    "cpu",
    "cpu=",
    "cpu=0",
    "cpu=-1",
    "cpu=1,5",
    "cpu=1;memory=1",
    "gpu=0.5",
    "lamas=1",
    "cpu=1e31",
    "memory=١",
]


@st.composite
def annotations(draw: DrawFn, *, good: bool) -> Json | None:
    """Annotations of a pod: ours and foreign ones. `good`: none of ours that denies it."""
    if draw(st.integers(0, 2)) == 0:
        return draw(st.sampled_from([None, {}, {"team": "<b>&é"}]))
    text = amount_lists() if good else amount_lists() | st.sampled_from(BAD_LISTS) | st.text(max_size=8)
    everybody = [*CONTAINER_NAMES, *INIT_NAMES, "nobody"]
    keys = ["task-resources.io/requests", "task-resources.io/limits"]
    named = [f"{side}.task-resources.io/{name}" for side in ("requests", "limits") for name in everybody]
    given: Json = {key: draw(text) for key in draw(st.lists(st.sampled_from(keys + named), unique=True, max_size=3))}
    for key in draw(st.lists(st.sampled_from([FLYTE_PRIMARY, KUBECTL_DEFAULT]), unique=True)):
        given[key] = draw(st.sampled_from([*CONTAINER_NAMES, "nobody"]))
    if not good and draw(st.booleans()):
        given["task-resources.io/primary-container"] = draw(st.sampled_from(everybody))
    applied = st.sampled_from(["", "{}", "[1]", '{"policy":"x","changes":[{}]}', "\x00", '{"changes":[null]}'])
    if draw(st.integers(0, 4)) == 0:
        given["task-resources.io/applied"] = draw(applied)
    return given


LABELS: SearchStrategy[Json | None] = st.sampled_from([None, {}, {"tier": "small"}, {"tier": "large", "app": "x"}])


@st.composite
def pods(
    draw: DrawFn,
    *,
    doomed: bool = False,
    annotated: bool = True,
    good_annotations: bool = False,
    pod_level: bool = True,
    init: bool = True,
) -> Json:
    """A pod as a mutating webhook sees it: container requests filled in, the pod level as it was typed.

    `doomed`: also what the API server refuses if nothing changes it. `annotated`: with annotations of ours.
    """
    metadata: Json = {"name": draw(st.sampled_from(["pod", "task"])), "namespace": "flytesnacks-development"}
    given_annotations = draw(annotations(good=good_annotations)) if annotated else draw(st.sampled_from([None, {}]))
    if given_annotations is not None:
        metadata["annotations"] = given_annotations
    labels = draw(LABELS)
    if labels is not None:
        metadata["labels"] = labels
    spec: Json = {"containers": draw(containers(CONTAINER_NAMES, doomed=doomed, least=1)), "restartPolicy": "Never"}
    if init and draw(st.booleans()):
        spec["initContainers"] = draw(containers(INIT_NAMES, doomed=doomed, least=0, init=True))
    if pod_level and draw(st.integers(0, 2)) == 0:
        amounts = {name: POD_AMOUNTS[name] for name in POD_LEVEL}
        if doomed:
            amounts = _merged(amounts, {**ODD_AMOUNTS, "nvidia.com/gpu": ["1", "9"], "ephemeral-storage": ["9Gi"]})
        level = draw(resources(amounts, doomed=doomed, fill_requests=False))
        if level is not None:
            spec["resources"] = level
    if draw(st.integers(0, 3)) == 0:
        spec["overhead"] = draw(st.sampled_from([{"cpu": "250m", "memory": "16Mi"}, {"memory": "120Mi"}, {"cpu": "8"}]))
    if draw(st.integers(0, 9)) == 0:
        spec["os"] = {"name": draw(st.sampled_from(["linux", "windows"]))}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _not_zero(resource: str) -> SearchStrategy[str]:
    return st.sampled_from([amount for amount in POD_AMOUNTS[resource] if nanos(amount)])


@st.composite
def _guaranteed_container(draw: DrawFn, name: str, *, init: bool) -> Json:
    """Limits of cpu and memory, each with an equal request, and at times more."""
    limits = {"cpu": draw(_not_zero("cpu")), "memory": draw(_not_zero("memory"))}
    other = draw(st.sampled_from(["", "ephemeral-storage", "nvidia.com/gpu", "hugepages-2Mi"]))
    if other:
        limits[other] = draw(st.sampled_from(POD_AMOUNTS[other]))
    container: Json = {"name": name, "image": "busybox", "resources": {"limits": limits, "requests": dict(limits)}}
    if init and draw(st.booleans()):
        container["restartPolicy"] = "Always"
    return container


@st.composite
def guaranteed_pods(draw: DrawFn) -> Json:
    """A pod of the QoS class Guaranteed by its own values, which the API server accepts.

    Either each container's requests are its limits, or the pod level's are and the containers say what they like,
    or the pod level's requests are what the containers limit together: Kubernetes fills its limits in.
    """
    metadata = {"name": "task", "namespace": "flytesnacks-development"}
    kind = draw(st.sampled_from(["containers", "containers", "pod", "pod-requests"]))
    if kind == "pod-requests":
        share = {"cpu": draw(st.sampled_from(["1", "3"])), "memory": draw(st.sampled_from(["1Gi", "6Gi"]))}
        count = draw(st.integers(1, 3))
        level = {"cpu": str(int(share["cpu"]) * count), "memory": f"{int(share['memory'][:-2]) * count}Gi"}
        requests = draw(st.sampled_from([share, {"cpu": "1m", "memory": "1"}]))
        amounts = {"limits": share, "requests": requests}
        regular: list[Json] = [
            {"name": name, "image": "busybox", "resources": amounts} for name in CONTAINER_NAMES[:count]
        ]
        spec: Json = {"containers": regular, "resources": {"requests": level}}
    elif kind == "pod":
        level = {"cpu": draw(st.sampled_from(["2", "4", "64"])), "memory": draw(st.sampled_from(["4Gi", "100Gi"]))}
        small: dict[str, list[str]] = {
            "cpu": ["0", "100m", "500m"],
            "memory": ["0", "16Mi", "1Gi"],
            "ephemeral-storage": ["1Gi"],
        }
        names = draw(st.lists(st.sampled_from(CONTAINER_NAMES), unique=True, min_size=1, max_size=2))
        regular = [{"name": name, "image": "busybox", "resources": draw(resources(small))} for name in names]
        spec = {"containers": regular, "resources": {"limits": level, "requests": dict(level)}}
    else:
        names = draw(st.lists(st.sampled_from(CONTAINER_NAMES), unique=True, min_size=1, max_size=3))
        steps = draw(st.lists(st.sampled_from(INIT_NAMES), unique=True, max_size=2))
        spec = {
            "containers": [draw(_guaranteed_container(name, init=False)) for name in names],
            "initContainers": [draw(_guaranteed_container(name, init=True)) for name in steps],
        }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {**spec, "restartPolicy": "Never"}}


@st.composite
def policies(draw: DrawFn, *, pod_maximum: bool = True, on_exceed: str | None = None) -> Json:
    """The spec of a platform policy that can be loaded, as YAML would say it."""
    container: Json = {}
    for resource, amounts in POLICY_AMOUNTS.items():
        positions = sorted(draw(st.lists(st.integers(0, len(amounts) - 1), min_size=4, max_size=4)))
        for key, position in zip(("min", "defaultRequest", "default", "max"), positions, strict=True):
            if draw(st.booleans()):
                container.setdefault(key, {})[resource] = amounts[position]
    for resource, amounts in DEVICE_MAXIMA.items():
        if draw(st.booleans()):
            container.setdefault("max", {})[resource] = draw(st.sampled_from(amounts))
    spec: Json = {"container": container}
    choice = on_exceed or draw(st.sampled_from([None, "Cap", "Deny"]))
    if choice is not None:
        spec["onExceed"] = choice
    missing = draw(st.sampled_from([None, "Maximum", "Request", "Unset", {"cpu": "Unset"}, {"memory": "Request"}]))
    if missing is not None:
        spec["missingLimit"] = missing
    if pod_maximum and draw(st.booleans()):
        spec["pod"] = {"max": draw(pod_maxima())}
    return spec


@st.composite
def pod_maxima(draw: DrawFn) -> Json:
    table = {**{name: amounts[2:] for name, amounts in POLICY_AMOUNTS.items()}, **DEVICE_MAXIMA}
    names = draw(st.lists(st.sampled_from(sorted(table)), unique=True, min_size=1, max_size=3))
    return {name: draw(st.sampled_from(table[name])) for name in names}


@st.composite
def resized(draw: DrawFn, old: Json) -> Json:
    """The pod after a resize: other amounts of cpu and memory in its containers, at times keys that were not there."""
    new: Json = {**old, "spec": {**old["spec"]}}
    for field in ("containers", "initContainers"):
        if field in old["spec"]:
            new["spec"][field] = [
                {**c, "resources": draw(_resized_resources(c.get("resources") or {}))} for c in old["spec"][field]
            ]
    if "resources" in old["spec"]:
        new["spec"]["resources"] = draw(_resized_resources(old["spec"]["resources"]))
    return new


@st.composite
def _resized_resources(draw: DrawFn, old: Json) -> Json:
    limits, requests = dict(old.get("limits") or {}), dict(old.get("requests") or {})
    for resource in draw(st.lists(st.sampled_from(["cpu", "memory"]), unique=True)):
        for side in (limits, requests):
            if draw(st.booleans()):
                side[resource] = draw(st.sampled_from(POD_AMOUNTS[resource]))
        if resource in limits:
            requests.setdefault(resource, limits[resource])
            if is_above(requests[resource], limits[resource]):
                requests[resource] = limits[resource]
    return {**old, "limits": limits, "requests": requests}


GIBI_OR_CORES = {"cpu": "", "memory": "Gi"}


@st.composite
def _few_amounts(draw: DrawFn, least: Json, old: Json | None = None, *, limited: bool = False) -> Json:
    """Limits of cpu and memory, of 0 or at least `least`, and small requests; what `old` has is not left out.

    `limited`: few limits are left out.
    """
    given: Json = {"limits": {}, "requests": {}}
    for resource, unit in GIBI_OR_CORES.items():
        amounts = [amount for amount in (0, 1, 3, 6, 9, 40) if amount >= least[resource]]
        kept = (old is not None and resource in old.get("limits", {})) or (limited and draw(st.integers(0, 4)) != 0)
        limit = draw(st.sampled_from(amounts) if kept else st.none() | st.sampled_from(amounts))
        if limit is not None:
            given["limits"][resource] = f"{limit}{unit}" if limit else "0"
        if limit is not None or draw(st.booleans()) or (old is not None and resource in old.get("requests", {})):
            cores = "10m" if limited else "1m"
            given["requests"][resource] = cores if resource == "cpu" and limit != 0 else "0"
    return given


@st.composite
def _sized(draw: DrawFn, containers: list[tuple[str, Json]], kept: Json | None) -> Json:
    """A pod of these kinds of containers, each with what it had before, and most often with a pod level."""
    spec: Json = {"containers": [], "initContainers": [], "restartPolicy": "Never"}
    least = {"cpu": 0, "memory": 0}
    for index, (kind, old) in enumerate(containers):
        stays = draw(st.booleans())
        amounts = old if old and stays else draw(_few_amounts({"cpu": 0, "memory": 0}, old or None))
        container = {"name": f"{kind}-{index}", "image": "busybox", "resources": amounts}
        if kind == "sidecar":
            container["restartPolicy"] = "Always"
        spec["containers" if kind == "main" else "initContainers"].append(container)
        if kind == "main":
            for resource, unit in GIBI_OR_CORES.items():
                least[resource] = max(least[resource], int(amounts["limits"].get(resource, "0").removesuffix(unit)))
    if draw(st.integers(0, 4)):
        spec["resources"] = draw(_few_amounts(least, kept, limited=True))
    metadata = {"name": "task", "namespace": "flytesnacks-development"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


@st.composite
def resizes_of_the_pod_level(draw: DrawFn) -> tuple[Json, Json]:
    """A pod before and after a resize, in which containers often have no limit but the pod's."""
    kinds = ["main", *draw(st.lists(st.sampled_from(["main", "sidecar", "init"]), max_size=2))]
    old = draw(_sized([(kind, {}) for kind in kinds], None))
    was = {c["name"]: c["resources"] for field in ("containers", "initContainers") for c in old["spec"][field]}
    before = [(kind, was[f"{kind}-{index}"]) for index, kind in enumerate(kinds)]
    kept = old["spec"].get("resources") if draw(st.integers(0, 3)) else None
    return old, draw(_sized(before, kept))


def filled_in(pod: Json) -> Json:
    """The pod as the API server reads it after a patch: absent requests of containers are their limits.

    Source: kubernetes pkg/apis/core/v1/defaults.go SetDefaults_Pod.
    """
    spec = {**pod["spec"]}
    for field in ("containers", "initContainers"):
        if field in spec:
            spec[field] = [_filled_in(container) for container in spec[field]]
    return {**pod, "spec": spec}


def _filled_in(container: Json) -> Json:
    limits = (container.get("resources") or {}).get("limits")
    if not limits:
        return container
    requests = container["resources"].get("requests") or {}
    return {**container, "resources": {**container["resources"], "requests": {**limits, **requests}}}


def nanos(text: str) -> int | None:
    """The amount in billionths; None for what is not computed with."""
    try:
        return parse_json_quantity(f'"{text}"'.encode()).nanos
    except InvalidQuantity:
        return None


def _known_tolerations() -> list[Json]:
    taints = {
        "nvidia.com/gpu": ["present"],
        "nvidia.com/mig-1g.5gb": [],
        "accelerator": ["a100", "t4"],
        "partition": ["2g.10gb"],
        "capacity": ["spot"],
    }
    effects: list[Json] = [
        {"effect": "NoSchedule"},
        {},
        {"effect": "PreferNoSchedule"},
        {"effect": "NoExecute"},
        {"effect": "NoExecute", "tolerationSeconds": 0},
        {"effect": "NoExecute", "tolerationSeconds": 300},
    ]
    matches: list[Json] = [{"operator": "Exists"}]
    for key, values in taints.items():
        matches.append({"key": key, "operator": "Exists"})
        for value in values:
            matches += [{"key": key, "operator": "Equal", "value": value}, {"key": key, "value": value}]
    # The usual one first, which the others shrink to.
    return [{**match, **effect} for effect in (effects[0], *effects) for match in (*matches[1:], matches[0])]


TOLERATIONS = _known_tolerations()
# What no policy may say. The last ones no API server accepts, unless a feature gate is on.
PODS_OWN_TOLERATIONS: list[Json] = [
    {"operator": "Exists"},
    {"operator": "Exists", "effect": "NoSchedule"},
    {"key": "capacity", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": -1},
    {"key": "", "operator": "Exists", "value": "", "effect": ""},
    {"key": "capacity", "operator": "", "value": "spot", "effect": "NoSchedule"},
]
DOOMED_TOLERATIONS: list[Json] = [
    {"key": "gpu-count", "operator": "Gt", "value": "1", "effect": "NoSchedule"},
    {"key": "gpu-count", "operator": "Lt", "value": "8"},
    {"operator": "Equal", "value": "spot"},
    {"key": "nvidia.com/gpu", "operator": "Exists", "tolerationSeconds": 300},
]


def _known_requirements() -> list[Json]:
    known: list[Json] = []
    for key, values in NODE_LABELS.items():
        known += [{"key": key, "operator": "In", "values": [value]} for value in values]
        known += [{"key": key, "operator": operator, "values": values[:2]} for operator in ("In", "NotIn")]
        known += [{"key": key, "operator": "NotIn", "values": values[:1]}]
        known += [{"key": key, "operator": operator} for operator in ("Exists", "DoesNotExist")]
    return [*known, *({"key": "gpu-count", "operator": operator, "values": ["2"]} for operator in ("Gt", "Lt"))]


REQUIREMENTS = _known_requirements()
NODE_FIELDS: list[Json] = [
    {"key": "metadata.name", "operator": operator, "values": [name]}
    for operator in ("In", "NotIn")
    for name in NODE_NAMES
]
PREFERRED: list[Json] = [
    {"weight": 1, "preference": {"matchExpressions": REQUIREMENTS[:1]}},
    {"weight": 9, "preference": {"matchFields": [NODE_FIELDS[0]]}},
]
POD_AFFINITY: Json = {
    "requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": "kubernetes.io/hostname"}
    ]
}
ACCELERATOR, ACCELERATOR_PARTITION = "task-resources.io/accelerator", "task-resources.io/accelerator-partition"
SHARED_MEMORY_VOLUME = "task-resources-shm"
MOUNT_PATHS = [[], ["/data"], ["/dev/shm/", "/data"], ["/dev/shm"], ["/dev", "/dev//shm"]]


def _few(share: int) -> SearchStrategy[bool]:
    """True in one of so many cases."""
    return st.sampled_from([*[False] * (share - 1), True])


def _often(share: int) -> SearchStrategy[bool]:
    """False in one of so many cases."""
    return st.sampled_from([*[True] * (share - 1), False])


@st.composite
def _terms(draw: DrawFn, requirements: list[Json]) -> list[Json]:
    """Alternatives of required node affinity: with expressions, fields or both, and empty ones."""
    kinds = ["expressions", "expressions", "fields", "both", "empty", "empty-list"]
    found: list[Json] = []
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=3)):
        term: Json = {"matchExpressions": []} if kind == "empty-list" else {}
        if kind in ("expressions", "both"):
            term["matchExpressions"] = draw(st.lists(st.sampled_from(requirements), min_size=1, max_size=2))
        if kind in ("fields", "both"):
            term["matchFields"] = [draw(st.sampled_from(NODE_FIELDS))]
        found.append(term)
    return found


@st.composite
def _affinity(draw: DrawFn, labels: set[str], *, doomed: bool) -> Json:
    """Often about one of these labels."""
    about = [requirement for requirement in REQUIREMENTS if requirement["key"] in labels]
    affinity: Json = {}
    kinds = ["none", "some", "some", "some", *(["no-terms"] if doomed else [])]
    kind = draw(st.sampled_from(kinds))
    if kind != "none" or draw(st.booleans()):
        affinity["nodeAffinity"] = {}
    if kind != "none":
        terms = draw(_terms([*about * 3, *REQUIREMENTS])) if kind == "some" else draw(st.sampled_from([[], None]))
        affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": terms}
    if "nodeAffinity" in affinity and draw(st.booleans()):
        affinity["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"] = PREFERRED
    other = draw(st.sampled_from(["", "", "podAffinity", "podAntiAffinity"]))
    return affinity | ({other: POD_AFFINITY} if other else {})


@st.composite
def _labels_of_nodes(draw: DrawFn, keys: list[str], *, most: int) -> dict[str, str]:
    chosen = draw(st.lists(st.sampled_from(keys), min_size=1, max_size=most))
    return {key: draw(st.sampled_from(NODE_LABELS[key])) for key in chosen}


@st.composite
def _placement_annotations(draw: DrawFn, choices: list[str], *, good: bool) -> Json:
    """`choices`: annotations that the policy has something for. `good`: no value that is refused in any case."""
    values = {
        ACCELERATOR: ["A100", "a100", "t4", "T4", "h100", *([] if good else ["", "no label!"])],
        ACCELERATOR_PARTITION: ["none", "none", "2g.10gb", *([] if good else ["", "a/b"])],
        "task-resources.io/shared-memory": [
            "true",
            "8Gi",
            "1Gi",
            "8Gi",
            "false",
            "1.5",
            *([] if good else ["0", "-1", "no"]),
        ],
        "task-resources.io/interruptible": ["true", "false", *([] if good else ["yes", ""])],
        "task-resources.io/requests": PLACED_REQUESTS,
    }
    keys = [key for key in choices if draw(st.booleans())]
    extra = [*values] if not good and draw(_few(4)) else [*values][2:]
    keys += draw(st.lists(st.sampled_from(extra), unique=True, max_size=2))
    return {key: draw(st.sampled_from(values[key])) for key in keys}


@st.composite
def _placed_containers(
    draw: DrawFn, names: list[str], sets: list[list[str]], *, least: int, init: bool = False
) -> list[Json]:
    """Each asks for one of the sets of resources."""
    found = []
    for name in draw(st.lists(st.sampled_from(names), unique=True, min_size=least, max_size=2)):
        container: Json = {"name": name, "image": "busybox"}
        limits = {name: draw(st.sampled_from(PLACED_AMOUNTS[name])) for name in draw(st.sampled_from(sets))}
        if limits:
            both = {"limits": limits, "requests": dict(limits)}
            container["resources"] = both if draw(_often(5)) else {"requests": limits}
        if init and draw(st.booleans()):
            container["restartPolicy"] = "Always"
        mounts = draw(st.sampled_from([None, None, None, *MOUNT_PATHS]))
        if mounts is not None:
            container["volumeMounts"] = [{"name": "data", "mountPath": path} for path in mounts]
        found.append(container)
    return found


def _likely_sets(entries: list[Json], *, is_chosen: bool) -> list[list[str]]:
    """Sets of resources, most of them with one that an entry is about; `is_chosen`: an annotation needs just one."""
    counts = [
        sum(any(fnmatchcase(name, each["resource"]) for each in entries) for name in names) for names in PLACED_SETS
    ]
    fitting = [
        names for names, count in zip(PLACED_SETS, counts, strict=True) if count == 1 or (count and not is_chosen)
    ]
    return [*fitting, *(PLACED_SETS[:1] if is_chosen and fitting else PLACED_SETS)]


def _required_labels(scheduling: Json) -> set[str]:
    """Labels that the policy may require of nodes."""
    entries, interruptible = scheduling.get("resources", []), scheduling.get("interruptible", {})
    choices = [entry[field]["label"] for entry in entries for field in ("device", "partition") if field in entry]
    return {*choices, *(interruptible[name]["key"] for name in ("requirement", "otherwise") if name in interruptible)}


@st.composite
def placed_pods(draw: DrawFn, scheduling: Json, *, doomed: bool = False, good_annotations: bool = False) -> Json:
    """A pod that says something of its node, or asks for what policies schedule; likely for this `scheduling`.

    `doomed`: also what the API server refuses. `good_annotations`: none with a value that is refused in any case.
    """
    metadata: Json = {"name": draw(st.sampled_from(["pod", "task"])), "namespace": "flytesnacks-development"}
    entries = scheduling.get("resources", [])
    choices = {ACCELERATOR: "device", ACCELERATOR_PARTITION: "partition"}
    having = {annotation: [entry for entry in entries if field in entry] for annotation, field in choices.items()}
    given = draw(_placement_annotations([key for key in having if having[key]], good=good_annotations))
    if draw(st.booleans()) or given:
        metadata["annotations"] = given
    interruptible = draw(st.sampled_from([None, None, "true", "false", "True"]))
    if interruptible is not None:
        metadata["labels"] = {"interruptible": interruptible}
    chosen = next((having[key] for key in having if key in given and having[key]), None)
    sets = _likely_sets(entries if chosen is None else chosen, is_chosen=chosen is not None)
    spec: Json = {"containers": draw(_placed_containers(CONTAINER_NAMES, sets, least=1)), "restartPolicy": "Never"}
    if draw(_few(3)):
        spec["initContainers"] = draw(_placed_containers(INIT_NAMES, sets, least=0, init=True))
    mentioned = [*entries, *(scheduling[field] for field in ("interruptible", "defaults") if field in scheduling)]
    if draw(_often(3)):
        spec["tolerations"] = draw(_tolerations(mentioned, doomed=doomed))
    if draw(st.booleans()):
        keys = [key for placing in mentioned for key in placing.get("nodeSelector", ())]
        spec["nodeSelector"] = draw(_labels_of_nodes([*keys * 3, *NODE_LABELS], most=2))
    if draw(st.booleans()):
        spec["affinity"] = draw(_affinity(_required_labels(scheduling), doomed=doomed))
    spec |= draw(_volumes(spec))
    if draw(_few(15)):
        spec["os"] = {"name": "windows"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


@st.composite
def _tolerations(draw: DrawFn, placings: list[Json], *, doomed: bool) -> list[Json]:
    """Often those that a policy has, or ones that are like them but for how long they are for."""
    known = [toleration for placing in placings for toleration in placing.get("tolerations") or ()]
    timed: list[Json] = [{}, {"tolerationSeconds": 0}, {"tolerationSeconds": 60}, {"tolerationSeconds": 300}]
    alike = [
        {**toleration, "effect": "NoExecute", **seconds}
        for toleration in known
        for seconds in timed
        if "effect" not in toleration or toleration["effect"] == "NoExecute"
    ]
    own = [*TOLERATIONS, *PODS_OWN_TOLERATIONS * 3, *(DOOMED_TOLERATIONS * 3 if doomed else [])]
    choices = st.sampled_from([*known, *known, *alike]) | st.sampled_from(own) if known else st.sampled_from(own)
    found = draw(st.lists(choices, min_size=1, max_size=3))
    return draw(st.sampled_from([found, found, found, [*found, found[0]], []]))


@st.composite
def _volumes(draw: DrawFn, spec: Json) -> Json:
    """The volumes that containers mount, and at times one of the name that ours has."""
    is_mounted = any(each.get("volumeMounts") for each in (*spec["containers"], *spec.get("initContainers", ())))
    volumes: list[Json] = [{"name": "data", "emptyDir": {}}] if is_mounted else []
    if draw(_few(9)):
        volumes.append({"name": SHARED_MEMORY_VOLUME, "emptyDir": {"medium": "Memory"}})
    return {"volumes": volumes} if draw(_few(4)) or volumes else {}


@st.composite
def _placing(draw: DrawFn) -> Json:
    placing: Json = {}
    kind = draw(st.sampled_from(["the usual", "some", "some", "null", "none"]))
    if kind != "none":
        chosen = st.lists(st.sampled_from(TOLERATIONS), min_size=1, max_size=2)
        placing["tolerations"] = TOLERATIONS[:1] if kind == "the usual" else draw(chosen) if kind == "some" else None
    if draw(_few(3)):
        placing["nodeSelector"] = draw(_labels_of_nodes(["node-group", "node-group", *NODE_LABELS], most=1))
    return placing


@st.composite
def _device(draw: DrawFn) -> Json:
    device: Json = {"label": draw(st.sampled_from(["accelerator", "accelerator", "partition"]))}
    names = draw(st.sampled_from([None, {"A100": "a100"}, {"a100": "h100", "T4": "t4"}]))
    if names is not None:
        device["names"] = names
    allowed = draw(st.sampled_from([None, None, ["a100"], ["A100", "T4"], ["a100", "h100"]]))
    return device if allowed is None else {**device, "allowed": allowed}


@st.composite
def _partition(draw: DrawFn) -> Json:
    whole: Json = {}
    if draw(_few(3)):
        unkeyed: Json = {"operator": "NotIn", "values": ["1g.5gb"]}
        whole["requirement"] = draw(st.sampled_from([unkeyed, *REQUIREMENTS]))
    if draw(_few(3)):
        unkeyed_ones: list[Json] = [{"value": "whole", "effect": "NoSchedule"}, {"operator": "Exists"}]
        whole["toleration"] = draw(st.sampled_from([*unkeyed_ones, *TOLERATIONS]))
    label = draw(st.sampled_from(["partition", "partition", "accelerator"]))
    return {"label": label, "whole": whole} if whole else {"label": label}


@st.composite
def _scheduled_resource(draw: DrawFn, resource: str) -> Json:
    entry: Json = {"resource": resource, **draw(_placing())}
    if resource == "nvidia.com/gpu" and draw(st.booleans()):
        entry["alias"] = "card"
    reserved = draw(st.sampled_from([None, "Off", "Warn", "Deny", "Deny"]))
    if reserved is not None:
        entry["reserved"] = reserved
    if draw(st.booleans()):
        entry["device"] = draw(_device())
    if draw(st.booleans()):
        entry["partition"] = draw(_partition())
    return entry


@st.composite
def schedulings(draw: DrawFn) -> Json:
    """A policy's `scheduling`."""
    found: Json = {}
    names = draw(st.sampled_from(SCHEDULED_RESOURCES))
    if names:
        found["resources"] = [draw(_scheduled_resource(name)) for name in names]
    if draw(_few(3)):
        found["interruptible"] = draw(_placing())
        for field in ("requirement", "otherwise"):
            if draw(st.booleans()):
                found["interruptible"][field] = draw(st.sampled_from(REQUIREMENTS))
    if draw(_few(3)):
        found["defaults"] = draw(_placing())
    return found


@st.composite
def placements(draw: DrawFn, *, doomed: bool = False, good_annotations: bool = True) -> tuple[Json, Json]:
    """A pod and the spec of a policy that has something to say of its node. As `placed_pods`."""
    spec = draw(placing_policies())
    pod = draw(placed_pods(spec["scheduling"], doomed=doomed, good_annotations=good_annotations))
    return pod, spec


@st.composite
def placing_policies(draw: DrawFn) -> Json:
    """The spec of a platform policy with `scheduling`, and at times with maxima."""
    spec: Json = {"scheduling": draw(schedulings())}
    maxima = [None, None, None, None, {"nvidia.com/gpu": 1}, {"memory": "1Gi"}, {"nvidia.com/mig-*": 0}]
    maximum = draw(st.sampled_from(maxima))
    if maximum is not None:
        spec["container"] = {"max": maximum}
    choice = draw(st.sampled_from([None, None, "Deny"]))
    return spec if choice is None else {**spec, "onExceed": choice}
