"""`/dev/shm` of the primary container (G6): who gets a volume for it, how large, and where it goes."""

from typing import Any

import msgspec
import pytest

from tests.unit.deciding import Json, container, decided, denial, pod, reviewed, sidecar
from webhook.annotations import SHARED_MEMORY
from webhook.patch import Operation

MOUNT = {"name": "task-resources-shm", "mountPath": "/dev/shm"}
LIMITS = "task-resources.io/limits"


def volume(size: str | None = None) -> Json:
    limit = {} if size is None else {"sizeLimit": size}
    return {"name": "task-resources-shm", "emptyDir": {"medium": "Memory", **limit}}


def asking(text: str, *containers: Json, annotations: Json | None = None, **fields: Any) -> Json:
    """A pod whose primary container shall have shared memory."""
    return pod(*containers, annotations={SHARED_MEMORY: text, **(annotations or {})}, **fields)


def with_memory(limit: str) -> Json:
    return container(limits={"memory": limit})


ASKED: list[tuple[str, str, list[Json] | None]] = [
    ("true-is-as-much-as-the-container-has", "true", [volume()]),
    ("false", "false", None),
    ("a-size", "1Gi", [volume("1Gi")]),
    ("a-size-in-any-notation", "1e9", [volume("1e9")]),
    ("rounded-up-to-whole-bytes", "1.5", [volume("2")]),
    ("a-fraction-of-a-unit", "0.5Gi", [volume("512Mi")]),
]


@pytest.mark.parametrize(("text", "volumes"), [case[1:] for case in ASKED], ids=[case[0] for case in ASKED])
def test_the_annotation_says_whether_and_how_much(text: str, volumes: list[Json] | None) -> None:
    spec = reviewed(asking(text), "{}")["spec"]
    assert spec.get("volumes") == volumes
    assert spec["containers"][0].get("volumeMounts") == (None if volumes is None else [MOUNT])


NO_SIZES = ["", "True", "yes", "-1Gi", "+1Gi", "0", "0Gi", "1 Gi", "1Gi ", "1,5Gi", "Gi", "1e31", "1" * 33]


@pytest.mark.parametrize("text", NO_SIZES, ids=repr)
def test_what_is_no_size_is_denied_with_what_is_accepted(text: str) -> None:
    assert f'annotation {SHARED_MEMORY}: "{text}" is not accepted: use true, false or a quantity such as 1Gi' in denial(
        asking(text), "{}"
    )


def test_a_long_text_is_cut_in_the_message() -> None:
    assert f'"{"x" * 79}…" is not accepted' in denial(asking("x" * 5000), "{}")


# Beside what the pod has already

OWN = {"name": "own", "mountPath": "/data"}

PLACES: list[tuple[str, Json, list[tuple[str, Any]]]] = [
    # the pod, the operations on its spec
    ("neither-volumes-nor-mounts", asking("true"),
     [("/spec/volumes", [volume()]), ("/spec/containers/0/volumeMounts", [MOUNT])]),
    ("null", asking("true", container(volumeMounts=None), volumes=None),
     [("/spec/volumes", [volume()]), ("/spec/containers/0/volumeMounts", [MOUNT])]),
    ("empty-lists", asking("true", container(volumeMounts=[]), volumes=[]),
     [("/spec/volumes/-", volume()), ("/spec/containers/0/volumeMounts/-", MOUNT)]),
    ("others", asking("true", container(volumeMounts=[OWN]), volumes=[{"name": "own"}]),
     [("/spec/volumes/-", volume()), ("/spec/containers/0/volumeMounts/-", MOUNT)]),
    ("volumes-for-another-container", asking("true", container("main"), container("b", volumeMounts=[OWN]),
                                             volumes=[{"name": "own"}]),
     [("/spec/volumes/-", volume()), ("/spec/containers/0/volumeMounts", [MOUNT])]),
    ("the-primary-is-not-the-first", asking("true", container("a"), container("primary")),
     [("/spec/volumes", [volume()]), ("/spec/containers/1/volumeMounts", [MOUNT])]),
    ("a-sidecar-gets-nothing", asking("true", container("main"), init=[sidecar("proxy")]),
     [("/spec/volumes", [volume()]), ("/spec/containers/0/volumeMounts", [MOUNT])]),
]  # fmt: skip


