"""Reviews as a real API server sent them, under the example policies: decided, applied, looked at again."""

import copy
import json
from pathlib import Path

import jsonpatch
import msgspec
import pytest

from tests.unit.deciding import Json
from tests.unit.strategies import filled_in
from webhook.admission import decode, patch_json
from webhook.pod import Pod
from webhook.snapshot import Snapshot
from webhook.sources.policy_files import load_policies
from webhook.validity import errors, stored

ROOT = Path(__file__).parents[2]
REVIEWS = {path.stem: path.read_bytes() for path in sorted((ROOT / "tests" / "reviews").glob("*.json"))}

# Limits and requests of each container afterwards, where both are of cpu: the maximum is 4.
CPU = {
    "bare-gpu-key": {"main": ("1", "1")},
    "flyte-gpu-task": {"f3a9c1d2e4b5-n0-0": ("4", "4")},
    "flyte-task-override-cpu-6": {"f3a9c1d2e4b5-n0-0": ("4", "1")},
    "gpu-toleration-without-gpu": {"main": ("4", "1")},
    "init-and-sidecar": {"main": ("4", "2"), "log": ("4", "0"), "fetch": ("4", "4"), "proxy": ("4", "100m")},
    "job-pod": {"main": ("4", "4")},
    "limits-only": {"main": ("4", "4")},
    "minimal-no-resources": {"main": ("4", "500m")},
    "pod-level-limits-only": {"main": ("4", "4"), "side": ("4", "0")},
    "pod-level-resources": {"main": ("4", "2"), "side": ("4", "0")},
    "resize-above-maximum": {"main": ("4", "3")},
    "resize-container-with-claim": {"main": ("4", "1")},
    "server-dry-run": {"main": ("4", "4")},
    "tolerates-everything": {"main": ("4", "500m")},
}


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    return Snapshot(load_policies([ROOT / "examples" / "policies"]))


def patched(snapshot: Snapshot, body: bytes) -> Json:
    """The whole review with its pod patched, as the API server would send it the next time."""
    decision = snapshot.decide(decode(body))
    assert (decision.denial, decision.invalid) == (None, ())
    review: Json = json.loads(body)
    pod = jsonpatch.JsonPatch(patch_json(decision.operations)).apply(copy.deepcopy(review["request"]["object"]))
    review["request"]["object"] = filled_in(pod)
    return review


def test_every_recorded_review_is_in_the_table() -> None:
    assert CPU.keys() == REVIEWS.keys()


@pytest.mark.parametrize("name", REVIEWS)
def test_a_recorded_review_comes_out_valid_and_final(snapshot: Snapshot, name: str) -> None:
    review = patched(snapshot, REVIEWS[name])
    request = review["request"]
    pod = request["object"]
    containers = [*pod["spec"]["containers"], *pod["spec"].get("initContainers", ())]
    found = {c["name"]: tuple(c["resources"][side]["cpu"] for side in ("limits", "requests")) for c in containers}
    assert found == CPU[name]
    is_creation = request["operation"] == "CREATE"
    assert errors(stored(msgspec.json.decode(json.dumps(pod), type=Pod)), on_create=is_creation) == []
    again = decode(json.dumps(review).encode())
    assert snapshot.decide(again).operations == ()
    assert snapshot.decide(again, "validate").outcome == "unchanged"


@pytest.mark.parametrize("name", [name for name in REVIEWS if name.startswith("resize")])
def test_a_recorded_resize_gets_no_metadata_and_no_new_keys(snapshot: Snapshot, name: str) -> None:
    """The API server drops metadata here, and a key that is added or removed is an error."""
    before = json.loads(REVIEWS[name])["request"]["object"]
    after = patched(snapshot, REVIEWS[name])["request"]["object"]
    assert after["metadata"] == before["metadata"]
    for was, now in zip(before["spec"]["containers"], after["spec"]["containers"], strict=True):
        assert {side: set(amounts) for side, amounts in now["resources"].items() if side != "claims"} == {
            side: set(amounts) for side, amounts in was["resources"].items() if side != "claims"
        }
