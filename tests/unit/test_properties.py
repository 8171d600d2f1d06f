"""What holds for every pod under every policy."""

import copy
import json
import re
from typing import Any

import jsonpatch
import msgspec
import pytest
from hypothesis import HealthCheck, assume, event, given, note, settings
from hypothesis import strategies as st

from tests.unit.deciding import NAMESPACE, decided, policy_set, qos_of
from tests.unit.strategies import (
    filled_in,
    guaranteed_pods,
    nanos,
    placements,
    pods,
    policies,
    resized,
    resizes_of_the_pod_level,
)
from webhook.admission import patch_json
from webhook.decision import Decision
from webhook.effective import EffectivePolicy
from webhook.pod import Pod
from webhook.projects import Scope
from webhook.resource_names import COMPUTE
from webhook.usage import RequestsAndLimits, pod_usage, stored_pod_level
from webhook.validity import StoredPod, StoredResources, errors, stored

Json = dict[str, Any]

# Random pods and policies are large, and few of them are turned away.
pytestmark = pytest.mark.filterwarnings("error")
thorough = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

APPLIED, PRIMARY = "task-resources.io/applied", "task-resources.io/primary-container"

OWNED = re.compile(
    r"/metadata/annotations(/task-resources\.io~1(applied|primary-container))?"
    r"|/spec/(containers|initContainers)/\d+/resources(/(limits|requests)(/[^/]+)?)?"
    r"|/spec/resources/(limits|requests)(/[^/]+)?"
)


def after(pod: Json, decision: Decision) -> Json:
    """The pod with the patch applied strictly, as the API server then reads it."""
    patch = patch_json(decision.operations)
    note(f"patch: {patch}")
    result: Json = jsonpatch.JsonPatch(patch).apply(copy.deepcopy(pod))
    return filled_in(result)


def view(pod: Json) -> StoredPod:
    return stored(msgspec.json.decode(json.dumps(pod), type=Pod))


def effective(spec: Json, pod: Json) -> EffectivePolicy:
    project, _, domain = NAMESPACE.rpartition("-")
    scope = Scope(NAMESPACE, project, domain)
    return policy_set(spec).effective(scope).for_pod(pod["metadata"].get("labels") or {})


def all_containers(pod: Json) -> list[Json]:
    return [*pod["spec"]["containers"], *pod["spec"].get("initContainers", ())]


@thorough
@given(pods(doomed=True), policies())
def test_a_patch_applies_and_touches_only_what_is_ours(pod: Json, spec: Json) -> None:
    decision = decided(pod, spec)
    event(decision.outcome)
    assert all(OWNED.fullmatch(operation.path) for operation in decision.operations)
    result = after(pod, decision)
    assert stripped(result) == stripped(pod)
    named = (pod["metadata"].get("annotations") or {}).get(PRIMARY)
    assert named is None or result["metadata"]["annotations"][PRIMARY] == named
    for before, now in zip(all_containers(pod), all_containers(result), strict=True):
        given_before, given_now = before.get("resources") or {}, now.get("resources") or {}
        for side in ("limits", "requests"):
            for name, text in (given_before.get(side) or {}).items():
                kept = (given_now.get(side) or {}).get(name)
                assert kept == text or kept is None or nanos(kept) != nanos(text), "a value that obeys keeps its text"


def stripped(pod: Json) -> str:
    """The pod without what a patch may touch, byte for byte."""
    rest = copy.deepcopy(pod)
    for container in all_containers(rest):
        container.pop("resources", None)
    rest["spec"].pop("resources", None)
    kept = rest["metadata"].pop("annotations", None) or {}
    rest["metadata"]["annotations"] = {key: text for key, text in kept.items() if key not in (APPLIED, PRIMARY)}
    return json.dumps(rest)


@thorough
@given(pods(doomed=True), policies())
def test_reviewing_what_a_patch_made_changes_nothing(pod: Json, spec: Json) -> None:
    decision = decided(pod, spec)
    assume(decision.operations)
    result = after(pod, decision)
    again = decided(result, spec)
    assert again.denial is None
    assert again.operations == ()


@thorough
@given(pods(doomed=True), policies())
def test_our_own_result_is_never_invalid(pod: Json, spec: Json) -> None:
    decision = decided(pod, spec)
    event(decision.outcome)
    assert decision.invalid == ()


@thorough
@given(pods(), policies())
def test_a_valid_pod_stays_valid(pod: Json, spec: Json) -> None:
    assume(not errors(view(pod)))
    decision = decided(pod, spec)
    event(decision.outcome)
    assert errors(view(after(pod, decision))) == []


