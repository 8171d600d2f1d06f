"""A linter of what Prometheus scrapes, for the tests: the rules of promtool's `check metrics`, and those for labels.

Sources: github.com/prometheus/client_golang prometheus/testutil/promlint/validations, and
https://prometheus.io/docs/practices/naming/.
"""

import re
from collections import Counter
from collections.abc import Iterator

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

# The unit that is meant, by what it is sometimes given in.
UNITS = {
    "amperes": ("milliamperes", "ampere"),
    "bytes": ("byte", "bit", "bits", "kilobytes", "megabytes", "gigabytes", "kibibytes", "mebibytes", "gibibytes"),
    "celsius": ("kelvin", "kelvins", "fahrenheit"),
    "grams": ("gram", "kilograms"),
    "joules": ("joule", "kilojoules"),
    "meters": ("meter", "kilometers"),
    "ratio": ("percent", "percents", "permille"),
    "seconds": (
        *("second", "milliseconds", "microseconds", "nanoseconds", "minute", "minutes"),
        *("hour", "hours", "day", "days", "week", "weeks"),
    ),
    "volts": ("volt", "millivolts"),
}
BASE_UNITS = {wrong: unit for unit, others in UNITS.items() for wrong in others}
ABBREVIATIONS = frozenset({"s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d"})
TYPES = frozenset({"counter", "gauge", "histogram", "summary", "untyped"})
LOWER_SNAKE_CASE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")

# What scraping adds: labels of the target, as Prometheus itself and its operator for Kubernetes name them.
LABELS_OF_TARGETS = frozenset({"job", "instance", "namespace", "pod", "container", "service", "endpoint", "node"})


def lint(exposition: str) -> list[str]:
    """What is wrong with an exposition: the metric, and the rule that it breaks."""
    families = list(text_string_to_metric_families(exposition))
    found = [f"{family.name}: {problem}" for family in families for problem in _family_problems(family, exposition)]
    names = Counter(family.name for family in families)
    return found + [f"{name}: is there {count} times" for name, count in names.items() if count > 1]


def _family_problems(family: Metric, exposition: str) -> Iterator[str]:
    # The parser takes it away from counters.
    has_total = family.name.endswith("_total") or f"# TYPE {family.name}_total " in exposition
    parts = family.name.split("_")
    if not family.documentation:
        yield "has no help text"
    if (family.type == "counter") is not has_total:
        yield "a counter, and nothing else, ends in _total"
    if not LOWER_SNAKE_CASE.fullmatch(family.name):
        yield "is no lower_snake_case without colons"
    for part in parts:
        if part in BASE_UNITS:
            yield f"use {BASE_UNITS[part]} instead of {part}"
        if part in ABBREVIATIONS:
            yield f"{part} is an abbreviation of a unit"
        if part in TYPES:
            yield f"the name has the type {part} in it"
    if family.type not in ("histogram", "summary") and parts[-1] in ("bucket", "count", "sum"):
        yield f"_{parts[-1]} is for histograms and summaries"
    for label in sorted({label for sample in family.samples for label in sample.labels}):
        yield from _label_problems(family, label)


def _label_problems(family: Metric, label: str) -> Iterator[str]:
    reserved = {"le": "histogram", "quantile": "summary"}
    if label in reserved:
        if family.type != reserved[label]:
            yield f"the label {label} is for a {reserved[label]}"
    elif not LOWER_SNAKE_CASE.fullmatch(label):
        yield f"the label {label} is no lower_snake_case"
    if label in LABELS_OF_TARGETS:
        yield f"the label {label} is one that scraping adds"
    if label in family.name.split("_"):
        yield f"the label {label} is in the name already"
