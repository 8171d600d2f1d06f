"""What is scraped keeps to Prometheus' conventions, and no pod can make it grow without end (E6)."""

import io
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import yaml
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.deciding import NAMESPACE, Json, container, pod, policy_set, review_body
from tests.unit.promlint import lint
from webhook.admission import decode
from webhook.app import Reviews
from webhook.connections import Connections
from webhook.logs import ReviewLog
from webhook.metrics import MOST_PROJECTS, MOST_RESOURCES, Metrics, NamespaceCounts, ReloadResult
from webhook.resource_names import LONGEST
from webhook.snapshot import Snapshot

POLICY = """\
container: {min: {cpu: 50m}, max: {cpu: 4, memory: 8Gi, 'example.com/*': 1, 'example.com/none-*': 0}}
pod: {max: {cpu: 6}}
scheduling:
  resources:
  - {resource: example.com/gpu, tolerations: [{key: example.com/gpu, operator: Exists}], reserved: Warn}
"""


def reviews_under(*specs: str) -> Reviews:
    return Reviews(Snapshot(policy_set(*specs)), Metrics(), ReviewLog(io.BytesIO(), "json", "info"))


def used() -> Reviews:
    """Every kind of series that there is, once."""
    reviews = reviews_under(POLICY)
    reviews.metrics.set_policy(reviews.snapshot.policies, 1_764_038_400.0)
    reviews.metrics.set_certificate("serving", 1_764_038_400.0)
    reviews.metrics.namespaces = NamespaceCounts(failures=Counter(expired=1), look_ups=Counter(found=1))
    reviews.metrics.connections = [Connections("reviews", 10)]
    reviews.metrics.invalid_results += 1
    reviews.answer("mutate", review_body(pod(container(limits={"cpu": "8", "example.com/gpu": "2"}))))
    reviews.answer("mutate", review_body(pod(container(limits={"cpu": "1"}, requests={"cpu": "1m"}))))
    reviews.answer("validate", review_body(pod(container(limits={"cpu": "8"}))))
    reviews.answer("mutate", b"nonsense")
    return reviews


def test_the_exposition_keeps_to_prometheus_conventions() -> None:
    text = used().metrics.exposition().decode()
    families = {family.name for family in text_string_to_metric_families(text) if family.samples}
    assert {family.name for family in Metrics().collect()} <= families, "a metric that is not looked at here"
    assert lint(text) == []


@pytest.mark.parametrize(
    ("exposition", "problem"),
    [
        ("# TYPE a_total counter\na_total 1", "a: has no help text"),
        ("# HELP a A.\n# TYPE a counter\na 1", "a: a counter, and nothing else, ends in _total"),
        ("# HELP a_total A.\n# TYPE a_total gauge\na_total 1", "a_total: a counter, and nothing else, ends in _total"),
        ("# HELP a:b A.\n# TYPE a:b gauge\na:b 1", "a:b: is no lower_snake_case without colons"),
        ("# HELP aB A.\n# TYPE aB gauge\naB 1", "aB: is no lower_snake_case without colons"),
        ("# HELP a_milliseconds A.\n# TYPE a_milliseconds gauge\na_milliseconds 1", "use seconds instead of"),
        ("# HELP a_ms A.\n# TYPE a_ms gauge\na_ms 1", "ms is an abbreviation of a unit"),
        ("# HELP a_gauge A.\n# TYPE a_gauge gauge\na_gauge 1", "the name has the type gauge in it"),
        ("# HELP a_count A.\n# TYPE a_count gauge\na_count 1", "_count is for histograms and summaries"),
        ('# HELP a A.\n# TYPE a gauge\na{le="1"} 1', "the label le is for a histogram"),
        ('# HELP a A.\n# TYPE a gauge\na{someLabel="1"} 1', "the label someLabel is no lower_snake_case"),
        ('# HELP a A.\n# TYPE a gauge\na{instance="1"} 1', "the label instance is one that scraping adds"),
        ('# HELP a_mode A.\n# TYPE a_mode gauge\na_mode{mode="1"} 1', "the label mode is in the name already"),
        (
            "# HELP a A.\n# TYPE a gauge\na 1\n# HELP b B.\n# TYPE b gauge\nb 1\n# HELP a A.\n# TYPE a gauge\na 2",
            "2 times",
        ),
    ],
    ids=[
        *("help", "counter", "total", "colon", "camel case", "unit", "abbreviation", "type"),
        *("reserved end", "reserved label", "label", "label of a target", "label in the name", "twice"),
    ],
)
def test_what_breaks_a_convention_is_found(exposition: str, problem: str) -> None:
    assert any(problem in found for found in lint(exposition + "\n"))


def series(reviews: Reviews) -> set[str]:
    families = text_string_to_metric_families(reviews.metrics.exposition().decode())
    return {
        f"{sample.name}{sorted(sample.labels.items())}"
        for family in families
        for sample in family.samples
        if sample.name.startswith("task_resources_")
    }


