"""Writes the chart's Grafana dashboard, files/dashboard.json: `python tools/dashboard.py`; a test holds it up to date.

A panel is its question, what answers it, and how that is drawn. Where it stands, its id and Grafana's many other
fields follow from that.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

DASHBOARD = Path(__file__).parents[1] / "charts" / "task-resource-webhook" / "files" / "dashboard.json"

Json = dict[str, Any]
Kind = Literal["stat", "timeseries", "heatmap"]

# The version of Grafana's format; an older Grafana reads it as well.
SCHEMA_VERSION = 42
COLUMNS = 24
WIDTH: Mapping[Kind, int] = {"stat": 4, "timeseries": 8, "heatmap": 8}
HEIGHT: Mapping[Kind, int] = {"stat": 4, "timeseries": 7, "heatmap": 7}
DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}

# In queries: `@` is the replicas that were chosen, `%` our webhooks among the API server's.
REPLICAS = 'namespace=~"$namespace",pod=~"$pod"'
WEBHOOKS = 'name=~".+[.]task-resources[.]io"'

DAY = 86400.0


@dataclass(frozen=True)
class Panel:
    """A question and its answer: queries by their legends.

    `levels`: from which values on it is drawn in which colour; green below.
    """

    title: str
    description: str
    unit: str
    queries: Mapping[str, str]
    kind: Kind = "timeseries"
    levels: Mapping[float | None, str] = field(default_factory=lambda: {None: "green"})
    stacked: bool = False


def _legend(labels: str) -> str:
    return " ".join(f"{{{{{label}}}}}" for label in labels.split(", "))


def _rate(metric: str, by: str, prefix: str = "") -> dict[str, str]:
    return {prefix + _legend(by): f"sum by ({by}) (rate({metric}[$__rate_interval]))"}


def _quantiles(metric: str, by: str, prefix: str = "") -> dict[str, str]:
    rate = f"sum by ({by}) (rate({metric}[$__rate_interval]))"
    return {f"{prefix}p{percent}": f"histogram_quantile(0.{percent}, {rate})" for percent in (50, 99)}


def _capacity(resources: str, by: str = "direction") -> dict[str, str]:
    return {_legend(by): f"sum by ({by}) (increase(task_resources_capacity_delta_total{{@,{resources}}}[1h]))"}


# Every process has these metrics.
OURS_ONLY = " and on (job, instance) task_resources_policy_info{@}"

ROWS: Mapping[str, Sequence[Panel]] = {
    "Is it well?": (
        Panel(
            "Replicas",
            "How many replicas are scraped?",
            "short",
            {"replicas": "count(task_resources_policy_info{@})"},
            "stat",
            {None: "red", 1: "orange", 2: "green"},
        ),
        Panel(
            "Reviews",
            "How many reviews a second are decided?",
            "reqps",
            {"reviews": "sum(rate(task_resources_reviews_total{@}[$__rate_interval]))"},
            "stat",
        ),
        Panel(
            "Without a decision",
            "Which share of the requests is answered with an error instead of a decision?",
            "percentunit",
            {
                "share": "(sum(rate(task_resources_refused_requests_total{@}[$__rate_interval])) or vector(0)) / "
                "((sum(rate(task_resources_refused_requests_total{@}[$__rate_interval])) or vector(0)) + "
                "sum(rate(task_resources_review_duration_seconds_count{@}[$__rate_interval])))"
            },
            "stat",
            {None: "green", 0.01: "orange", 0.05: "red"},
        ),
        Panel(
            "Bugs",
            "How many results would have been invalid, or answers were 500? Anything but 0 is a bug to report.",
            "short",
            {
                "bugs": "sum(increase(task_resources_invalid_results_total{@}[$__range])) + "
                "sum(increase(task_resources_panics_total{@}[$__range]))"
            },
            "stat",
            {None: "green", 0.5: "red"},
        ),
        Panel(
            "Policy sets in force",
            "Do all replicas decide by the same policies? More than 1 is usual for a minute or two after a change.",
            "short",
            {"policy sets": "count(count by (hash) (task_resources_policy_info{@}))"},
            "stat",
            {None: "green", 2: "orange"},
        ),
        Panel(
            "First certificate ends in",
            "How long until a certificate has to be renewed?",
            "s",
            {"left": "min(task_resources_certificate_not_after_timestamp_seconds{@}) - time()"},
            "stat",
            {None: "red", 2 * DAY: "orange", 14 * DAY: "green"},
        ),
    ),
    "What it changes": (
        Panel(
            "Reviews by outcome",
            "What comes of reviews: unchanged, changed, denied, or skipped as none of ours?",
            "reqps",
            _rate("task_resources_reviews_total{@}", "outcome"),
            stacked=True,
        ),
        Panel(
            "Reviews by mode",
            "How much is enforced, and how much only warned of or counted (Audit)?",
            "reqps",
            _rate("task_resources_reviews_total{@}", "mode"),
            stacked=True,
        ),
        Panel(
            "Denials by reason",
            "Why are pods refused? The runbook says what each reason is about.",
            "reqps",
            _rate("task_resources_denials_total{@}", "reason"),
            stacked=True,
        ),
        Panel(
            "Changes by rule",
            "Which rules change pods: maxima, defaults, what pods ask for by annotation?",
            "ops",
            _rate("task_resources_changes_total{@}", "rule"),
            stacked=True,
        ),
        Panel(
            "Changes by resource",
            "Which resources are changed?",
            "ops",
            _rate("task_resources_changes_total{@}", "resource"),
            stacked=True,
        ),
        Panel(
            "CPU taken and added",
            "How many cores an hour do changes take from requests (lowered) and add to them (raised)?",
            "short",
            _capacity('resource="cpu"'),
        ),
        Panel(
            "Memory taken and added",
            "How much memory an hour do changes take from requests and add to them?",
            "bytes",
            _capacity('resource="memory"'),
        ),
        Panel(
            "Devices taken and added",
            "How many GPUs and other devices an hour do changes take from requests and add to them?",
            "short",
            _capacity('resource!~"cpu|memory|ephemeral-storage|hugepages-.*"', "resource, direction"),
        ),
    ),
    "Latency and load": (
        Panel(
            "Time to decide",
            "How long does a review take, from its whole body to the answer? Tens of microseconds are usual.",
            "s",
            _quantiles("task_resources_review_duration_seconds_bucket{@}", "le"),
        ),
        Panel(
            "Times to decide",
            "How are these times spread? A second band is a second kind of pod, or a lack of CPU.",
            "s",
            {"{{le}}": "sum by (le) (increase(task_resources_review_duration_seconds_bucket{@}[$__rate_interval]))"},
            "heatmap",
        ),
        Panel(
            "Reviews by replica",
            "Is the load shared? The API server keeps connections, so that a new replica's share comes in minutes.",
            "reqps",
            _rate("task_resources_reviews_total{@}", "pod"),
        ),
        Panel(
            "Reviews in flight",
            "How many reviews wait for a namespace in each replica? At --max-in-flight it answers 503.",
            "short",
            {"{{pod}}": "max by (pod) (task_resources_in_flight_reviews{@})"},
        ),
        Panel(
            "Connections",
            "What do connections do? An API server's are idle; many that are silent or receiving are somebody else's.",
            "short",
            {"{{port}} {{state}}": "sum by (port, state) (task_resources_connections{@})"},
            stacked=True,
        ),
        Panel(
            "Connections that gave way",
            "Are there more connections than a replica may have, so that the slowest are ended? Usually none.",
            "short",
            _rate("task_resources_ended_connections_total{@}", "state"),
        ),
        Panel(
            "Answers without a decision",
            "With which statuses are requests refused? 503 is tried again; 400, 413 and 415 are no API server's.",
            "reqps",
            _rate("task_resources_refused_requests_total{@}", "code"),
            stacked=True,
        ),
        Panel(
            "CPU",
            "How many cores does each replica use? Reviews are decided on one.",
            "short",
            {"{{pod}}": "sum by (pod) (rate(process_cpu_seconds_total{@}[$__rate_interval])" + OURS_ONLY + ")"},
        ),
        Panel(
            "Memory",
            "How much memory does each replica have? A reload of policies is a process of its own beside it.",
            "bytes",
            {"{{pod}}": "sum by (pod) (process_resident_memory_bytes{@}" + OURS_ONLY + ")"},
        ),
    ),
    "Policies, certificates, namespaces": (
        Panel(
            "Replicas by policy set",
            "Which policy set does each replica decide by, and when did it change?",
            "short",
            {"{{hash}}": "count by (hash) (task_resources_policy_info{@})"},
            stacked=True,
        ),
        Panel(
            "Changes of policies",
            "How many changes of policy files came into force (success) or were refused (failure)?",
            "short",
            {"{{result}}": "sum by (result) (increase(task_resources_policy_reloads_total{@}[$__rate_interval]))"},
        ),
        Panel(
            "Refused policies",
            "Which replicas have policy files with an error now, and decide by the set before them (1)?",
            "short",
            {"{{pod}}": "max by (pod) (task_resources_policy_refused{@})"},
        ),
        Panel(
            "Age of the policies",
            "How long ago did each replica last load its policies?",
            "s",
            {"{{pod}}": "time() - max by (pod) (task_resources_policy_last_success_timestamp_seconds{@})"},
        ),
        Panel(
            "Certificates end in",
            "How long is each certificate good for?",
            "s",
            {"{{which}}": "min by (which) (task_resources_certificate_not_after_timestamp_seconds{@}) - time()"},
        ),
        Panel(
            "Changes of certificates",
            "How many changes of certificate files are served (success) or were refused (failure)?",
            "short",
            {"{{result}}": "sum by (result) (increase(task_resources_certificate_reloads_total{@}[$__rate_interval]))"},
        ),
        Panel(
            "Refused certificates",
            "Which replicas have certificate files that cannot be served now, and serve those before them (1)?",
            "short",
            {"{{pod}}": "max by (pod) (task_resources_certificate_refused{@})"},
        ),
        Panel(
            "Failed TLS handshakes",
            "Do callers lack a certificate that counts (client-certificate), or do they refuse ours (alert)?",
            "ops",
            _rate("task_resources_failed_handshakes_total{@}", "reason"),
        ),
        Panel(
            "Namespaces",
            "How many namespaces of the cluster does each replica know? With --namespaces cluster only.",
            "short",
            {"{{pod}}": "max by (pod) (task_resources_namespaces{@})"},
        ),
        Panel(
            "Namespaces are as of",
            "How old is what each replica knows of namespaces? Above three minutes it is out of touch.",
            "s",
            {"{{pod}}": "time() - max by (pod) (task_resources_namespaces_last_sync_timestamp_seconds{@})"},
        ),
        Panel(
            "Namespaces that were looked up, and failures",
            "How many namespaces had to be asked for, with what result; and what goes wrong in following them?",
            "ops",
            _rate("task_resources_namespace_lookups_total{@}", "result", "look-up: ")
            | _rate("task_resources_namespace_failures_total{@}", "reason", "failure: "),
        ),
    ),
    "The API server's view": (
        Panel(
            "Calls by status",
            "How many calls does the API server make, and with which results? 503 is also an answer it could not use.",
            "reqps",
            _rate("apiserver_admission_webhook_request_total{%}", "name, code"),
        ),
        Panel(
            "Time of a call",
            "How long do pods wait for the webhook? The difference to the time to decide is the network and TLS.",
            "s",
            _quantiles("apiserver_admission_webhook_admission_duration_seconds_bucket{%}", "name, le", "{{name}} "),
        ),
        Panel(
            "Refused pods by cause",
            "Did the webhook deny them (no_error), could it not be called (calling_webhook_error), or could its answer "
            "not be used (apiserver_internal_error)?",
            "reqps",
            _rate("apiserver_admission_webhook_rejection_count{%}", "name, error_type"),
        ),
        Panel(
            "Pods let in without a review",
            "How many calls failed under failurePolicy Ignore?",
            "reqps",
            _rate("apiserver_admission_webhook_fail_open_count{%}", "name"),
        ),
        Panel(
            "Pods excluded by match conditions",
            "How many pods are never sent to the webhook, as a match condition says?",
            "reqps",
            _rate("apiserver_admission_match_condition_exclusions_total{%}", "name"),
        ),
        Panel(
            "Errors of match conditions",
            "How many pods met an expression that fails?",
            "reqps",
            _rate("apiserver_admission_match_condition_evaluation_errors_total{%}", "name"),
        ),
    ),
}


def dashboard() -> Json:
    """Grafana's JSON: importable as it is, and what its sidecar loads from a ConfigMap."""
    return {
        "uid": "task-resource-webhook",
        "title": "Task resource webhook",
        "description": "What the webhook does to pods, whether it is well, and how the API server sees it.",
        "tags": ["kubernetes", "admission-webhook"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "",
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": _variables()},
        "panels": [{"id": number, **panel} for number, panel in enumerate(_panels(), 1)],
    }


def _variables() -> list[Json]:
    data_source = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
    return [
        data_source | {"current": {}, "hide": 0, "multi": False, "includeAll": False, "refresh": 1, "options": []},
        _labels_of_targets("namespace", "Namespace of the webhook", ""),
        _labels_of_targets("pod", "Replica", '{namespace=~"$namespace"}'),
    ]


def _labels_of_targets(name: str, label: str, selector: str) -> Json:
    query = f"label_values(task_resources_policy_info{selector}, {name})"
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATA_SOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        # Not Grafana's own list of values: where targets have no such label, everything is meant, too.
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "includeAll": True,
        "multi": True,
        "hide": 0,
        "refresh": 2,
        "sort": 1,
        "options": [],
    }