@thorough
@given(pods(), policies())
def test_no_maximum_is_exceeded_by_a_pod_that_is_admitted(pod: Json, spec: Json) -> None:
    decision = decided(pod, spec)
    assume(decision.denial is None)
    result = view(after(pod, decision))
    assume(not errors(result))
    policy = effective(spec, pod)
    level = result.pod_level
    pod_limits = {} if level is None or result.is_windows else level.limits
    for container in (*result.regular, *result.init):
        for name in {*container.limits, *container.requests}:
            bound = policy.maximum.get(name)
            if bound is not None:
                assert container.limits.get(name, bound.value) <= bound.value
                assert container.requests.get(name, bound.value) <= bound.value
        for name in COMPUTE:
            bound = policy.maximum.get(name)
            choice = policy.missing_limit.get(name)
            if bound is None or name in pod_limits or (choice is not None and choice.value == "Unset"):
                continue
            assert container.limits[name], "an absent limit is an escape"
    assert_totals_within(result, policy, pod)


def assert_totals_within(result: StoredPod, policy: EffectivePolicy, pod: Json) -> None:
    level = result.pod_level
    overhead = pod["spec"].get("overhead", {})
    names = {name for c in (*result.regular, *result.init) for name in (*c.limits, *c.requests)}
    for name in names:
        bound = policy.pod_maximum.get(name)
        if bound is None:
            continue
        for side in ("limits", "requests"):
            total = total_of(result, name, side)
            if level is not None and not result.is_windows and name in {**level.limits, **level.requests}:
                stated = getattr(level, side).get(name)
                total = total if stated is None else stated.nanos
            extra = nanos(overhead.get(name, "0"))
            assert extra is not None
            assert total == 0 or total + extra <= bound.value.nanos or (side == "requests" and total == 0)


def total_of(pod: StoredPod, name: str, side: str) -> int:
    def amount(container: StoredResources) -> int:
        value = getattr(container, side).get(name)
        return 0 if value is None else int(value.nanos)

    return pod_usage([amount(c) for c in pod.regular], [(amount(c), c.is_sidecar) for c in pod.init])


@thorough
@given(st.tuples(pods(good_annotations=True), policies()) | placements())
def test_what_we_made_passes_the_second_look(reviewed: tuple[Json, Json]) -> None:
    pod, spec = reviewed
    decision = decided(pod, spec)
    assume(decision.denial is None)
    result = after(pod, decision)
    assume(not errors(view(result)))
    second = decided(result, spec, endpoint="validate")
    assert second.denial is None
    assert second.operations == ()


@thorough
@given(guaranteed_pods(), policies())
def test_the_platform_takes_guaranteed_from_no_pod(pod: Json, spec: Json) -> None:
    before = view(pod)
    assume(not errors(before))
    assert qos_of(before) == "Guaranteed"
    decision = decided(pod, spec)
    event(decision.outcome)
    assert qos_of(view(after(pod, decision))) == "Guaranteed"


@thorough
@given(pods(doomed=True), policies())
def test_no_zero_limit_is_written_and_no_key_taken_without_need(pod: Json, spec: Json) -> None:
    decision = decided(pod, spec)
    result = after(pod, decision)
    for before, now in zip(all_containers(pod), all_containers(result), strict=True):
        given_before, given_now = before.get("resources") or {}, now.get("resources") or {}
        limits_before, limits_now = given_before.get("limits") or {}, given_now.get("limits") or {}
        requests_now = given_now.get("requests") or {}
        for name, text in limits_now.items():
            is_ours = text != limits_before.get(name)
            assert not is_ours or nanos(text) or name not in COMPUTE
        for name in limits_before.keys() - limits_now.keys():
            is_alias = name in ("gpu", "mem")
            assert is_alias or (nanos(limits_before[name]) == 0 and nanos(requests_now[name])), name
        gone = (given_before.get("requests") or {}).keys() - requests_now.keys()
        assert gone <= {"gpu", "mem"}


# A pod and a policy, about resources or about scheduling.
ANY = st.tuples(pods(doomed=True), policies()) | placements(doomed=True, good_annotations=False)


@thorough
@given(ANY)
def test_a_dry_run_is_decided_like_the_real_thing(reviewed: tuple[Json, Json]) -> None:
    pod, spec = reviewed
    real, dry = decided(pod, spec), decided(pod, spec, dryRun=True)
    assert (real.outcome, real.operations, real.warnings) == (dry.outcome, dry.operations, dry.warnings)


@thorough
@given(ANY, st.sampled_from(["Warn", "Audit", "Off"]))
def test_a_mode_that_does_not_enforce_never_patches(reviewed: tuple[Json, Json], mode: str) -> None:
    pod, spec = reviewed
    enforced = decided(pod, spec)
    softly = decided(pod, {**spec, "mode": mode})
    assert softly.operations == ()
    if mode != "Off":
        assert softly.outcome == enforced.outcome
        assert softly.changes == enforced.changes
    if mode != "Warn":
        assert softly.warnings == ()