def labels_of(reviews: Reviews, name: str) -> set[str]:
    """Every value that the label has."""
    families = text_string_to_metric_families(reviews.metrics.exposition().decode())
    samples = (sample for family in families for sample in family.samples)
    return {sample.labels[name] for sample in samples if name in sample.labels}


def test_ten_thousand_names_of_resources_make_a_bounded_number_of_series() -> None:
    reviews = reviews_under(POLICY)
    before = len(series(reviews))
    for batch in range(100):
        devices = {f"example.com/device-{batch}-{number}": "2" for number in range(100)}
        reviews.answer("mutate", review_body(pod(container(limits=devices))))
    resources = labels_of(reviews, "resource")
    assert len(resources) == MOST_RESOURCES + 1
    assert "other" in resources
    # Changes by resource and one rule, capacity by resource and direction, and the reviews themselves.
    assert len(series(reviews)) <= before + 2 * (MOST_RESOURCES + 1) + 1


INVENTED = {"container": {"max": {"invented.example/*": 1}}}


def counting(*specs: str | Json, by_project: bool = False) -> Reviews:
    """Reviews by these policies, as a server counts them."""
    reviews = Reviews(
        Snapshot(policy_set(*specs)), Metrics(by_project=by_project), ReviewLog(io.BytesIO(), "json", "info")
    )
    reviews.metrics.set_policy(reviews.snapshot.policies, 0)
    return reviews


def invent_resources(reviews: Reviews, **request: Any) -> None:
    """One name more than there is room for, in pods that are lowered."""
    for numbers in (range(MOST_RESOURCES), range(MOST_RESOURCES, MOST_RESOURCES + 1)):
        invented = {f"invented.example/{number}": "2" for number in numbers}
        reviews.answer("mutate", review_body(pod(container(limits=invented)), **request))


def lowered(reviews: Reviews, resource: str, **request: Any) -> None:
    """A pod that has one too much of it."""
    reviews.answer("mutate", review_body(pod(container(limits={resource: "9Gi"})), **request))


NAMED = [
    # what a policy says, a resource that it names, what a pod calls it
    ("container: {max: {example.com/gpu: 1}}", "example.com/gpu", "example.com/gpu"),
    ("pod: {max: {example.com/gpu: 1}}", "example.com/gpu", "example.com/gpu"),
    ("container: {max: {gpu: 1}}", "nvidia.com/gpu", "nvidia.com/gpu"),
    ("container: {max: {nvidia.com/*: 1}}", "nvidia.com/gpu", "gpu"),
    ("container: {max: {cpu: 1}}", "cpu", "cpu"),
    ("container: {max: {mem: 1Gi}}", "memory", "memory"),
    ("container: {max: {ephemeral-storage: 1Gi}}", "ephemeral-storage", "ephemeral-storage"),
    ("container: {max: {hugepages-2Mi: 1Gi}}", "hugepages-2Mi", "hugepages-2Mi"),
    ("{container: {max: {tpu: 1}}, scheduling: {resources: [{resource: google.com/tpu, alias: tpu}]}}",
     "google.com/tpu", "tpu"),
    ("{container: {max: {google.com/*: 1}}, scheduling: {resources: [{resource: google.com/tpu, alias: tpu}]}}",
     "google.com/tpu", "google.com/tpu"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "resource", "asked"), NAMED, ids=[f"{case[1]} by {case[0]}" for case in NAMED])
def test_a_resource_that_a_policy_uses_has_its_series_whatever_names_pods_invent(
    spec: str, resource: str, asked: str
) -> None:
    here = {**yaml.safe_load(spec), "scope": {"namespace": NAMESPACE}}
    reviews = counting(here, {**INVENTED, "scope": {"namespace": "elsewhere"}})
    invent_resources(reviews, namespace="elsewhere")
    lowered(reviews, asked)
    assert {resource, "other"} <= labels_of(reviews, "resource")


def test_a_resource_that_only_a_glob_fits_shares_the_bound() -> None:
    reviews = counting({"container": {"max": {"*": 1}}})
    invent_resources(reviews)
    lowered(reviews, "example.com/gpu")
    assert "other" in labels_of(reviews, "resource")
    assert "example.com/gpu" not in labels_of(reviews, "resource")


def test_a_resource_gets_its_series_when_a_policy_names_it() -> None:
    reviews = counting({"container": {"max": {"*": 1}}})
    invent_resources(reviews)
    lowered(reviews, "example.com/gpu")
    reviews.metrics.set_policy(policy_set({"container": {"max": {"*": 1, "example.com/gpu": 1}}}), 1)
    lowered(reviews, "example.com/gpu")
    assert {"other", "example.com/gpu"} <= labels_of(reviews, "resource")