@pytest.mark.parametrize(("task", "expected"), [case[1:] for case in PLACES], ids=[case[0] for case in PLACES])
def test_the_volume_and_its_mount_in_the_primary_container_are_added(
    task: Json, expected: list[tuple[str, Any]]
) -> None:
    operations = [each for each in decided(task, "{}").operations if each.path.startswith("/spec")]
    assert msgspec.to_builtins(operations) == msgspec.to_builtins([Operation("add", *each) for each in expected])
    reviewed(task, "{}")


def mounting(path: str, name: str = "own", **fields: Any) -> Json:
    """A primary container that mounts a volume there."""
    return container("main", volumeMounts=[{"name": name, "mountPath": path}], **fields)


MOUNTED: list[tuple[str, Json, bool]] = [
    # the pod, whether it has shared memory of its own
    ("it-is-mounted", asking("1Gi", mounting("/dev/shm")), True),
    ("with-a-slash-at-the-end", asking("1Gi", mounting("/dev/shm/")), True),
    ("in-another-spelling", asking("1Gi", mounting("//dev//shm")), True),
    ("a-device-is-there", asking("1Gi", container(volumeDevices=[{"name": "d", "devicePath": "/dev/shm"}])), True),
    ("by-a-volume-of-our-name", asking("1Gi", mounting("/dev/shm", MOUNT["name"]), volumes=[volume()]), True),
    ("by-another-container", asking("1Gi", container("main"), mounting("/dev/shm") | {"name": "b"}), False),
    ("by-a-primary-that-is-not-the-first", asking("1Gi", container("a"), mounting("/dev/shm") | {"name": "primary"}),
     True),
    ("by-the-first-that-is-not-the-primary", asking("1Gi", mounting("/dev/shm"), container("primary")), False),
    ("something-above-it", asking("1Gi", mounting("/dev")), False),
    ("something-in-it", asking("1Gi", mounting("/dev/shm/cache")), False),
    ("something-of-a-longer-name", asking("1Gi", mounting("/dev/shm2")), False),
]  # fmt: skip


@pytest.mark.parametrize(("task", "has_it"), [case[1:] for case in MOUNTED], ids=[case[0] for case in MOUNTED])
def test_a_container_that_mounts_it_already_is_left_alone(task: Json, has_it: bool) -> None:
    assert decided(task, "{}").outcome == ("unchanged" if has_it else "changed")


TAKEN = [
    ("nowhere", [container("main")]),
    ("elsewhere", [mounting("/cache", MOUNT["name"])]),
    ("in-another-container", [container("main"), mounting("/dev/shm", MOUNT["name"]) | {"name": "b"}]),
]


@pytest.mark.parametrize("containers", [case[1] for case in TAKEN], ids=[case[0] for case in TAKEN])
def test_a_volume_of_our_name_that_is_mounted_elsewhere_is_denied(containers: list[Json]) -> None:
    task = asking("true", *containers, annotations={"task-resources.io/primary-container": "main"}, volumes=[volume()])
    assert (
        f'container "main": annotation {SHARED_MEMORY}: the pod has a volume "task-resources-shm" that is not mounted '
        "at /dev/shm; rename it, or leave the annotation out"
    ) in denial(task, "{}")


def test_a_volume_of_our_name_is_nobodys_business_without_the_annotation() -> None:
    assert decided(pod(volumes=[volume()]), "{}").outcome == "unchanged"
    assert decided(asking("false", volumes=[volume()]), "{}").outcome == "unchanged"


# Bounded by the container's memory

