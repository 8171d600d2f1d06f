"""Prometheus as the tests use it: what was really scraped becomes series, on which the real promtool tries rules."""

import json
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

Json = dict[str, Any]
Sample = tuple[str, frozenset[tuple[str, str]]]
Scrape = Mapping[Sample, float]

FILES = Path(__file__).parents[1] / "charts" / "task-resource-webhook" / "files"
RULES, DASHBOARD = FILES / "alerts.yaml", FILES / "dashboard.json"

# Minutes for which nothing changes, so that no range reaches before them, and for which it then goes on.
BEFORE, AFTERWARDS = 90, 90
EARLIEST = 60.0 * BEFORE

# What Prometheus and its operator add, and the rules and panels may name.
TARGET = {"job": "task-resource-webhook-metrics", "namespace": "task-resources", "instance": "10.0.0.1:8080"}
COUNTERS = ("_total", "_count", "_bucket", "_sum")

# What Grafana puts in the place of variables; of those that it makes itself, something usual.
GRAFANA = {"$namespace": ".*", "$pod": ".*", "$__rate_interval": "5m", "$__range": "1h"}

# The beginning of a selector, with its matchers if it has any.
SELECTOR = re.compile(r"\b((?:task_resources|apiserver|process)_\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)(=~|=|!~|!=)"([^"]*)"')
GROUPING = re.compile(r"\b(?:by|on|without|ignoring) *\(([\w, ]*)\)")


def scrape(exposition: str) -> Scrape:
    """Every sample of what a target answers."""
    # Without types, by which the parser would rename counters that do not end in _total.
    lines = (line for line in exposition.splitlines() if not line.startswith("#"))
    families = text_string_to_metric_families("\n".join(lines) + "\n")
    samples = (sample for family in families for sample in family.samples)
    return {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}


def series(before: Scrape, after: Scrape, **target: str) -> list[Json]:
    """Series of one target: as before until the change, then as after it, from where counters grow on as they just did.

    A series that is missing before begins with the change; one that is missing afterwards ends with it.
    """
    return [
        {
            "series": _selector(sample, target),
            "values": " ".join(_values(sample[0], before.get(sample), after.get(sample))),
        }
        for sample in {**before, **after}
    ]


def _selector(sample: Sample, target: Mapping[str, str]) -> str:
    name, labels = sample
    matchers = ",".join(f"{key}={json.dumps(value)}" for key, value in {**dict(labels), **target}.items())
    return f"{name}{{{matchers}}}"


def _values(name: str, before: float | None, after: float | None) -> Iterator[str]:
    yield from [_value(before)] * BEFORE
    if after is None:
        yield "stale"
        return
    pace = after - (before or 0) if name.endswith(COUNTERS) else 0
    yield from (_value(after + pace * minute) for minute in range(AFTERWARDS))


def _value(number: float | None) -> str:
    return "_" if number is None else repr(number)


def slowed(fast: Scrape, *, above: float) -> Scrape:
    """A scrape in which everything took longer than that many seconds, and no longer than the next bucket."""
    return {
        (name, labels): 0.0 if name.endswith("_bucket") and float(dict(labels)["le"]) <= above else value
        for (name, labels), value in fast.items()
    }


@dataclass(frozen=True)
class Rule:
    """An alert of the rules file."""

    name: str
    expression: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    def told(self, labels: Mapping[str, str], value: str) -> dict[str, str]:
        """Its annotations, where it fires with these labels; `value` is what they make of the value."""
        return {key: re.sub(r"{{ *(.+?) *}}", _told(labels, value), text) for key, text in self.annotations.items()}


def _told(labels: Mapping[str, str], value: str) -> Callable[[re.Match[str]], str]:
    def replaced(found: re.Match[str]) -> str:
        label = found[1].removeprefix("$labels.")
        return value if found[1].startswith("$value") else labels[label]

    return replaced


def rules() -> dict[str, Rule]:
    """Every alert by its name."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    found = [rule for group in groups for rule in group["rules"]]
    return {each["alert"]: Rule(each["alert"], each["expr"], each["labels"], each["annotations"]) for each in found}


def panels() -> list[Json]:
    """The dashboard's panels, without its rows."""
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def queries(panel: Json) -> list[str]:
    """A panel's queries as Grafana sends them while everything is chosen."""
    sent = []
    for target in panel["targets"]:
        query: str = target["expr"]
        for variable, value in GRAFANA.items():
            query = query.replace(variable, value)
        sent.append(query)
    return sent


@dataclass(frozen=True)
class Alarm:
    """An alert that fires: its labels beside those of the rule, and what its annotations make of its value."""

    name: str
    labels: Mapping[str, str]
    value: str = ""

    def expected(self) -> Json:
        rule = rules()[self.name]
        return {"exp_labels": {**rule.labels, **self.labels}, "exp_annotations": rule.told(self.labels, self.value)}


@dataclass(frozen=True)
class Promtool:
    """The real one, with a folder for its files."""

    program: str
    folder: Path

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [self.program, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    def try_alarms(
        self, given: Sequence[Json], *alarms: Alarm, quiet: int, fires: int, changed_at: float = EARLIEST
    ) -> None:
        """Holds that an alert fires so many minutes after the change, and neither before the change nor when quiet.

        `alarms` are of one alert. `changed_at` is in seconds since the epoch, where that makes a difference.
        """
        name = alarms[0].name
        expected = _expected(name, fires, *(alarm.expected() for alarm in alarms))
        self._try(given, changed_at, alert_rule_test=[_expected(name, -1), _expected(name, quiet), expected])

    def try_silence(self, given: Sequence[Json], alerts: Iterable[str], *, changed_at: float = EARLIEST) -> None:
        """Holds that none of these alerts fires before the change and after it."""
        tests = [_expected(name, minute) for name in alerts for minute in (-1, 5)]
        self._try(given, changed_at, alert_rule_test=tests)

    def try_queries(self, given: Sequence[Json], queries: Iterable[str]) -> None:
        """Holds that each query gives numbers ten minutes after the change."""
        # What is no number equals nothing, itself included.
        tests = [
            {
                "expr": f"count(({query}) == ({query})) > bool 0",
                "eval_time": f"{BEFORE + 10}m",
                "exp_samples": [{"labels": "{}", "value": 1}],
            }
            for query in queries
        ]
        self._try(given, promql_expr_test=tests)

    def _try(self, given: Sequence[Json], changed_at: float = EARLIEST, **tests: Sequence[Json]) -> None:
        group = {
            "start_timestamp": int(changed_at) - BEFORE * 60,
            "interval": "1m",
            "input_series": list(given),
            **tests,
        }
        file = self.folder / "tests.yaml"
        # JSON is YAML, and quicker to write.
        file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [group]}))
        result = self.run("test", "rules", str(file))
        assert result.returncode == 0, result.stdout + result.stderr


def _expected(alert: str, minute: int, *alarms: Json) -> Json:
    return {"alertname": alert, "eval_time": f"{BEFORE + minute}m", "exp_alerts": list(alarms)}


def unknown_names(expression: str, scraped: Iterable[Sample]) -> list[str]:
    """Metrics, labels and labels' values that an expression names and no sample has."""
    labels_of: dict[str, list[dict[str, str]]] = {}
    for name, labels in scraped:
        labels_of.setdefault(name, []).append(dict(labels))
    found: list[str] = []
    known = {*TARGET, "pod"}
    for name, matchers in SELECTOR.findall(expression):
        samples = labels_of.get(name, [])
        found += [] if samples else [name]
        known |= {label for labels in samples for label in labels}
        for label, operator, value in MATCHER.findall(matchers):
            values = {labels.get(label) for labels in samples}
            if label not in {*TARGET, "pod"} and (values == {None} or (operator == "=" and value not in values)):
                found.append(f"{name}{{{label}{operator}{value}}}")
    named = [label.strip() for labels in GROUPING.findall(expression) for label in labels.split(",")]
    return found + [label for label in named if label and label not in known]