def test_places_that_no_resource_called_for_are_counted_as_such_whatever_names_pods_invent() -> None:
    spec = {**INVENTED, "scheduling": {"defaults": {"tolerations": [{"key": "tasks", "operator": "Exists"}]}}}
    reviews = counting(spec)
    invent_resources(reviews)
    reviews.answer("mutate", review_body(pod(annotations={"task-resources.io/shared-memory": "1Gi"})))
    assert {"", "shared-memory", "other"} <= labels_of(reviews, "resource")


def test_a_project_that_a_policy_is_for_has_its_series_however_many_namespaces_there_are() -> None:
    spec = "container: {max: {cpu: 1}}"
    reviews = counting(spec, f"{{scope: {{project: vision}}, {spec}}}", by_project=True)
    for number in range(MOST_PROJECTS + 1):
        lowered(reviews, "cpu", namespace=f"p{number}-staging")
    for namespace in ("vision-staging", "nobodys", "later-staging"):
        lowered(reviews, "cpu", namespace=namespace)
    projects = labels_of(reviews, "project")
    assert {"vision", "none", "other"} <= projects
    assert "later" not in projects


def test_a_name_that_is_longer_than_kubernetes_allows_is_not_remembered() -> None:
    reviews = counting({"container": {"max": {"cpu": 1}}}, by_project=True)
    metrics = reviews.metrics
    decision = reviews.snapshot.decide(decode(review_body(pod(container(limits={"cpu": "9"})))))
    for length in (LONGEST, LONGEST + 1):
        named = replace(decision, changes=(replace(decision.changes[0], resource="r" * length),), capacity=())
        metrics.count(decode(review_body(pod())), "mutate", named, 0.0, "p" * 63)
    assert labels_of(reviews, "resource") == {"other", "r" * LONGEST}
    metrics.count(decode(review_body(pod())), "mutate", decision, 0.0, "p" * 64)
    assert labels_of(reviews, "project") == {"other", "p" * 63}


RESULTS: Sequence[ReloadResult | None] = (None, "failure", "failure", "success")

ODD = ["", " ", "ä", '"\n\\', "\x00", "a" * 10_000, "CREATE ", "create", "{}", "le"]


@pytest.mark.parametrize(
    "request_of",
    [
        pytest.param(lambda text: {"operation": text}, id="operation"),
        pytest.param(lambda text: {"subResource": text}, id="subResource"),
        pytest.param(lambda text: {"namespace": text}, id="namespace"),
        pytest.param(lambda text: {"name": text, "uid": text or "x"}, id="name and uid"),
        pytest.param(lambda text: {"kind": {"group": "", "version": "v1", "kind": text}}, id="kind"),
        pytest.param(lambda text: {"userInfo": {"username": text, "groups": [text]}}, id="user"),
        pytest.param(lambda text: {"dryRun": bool(text)}, id="dry run"),
        pytest.param(lambda text: {"object": odd_pod(text)}, id="pod"),
    ],
)
def test_whatever_a_request_says_it_makes_few_series(request_of: Any) -> None:
    reviews = reviews_under(POLICY)
    greedy = pod(container(limits={"cpu": "8"}))
    reviews.answer("mutate", review_body(greedy))
    before = len(series(reviews))
    for number in range(20):
        for text in ODD:
            body = review_body(greedy, **request_of(f"{text}{number}" if number else text))
            for endpoint in ("mutate", "validate"):
                reviews.answer(endpoint, body)
    # Outcomes of two webhooks, a few reasons, rules and statuses.
    assert len(series(reviews)) <= before + 20
    assert lint(reviews.metrics.exposition().decode()) == []


def odd_pod(text: str) -> Json:
    limits = {"cpu": "8", text or "x": text or "1"}
    return pod(
        container(text or "main", limits=limits),
        annotations={"task-resources.io/limits": text, "task-resources.io/accelerator": text, text or "x": text},
        labels={text or "x": text},
    )


def test_every_label_but_a_resource_has_values_of_a_closed_set() -> None:
    reviews = used()
    values = {
        name: labels_of(reviews, name)
        for name in ("webhook", "operation", "outcome", "mode", "dry_run", "direction", "code", "which", "result")
    }
    assert values == {
        "webhook": {"mutate", "validate"},
        "operation": {"CREATE"},
        "outcome": {"changed", "denied"},
        "mode": {"Enforce"},
        "dry_run": {"false"},
        "direction": {"raised", "lowered"},
        "code": {"400"},
        "which": {"serving"},
        "result": {"success", "failure", "found"},
    }


@pytest.mark.parametrize(
    ("name", "count"),
    [("policy", Metrics.count_reload), ("certificate", Metrics.count_certificate_reload)],
    ids=["policy", "certificate"],
)
def test_a_refused_change_shows_until_one_is_in_force(
    name: str, count: Callable[[Metrics, ReloadResult], None]
) -> None:
    metrics = Metrics()
    shown = []
    for result in RESULTS:
        if result is not None:
            count(metrics, result)
        shown.append(f"task_resources_{name}_refused 1.0" in metrics.exposition().decode())
    assert shown == [False, True, True, False]