@thorough
@given(pods(init=False, pod_level=False), policies(pod_maximum=False), pods(annotated=False, doomed=True))
def test_a_sidecar_injected_in_between_changes_nothing_for_the_others(pod: Json, spec: Json, other: Json) -> None:
    first = decided(pod, spec)
    assume(first.operations)
    result = after(pod, first)
    injected = {**other["spec"]["containers"][0], "name": "injected"}
    mixed = {**result, "spec": {**result["spec"], "containers": [*result["spec"]["containers"], injected]}}
    second = decided(mixed, spec)
    assume(second.denial is None)
    assert after(mixed, second)["spec"]["containers"][:-1] == result["spec"]["containers"]


@thorough
@given(st.data(), policies())
def test_a_resize_is_bounded_and_never_shrinks_what_it_does_not_name(data: st.DataObject, spec: Json) -> None:
    old = data.draw(pods(annotated=False))
    assume(not errors(view(old)))
    new = data.draw(resized(old))
    assume(not errors(view(new), on_create=False) and qos_of(view(new)) == qos_of(view(old)))
    decision = decided(new, spec, old=old)
    event(decision.outcome)
    assert decision.invalid == ()
    result = after(new, decision)
    assert errors(view(result), on_create=False) == []
    assert qos_of(view(result)) == qos_of(view(old))
    policy = effective(spec, new)
    for was, asked, now in zip(all_containers(old), all_containers(new), all_containers(result), strict=True):
        for side in ("limits", "requests"):
            before, wanted, got = ((c.get("resources") or {}).get(side) or {} for c in (was, asked, now))
            assert got.keys() == wanted.keys(), "no key is added or removed"
            for name, text in got.items():
                if name not in ("cpu", "memory") or wanted[name] == before.get(name):
                    assert text == wanted[name]
                if name in ("cpu", "memory"):
                    assert_bounded_or_grown(text, wanted[name], before.get(name), policy, name)


MAXIMA = st.fixed_dictionaries({"cpu": st.sampled_from(["1", "4", "8"]), "memory": st.sampled_from(["2Gi", "5Gi"])})


@thorough
@given(
    resizes_of_the_pod_level(),
    st.fixed_dictionaries(
        {"container": st.fixed_dictionaries({"max": MAXIMA})},
        optional={"pod": st.fixed_dictionaries({"max": MAXIMA}), "onExceed": st.just("Deny")},
    ),
)
def test_no_container_may_use_more_after_a_resize_than_its_maximum_or_what_it_might_before(
    resize: tuple[Json, Json], spec: Json
) -> None:
    """Whatever both looks allow, taken as the API server stores it."""
    old, new = resize
    assume(not errors(view(old)))
    decision = decided(new, spec, old=old)
    result = after(new, decision)
    assert decision.invalid == ()
    result["spec"].setdefault("resources", old["spec"].get("resources"))
    allowed = decision.denial is None and not errors(view(result), on_create=False)
    allowed = allowed and decided(result, spec, old=old, endpoint="validate").denial is None
    event("allowed" if allowed else "refused")
    event("patched" if decision.operations else "not patched")
    assume(allowed)
    assume(stored_level(old)[1].keys() <= stored_level(result)[1].keys())  # the API server lets none be taken away
    maxima = effective(spec, new).maximum
    for resource in ("cpu", "memory"):
        bound = maxima.get(resource)
        assert bound is not None
        for before, now in zip(limits_in_force(old, resource), limits_in_force(result, resource), strict=True):
            if before is not None:
                assert 0 < (now or 0) <= max(bound.value.nanos, before), (resource, before, now)


def limits_in_force(pod: Json, resource: str) -> list[int | None]:
    """What each container may use at most: its own limit, else the pod's as it is stored; None is all that there is."""
    seen, (_, level) = view(pod), stored_level(pod)
    found = []
    for container in (*seen.regular, *seen.init):
        amounts = [limits[resource].nanos for limits in (container.limits, level) if resource in limits]
        found.append(next((amount for amount in amounts if amount), None))
    return found


def stored_level(pod: Json) -> RequestsAndLimits:
    """The pod level as the API server stores it."""
    seen = view(pod)
    typed: RequestsAndLimits = ({}, {}) if seen.pod_level is None else (seen.pod_level.requests, seen.pod_level.limits)
    init = [((c.requests, c.limits), c.is_sidecar) for c in seen.init]
    return stored_pod_level(typed, [(c.requests, c.limits) for c in seen.regular], init)


def assert_bounded_or_grown(got: str, wanted: str, before: str | None, policy: EffectivePolicy, name: str) -> None:
    amounts = nanos(got), nanos(wanted), nanos(before or "0")
    bound = policy.maximum.get(name)
    if None in amounts:
        return
    now, asked, old = (amount or 0 for amount in amounts)
    assert now <= asked or asked == 0, "nothing is raised"
    if bound is None:
        assert now == asked or "pod" in str(policy.pod_maximum)
    elif now != asked:
        assert now in (bound.value.nanos, old) or now <= bound.value.nanos