def _panels() -> Iterator[Json]:
    y = 0
    for title, panels in ROWS.items():
        yield {
            "type": "row",
            "title": title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
            "panels": [],
        }
        y += 1
        x = 0
        for panel in panels:
            width, height = WIDTH[panel.kind], HEIGHT[panel.kind]
            if x + width > COLUMNS:
                x, y = 0, y + height
            yield _panel(panel, {"x": x, "y": y, "w": width, "h": height})
            x += width
        y += HEIGHT[panels[-1].kind]


def _panel(panel: Panel, place: Json) -> Json:
    steps = [{"value": value, "color": color} for value, color in panel.levels.items()]
    defaults: Json = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.kind == "timeseries":
        stacking = {"mode": "normal" if panel.stacked else "none", "group": "A"}
        defaults["min"] = 0
        defaults["custom"] = {"fillOpacity": 20 if panel.stacked else 0, "stacking": stacking, "showPoints": "never"}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATA_SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": OPTIONS[panel.kind] | ({"yAxis": {"unit": panel.unit}} if panel.kind == "heatmap" else {}),
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": DATA_SOURCE,
                "expr": query.replace("@", REPLICAS).replace("%", WEBHOOKS),
                "legendFormat": legend,
                "format": "heatmap" if panel.kind == "heatmap" else "time_series",
                "instant": panel.kind == "stat",
                "range": panel.kind != "stat",
            }
            for index, (legend, query) in enumerate(panel.queries.items())
        ],
    }


OPTIONS: Mapping[Kind, Json] = {
    "stat": {
        "colorMode": "value",
        "graphMode": "none",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    },
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "heatmap": {
        "calculate": False,
        "cellGap": 1,
        "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
        "tooltip": {"mode": "single", "yHistogram": False},
    },
}


def text() -> str:
    return json.dumps(dashboard(), indent=2) + "\n"


if __name__ == "__main__":
    DASHBOARD.write_text(text())