SIZES: list[tuple[str, Json, str, str | None]] = [
    ("below-the-limit", asking("1Gi", with_memory("2Gi")), "{}", "1Gi"),
    ("as-the-limit", asking("2Gi", with_memory("2Gi")), "{}", "2Gi"),
    ("as-the-limit-in-another-notation", asking("2Gi", with_memory("2147483648")), "onExceed: Deny", "2Gi"),
    ("above-the-limit", asking("4Gi", with_memory("2Gi")), "{}", "2Gi"),
    ("above-a-fraction", asking("1Gi", with_memory("2500m")), "{}", "2"),
    ("without-a-limit", asking("64Gi"), "{}", "64Gi"),
    ("a-zero-limit-is-none", asking("64Gi", with_memory("0")), "{}", "64Gi"),
    ("another-containers-limit", asking("4Gi", container("main"), container("b", limits={"memory": "1Gi"})), "{}",
     "4Gi"),
    ("as-the-container-is-bounded", asking("8Gi", with_memory("16Gi")), "container: {max: {memory: 4Gi}}", "4Gi"),
    ("as-the-container-is-defaulted", asking("8Gi"), "container: {default: {memory: 2Gi}}", "2Gi"),
    ("as-the-container-is-annotated",
     asking("8Gi", with_memory("2Gi"), annotations={LIMITS: "memory=4Gi"}), "{}", "4Gi"),
    ("true-has-no-size-to-bound", asking("true", with_memory("1Gi")), "onExceed: Deny", None),
]  # fmt: skip


@pytest.mark.parametrize(("task", "spec", "size"), [case[1:] for case in SIZES], ids=[case[0] for case in SIZES])
def test_the_size_is_at_most_the_containers_memory_limit(task: Json, spec: str, size: str | None) -> None:
    assert reviewed(task, spec)["spec"]["volumes"] == [volume(size)]


def test_under_deny_a_size_above_the_memory_limit_is_refused() -> None:
    decision = decided(asking("4Gi", with_memory("2Gi")), "{onExceed: Deny, contact: '#ml'}")
    assert decision.denial is not None
    assert decision.denial.reason == "shared-memory"
    assert decision.denial.message == (
        'container "main": shared memory 4Gi is above the container\'s memory limit 2Gi '
        "(project flytesnacks, domain development; policy policy-0; to ask for more: #ml)"
    )


# G8


def test_windows_pods_get_none_and_are_told() -> None:
    decision = decided(asking("1Gi", os={"name": "windows"}), "{}")
    assert (decision.outcome, decision.warnings) == (
        "unchanged",
        (f"annotation {SHARED_MEMORY}: Windows pods get no shared memory, it is ignored",),
    )


@pytest.mark.parametrize("text", ["false", "x"])
def test_windows_pods_that_ask_for_none_are_told_nothing_of_it(text: str) -> None:
    decision = decided(asking(text, os={"name": "windows"}), "{}")
    assert decision.warnings == ()
    assert (decision.denial is not None) == (text == "x")


# Section 8


@pytest.mark.parametrize(
    ("text", "after", "asked", "warning"),
    [
        ("true", "emptyDir Memory", None, "main: /dev/shm emptyDir Memory added (shared-memory)"),
        ("1Gi", "emptyDir Memory 1Gi", None, "main: /dev/shm emptyDir Memory 1Gi added (shared-memory)"),
        ("4Gi", "emptyDir Memory 2Gi", "4Gi", "main: /dev/shm emptyDir Memory 2Gi added (asked 4Gi, shared-memory)"),
    ],
    ids=["as much as there is", "a size", "a size above the limit"],
)
def test_the_volume_is_one_record_and_one_warning(text: str, after: str, asked: str | None, warning: str) -> None:
    decision = decided(asking(text, with_memory("2Gi")), "{}")
    assert [msgspec.to_builtins(change) for change in decision.changes] == [
        {"container": "main", "resource": "shared-memory", "side": "volumes", "from": None, "to": after}
        | {"rule": "shared-memory"}
        | ({} if asked is None else {"asked": asked})
    ]
    assert decision.warnings == (warning,)
