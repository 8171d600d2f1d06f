"""The verdicts of the recorded pods are those of a real API server; the tables below them are its written rules."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.deciding import qos_of
from webhook.pod import Pod
from webhook.quantity import InvalidQuantity
from webhook.validity import ANNOTATIONS_BYTES, FieldError, StoredPod, errors, stored

Json = dict[str, Any]

RECORDED = json.loads((Path(__file__).parents[1] / "vectors" / "pod_validation.json").read_text())["cases"]
UNREADABLE = [case for case in RECORDED if case["http_status"] == 400]
READABLE = [case for case in RECORDED if case["http_status"] != 400]


def read(pod: Json) -> StoredPod:
    return stored(msgspec.json.decode(json.dumps(pod), type=Pod))


def paths(pod: Json, *, on_create: bool = True) -> list[str]:
    return sorted({error.path for error in errors(read(pod), on_create=on_create)})


@pytest.mark.parametrize("case", READABLE, ids=[case["id"] for case in READABLE])
def test_a_pod_is_refused_where_the_api_server_refuses_it(case: Json) -> None:
    assert paths(case["pod"]) == sorted({cause["field"] for cause in case.get("causes", ())})


@pytest.mark.parametrize("case", UNREADABLE, ids=[case["id"] for case in UNREADABLE])
def test_a_pod_that_the_api_server_cannot_read_is_no_pod(case: Json) -> None:
    with pytest.raises(InvalidQuantity):
        read(case["pod"])


@pytest.mark.parametrize(
    "case",
    [case for case in READABLE if case["valid"]],
    ids=[case["id"] for case in READABLE if case["valid"]],
)
def test_a_pod_gets_the_requests_and_the_qos_class_that_the_api_server_gives_it(case: Json) -> None:
    pod = read(case["pod"])
    assert qos_of(pod) == case["qosClass"]
    kept = case.get("stored_resources", {})
    for ours, theirs in [
        *zip(pod.regular, kept.get("containers", ()), strict=False),
        *zip(pod.init, kept.get("initContainers", ()), strict=False),
    ]:
        for amounts, side in ((ours.requests, "requests"), (ours.limits, "limits")):
            expected = read({"spec": {"containers": [{"resources": {"limits": theirs.get(side)}}]}})
            assert dict(amounts) == dict(expected.regular[0].limits)


def container(requests: Json | None = None, limits: Json | None = None, **more: Any) -> Json:
    resources = {"requests": requests or {}, "limits": limits or {}, **more}
    return {"name": "c", "resources": resources}


def pod(*containers: Json, init: list[Json] | None = None, **spec: Any) -> Json:
    return {"spec": {"containers": list(containers), "initContainers": init or [], **spec}}


C0 = "spec.containers[0].resources"


@pytest.mark.parametrize(
    ("resources", "refused"),
    [
        pytest.param(container({"cpu": "1"}, {"cpu": "1"}), [], id="request at its limit"),
        pytest.param(container({"cpu": "1001m"}, {"cpu": "1"}), [".requests"], id="request above its limit"),
        pytest.param(container({"cpu": "1"}), [], id="no limit needed for cpu"),
        pytest.param(container({"cpu": "-1"}), [".requests[cpu]"], id="negative request"),
        pytest.param(container({"cpu": "0"}, {"cpu": "-1"}), [".limits[cpu]", ".requests"], id="negative limit"),
        pytest.param(container({"x.io/d": "1"}), [".limits"], id="devices need a limit"),
        pytest.param(container({"x.io/d": "0"}), [".limits"], id="even none of them"),
        pytest.param(container({"x.io/d": "1"}, {"x.io/d": "2"}), [".requests"], id="devices request their limit"),
        pytest.param(container({"x.io/d": "3"}, {"x.io/d": "2"}), [".requests"], id="no more of them either"),
        pytest.param(container(None, {"x.io/d": "2"}), [], id="a device limit is its request"),
        pytest.param(container(None, {"x.io/d": "1.5"}), [".limits[x.io/d]", ".requests[x.io/d]"], id="half a device"),
        pytest.param(container({"a.kubernetes.io/b": "1.5"}), [], id="native names have no limit and fractions"),
        pytest.param(container({"a.kubernetes.io/b": "2"}, {"a.kubernetes.io/b": "1"}), [".requests"], id="but bounds"),
        pytest.param(container({"a.kubernetes.io/b": "1"}, {"a.kubernetes.io/b": "2"}), [], id="and overcommit"),
        pytest.param(container({"cpu": 1}, {"hugepages-2Mi": "2Mi"}), [], id="one page"),
        pytest.param(container(None, {"hugepages-2Mi": "2Mi"}), [""], id="hugepages need cpu or memory beside them"),
        pytest.param(container({"cpu": 0}, {"hugepages-2Mi": "2Mi"}), [], id="of which zero is enough"),
        pytest.param(container({"cpu": 1, "hugepages-2Mi": "2Mi"}), [".limits"], id="hugepages need a limit"),
        pytest.param(
            container({"cpu": 1, "hugepages-2Mi": "2Mi"}, {"hugepages-2Mi": "4Mi"}),
            [".requests"],
            id="hugepages request their limit",
        ),
        pytest.param(
            container({"cpu": 1}, {"hugepages-2Mi": "2097151500m"}),
            [],
            id="a part of a byte counts as a byte",
        ),
        pytest.param(
            container({"cpu": 1}, {"hugepages-x": "2Mi"}),
            [".limits[hugepages-x]", ".requests[hugepages-x]"],
            id="hugepages of no size",
        ),
        pytest.param(
            container({"cpu": 1}, {"hugepages-0": "0"}),
            [".limits[hugepages-0]", ".requests[hugepages-0]"],
            id="hugepages of size zero",
        ),
        pytest.param(container({"": "1"}), [".requests[]"], id="no name"),
        pytest.param(container({"requests.x.io/d": "1"}), [".requests[requests.x.io/d]"], id="a quota's name"),
        pytest.param(container({"cpu": "1e300"}), [], id="any magnitude"),
    ],
)
def test_a_containers_amounts_obey_the_rules_of_their_resource(resources: Json, refused: list[str]) -> None:
    assert paths(pod(resources)) == sorted(C0 + path for path in refused)
    sidecar = {**resources, "restartPolicy": "Always"}
    init = "spec.initContainers[1].resources"
    assert paths(pod(init=[container(), sidecar])) == sorted(init + path for path in refused)


@pytest.mark.parametrize(
    ("level", "containers", "init", "refused"),
    [
        pytest.param({"limits": {"cpu": 2}}, [container({"cpu": 1})] * 2, [], [], id="requests that fit"),
        pytest.param(
            {"limits": {"cpu": 2}},
            [container({"cpu": 1})] * 3,
            [],
            [".requests"],
            id="requests above the limit",
        ),
        pytest.param(
            {"limits": {"cpu": 2}},
            [container({"cpu": 1})],
            [{**container({"cpu": 1}), "restartPolicy": "Always"}, container({"cpu": 2})],
            [".requests"],
            id="an init step above the limit",
        ),
        pytest.param(
            {"requests": {"cpu": 1}},
            [container({"cpu": 2})],
            [],
            [".requests[cpu]"],
            id="requests above the request",
        ),
        pytest.param({"limits": {"cpu": 2}}, [container(None, {"cpu": 1})] * 2, [], [], id="limits as requests"),
        pytest.param(
            {"limits": {"cpu": 2}},
            [container(None, {"cpu": 1})] * 3,
            [],
            [".requests"],
            id="limits as requests, above",
        ),
        pytest.param(
            {"limits": {"cpu": 2}},
            [container({"cpu": 1}, {"cpu": 1}), container({"cpu": 1}, {"cpu": 3})],
            [],
            [".containers[1][cpu].limits"],
            id="a container's limit above the pod's",
        ),
        pytest.param(
            {"limits": {"cpu": 2}},
            [container()],
            [container({"cpu": 1}, {"cpu": 3})],
            [],
            id="not an init container's",
        ),
        pytest.param({"limits": {"cpu": 0}}, [container()], [], [], id="a limit of zero"),
        pytest.param({"limits": {"cpu": 0}}, [container({"cpu": 1})], [], [".requests"], id="zero is a limit here"),
        pytest.param({"requests": {"cpu": 3}, "limits": {"cpu": 2}}, [container()], [], [".requests"], id="inverted"),
        pytest.param({"requests": {"x.io/d": 1}}, [container()], [], [".limits", ".requests[x.io/d]"], id="devices"),
        pytest.param(
            {"limits": {"hugepages-2Mi": "2Mi", "cpu": 1}},
            [container({"cpu": "100m"}, {"hugepages-2Mi": "2Mi"})] * 2,
            [],
            [".limits[hugepages-2Mi]", ".requests[hugepages-2Mi]"],
            id="hugepages together above the pod's",
        ),
        pytest.param(
            {"limits": {"hugepages-2Mi": "2Mi"}},
            [container()],
            [],
            [""],
            id="hugepages without cpu or memory",
        ),
        pytest.param(
            {"limits": {"hugepages-2Mi": "2Mi"}},
            [container({"cpu": 1})],
            [],
            [],
            id="which containers may bring",
        ),
        pytest.param(
            {"requests": {"memory": "1Gi"}},
            [container({"cpu": 1}, {"hugepages-2Mi": "4Mi"})],
            [],
            [],
            id="hugepages that only a container names",
        ),
        pytest.param({"claims": []}, [container()], [], [".claims"], id="claims, though none"),
        pytest.param({}, [container({"cpu": 9})], [], [], id="empty"),
    ],
)
def test_the_pod_level_holds_what_its_containers_need(
    level: Json, containers: list[Json], init: list[Json], refused: list[str]
) -> None:
    assert paths(pod(*containers, init=init, resources=level)) == sorted("spec.resources" + path for path in refused)


def test_a_windows_pod_has_no_pod_level_not_even_an_empty_one() -> None:
    assert paths(pod(container(), os={"name": "windows"}, resources={})) == ["spec.resources"]
    assert paths(pod(container(), os={"name": "windows"})) == []


@pytest.mark.parametrize(
    ("claims", "refused"),
    [
        pytest.param([{"name": "a"}, {"name": "b"}], [], id="each once"),
        pytest.param([{"name": "a", "request": "x"}, {"name": "a", "request": "y"}], [], id="two of its requests"),
        pytest.param([{"name": "a", "request": "x"}, {"name": "a", "request": "x"}], ["[1]"], id="one request twice"),
        pytest.param([{"name": "a", "request": "x"}, {"name": "a"}], ["[1]"], id="a request, then the whole"),
        pytest.param([{"name": "a"}, {"name": "a", "request": "x"}], ["[1]"], id="the whole, then a request"),
        pytest.param([{"name": "z"}], ["[0]"], id="unknown"),
        pytest.param([{"name": ""}], ["[0]"], id="nameless"),
    ],
)
def test_a_claim_is_one_of_the_pods_and_named_once(claims: list[Json], refused: list[str]) -> None:
    given = pod(container(claims=claims), resourceClaims=[{"name": "a"}, {"name": "b"}])
    assert paths(given) == [f"{C0}.claims{path}" for path in refused]


@pytest.mark.parametrize(
    ("toleration", "refused"),
    [
        pytest.param({"operator": "Exists"}, [], id="everything"),
        pytest.param({"key": "a", "operator": "Exists", "effect": "NoSchedule"}, [], id="exists"),
        pytest.param({"key": "x.io/a", "value": ""}, [], id="equal to nothing"),
        pytest.param({"key": "a", "effect": "PreferNoSchedule"}, [], id="another effect"),
        pytest.param({"key": "a", "effect": "NoExecute", "tolerationSeconds": -1}, [], id="negative seconds"),
        pytest.param({}, [".operator"], id="nothing"),
        pytest.param({"key": "a", "operator": "exists"}, [".operator"], id="lower case"),
        pytest.param({"key": "a", "operator": "Lt", "value": "1"}, [".operator"], id="a gated operator"),
        pytest.param({"key": "a", "value": "-"}, [".operator"], id="no label value"),
        pytest.param({"key": "a", "value": "a\n"}, [".operator"], id="a newline after the value"),
        pytest.param({"key": "a", "value": "a" * 64}, [".operator"], id="a long value"),
        pytest.param({"key": "a" * 64}, [".key"], id="a long key"),
        pytest.param({"key": "a", "effect": "noSchedule"}, [".effect"], id="effect in lower case"),
        pytest.param({"key": "a", "effect": "NoSchedule", "tolerationSeconds": 0}, [".effect"], id="seconds"),
    ],
)
def test_a_toleration_says_what_a_taint_can_be(toleration: Json, refused: list[str]) -> None:
    assert paths(pod(tolerations=[{"operator": "Exists"}, toleration])) == [
        f"spec.tolerations[1]{path}" for path in refused
    ]


@pytest.mark.parametrize(
    ("annotations", "refused"),
    [
        pytest.param({"key": "v" * (ANNOTATIONS_BYTES - 3)}, [], id="at the bound"),
        pytest.param({"key": "v" * (ANNOTATIONS_BYTES - 2)}, ["metadata.annotations"], id="above it"),
        pytest.param({"a": "v" * 2**17, "b": "v" * 2**17}, ["metadata.annotations"], id="together"),
        pytest.param({"key": "é" * (ANNOTATIONS_BYTES // 2)}, ["metadata.annotations"], id="bytes, not characters"),
    ],
)
def test_annotations_have_256_kibibytes_together(annotations: dict[str, str], refused: list[str]) -> None:
    assert paths({"metadata": {"annotations": annotations}}) == refused


def test_ephemeral_containers_come_later_than_the_pod() -> None:
    with_one = pod(container(), ephemeralContainers=[{"name": "debug"}])
    assert paths(with_one) == ["spec.ephemeralContainers"]
    assert paths(with_one, on_create=False) == []


def test_a_quantity_too_large_to_compute_with_is_not_judged() -> None:
    assert paths(pod(container({"cpu": "1e500", "memory": "1Gi"}, {"cpu": "1"}))) == []


def test_an_error_names_its_field_and_what_is_accepted() -> None:
    [error] = errors(read(pod(container({"memory": "1Gi"}, {"memory": "1G"}))))
    assert str(error) == f"{C0}.requests: 1Gi must be less than or equal to memory limit of 1G"
    assert error.resource == "memory"
    assert len({error, FieldError(error.path, error.message, "memory")}) == 1
