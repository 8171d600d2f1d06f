"""Writes the reference pages from what they are about: policy format, command line, metrics, values of the chart.

`python tools/pages.py` writes them; a test holds that they are up to date.
"""

import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import yaml
from pydantic import TypeAdapter

from webhook import policy_document
from webhook.cli.main import COMMANDS, main
from webhook.connections import Connections
from webhook.metrics import MOST_PROJECTS, MOST_RESOURCES, Metrics, NamespaceCounts

ROOT = Path(__file__).parents[1]
CHART = ROOT / "charts" / "task-resource-webhook"
MADE = "<!-- Made by tools/pages.py: change it there, or what it is about. -->\n\n"

Json = dict[str, Any]

# What values of these types are called.
WORDS: Mapping[str, Any] = {
    "quantity": policy_document.Amount,
    "label key": policy_document.LabelKey,
    "label value": policy_document.LabelValue,
    "label value, not empty": policy_document.DeviceValue,
    "name of a device": policy_document.DeviceName,
    "name": policy_document.ObjectName,
    "namespace, or a glob of them": policy_document.NamespacePattern,
    "line of text": policy_document.Contact,
    "alias": policy_document.Alias,
    "seconds": policy_document.Seconds,
}


def policy_page() -> str:
    """The fields of a policy, a table for each mapping, from the models that its JSON Schema is made of."""
    schema = policy_document.json_schema()
    lines = [
        "# Policy reference",
        "",
        MADE.strip(),
        "",
        "Every field of a TaskResourcePolicy, from the same source as its JSON Schema, `webhook/policy.schema.json`. A",
        "field that accepts `null` lifts with it what a broader policy says. How policies are merged is in",
        "[Policies](policies.md), what they do in [How a value is decided](how-a-value-is-decided.md) and",
        "[Scheduling](scheduling.md).",
    ]
    for title, definition in _mappings(schema):
        required = set(definition.get("required", ()))
        lines += ["", f"## {title}", "", definition["description"], "", "| field | value | |", "|---|---|---|"]
        for name, field in definition["properties"].items():
            note = "Required. " * (name in required) + field.get("description", "")
            lines.append(f"| `{name}` | {_value(schema, field)} | {note.strip()} |")
    return "\n".join(lines) + "\n"


def _mappings(schema: Json) -> Iterator[tuple[str, Json]]:
    """Each kind of mapping once, in the order in which a reader meets it."""
    waiting: list[Json] = [schema]
    seen: set[str] = set()
    while waiting:
        definition = waiting.pop(0)
        title = _title(schema, definition)
        if title not in seen:
            seen.add(title)
            yield title, definition
            inner = [_resolved(schema, reference) for reference in _references(definition["properties"])]
            waiting = inner + waiting


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def _resolved(schema: Json, reference: str) -> Json:
    found: Json = schema["$defs"][reference.rpartition("/")[2]]
    return found


def _title(schema: Json, definition: Json) -> str:
    name = next((name for name, other in schema["$defs"].items() if other is definition), "TaskResourcePolicy")
    return name.removesuffix("Fields")


def _value(schema: Json, field: Json) -> str:
    """What a field accepts, in words."""
    if "$ref" in field:
        title = _title(schema, _resolved(schema, field["$ref"]))
        return f"[{title}](#{title.lower()})"
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{word}`" for word in field["enum"])
    leaf = {key: value for key, value in field.items() if key != "description"}
    for word, leaf_schema in LEAVES.items():
        if leaf == leaf_schema:
            return word
    choices = field.get("anyOf") or field.get("oneOf")
    if choices:
        return " or ".join(_value(schema, choice) for choice in choices)
    inner = field.get("additionalProperties") or next(iter(field.get("patternProperties", {}).values()), None)
    if inner:
        return _of("map", _value(schema, inner))
    if "items" in field:
        return _of("list", _value(schema, field["items"]))
    return {"null": "`null`", "string": "text"}[field["type"]]


def _of(collection: str, inner: str) -> str:
    return f"{collection} of ({inner})" if " or " in inner else f"{collection} of {inner}"


def _leaf(type_: Any) -> Json:
    found: Json = TypeAdapter(type_).json_schema()
    return {key: value for key, value in found.items() if key not in ("description", "title")}


LEAVES = {word: _leaf(type_) for word, type_ in WORDS.items()}


def command_line_page() -> str:
    """Every command with its options, from the program itself."""
    lines = [
        "# Command line reference",
        "",
        MADE.strip(),
        "",
        "Every option of every command, as `--help` has it. What the commands are for is in",
        "[The command line](cli.md).",
    ]
    context = click.Context(main, info_name="task-resources", **main.context_settings)
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        lines += _command_lines(command, f"task-resources {name}", context)
    return "\n".join(lines) + "\n"


def _command_lines(command: click.Command, path: str, parent: click.Context) -> list[str]:
    prefix = command.context_settings.get("auto_envvar_prefix")
    context = click.Context(command, parent, info_name=path, auto_envvar_prefix=prefix)
    if isinstance(command, click.Group):
        commands = {name: command.get_command(context, name) for name in command.list_commands(context)}
        return [
            line for name, each in commands.items() if each for line in _command_lines(each, f"{path} {name}", context)
        ]
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    return [
        "",
        f"## {path.removeprefix('task-resources ')}",
        "",
        f"`{path} {' '.join(command.collect_usage_pieces(context))}`",
        "",
        *inspect.cleandoc(command.help or "").split("\n"),
        "",
        "| option | default | environment | |",
        "|---|---|---|---|",
        *(_option_row(option, context) for option in options),
    ]


def _option_row(option: click.Option, context: click.Context) -> str:
    names = ", ".join(f"`{name}`" for name in option.opts)
    value = "" if option.is_flag else f" `{option.make_metavar(context)}`"
    default = f"`{option.default}`" if isinstance(option.default, str | int | float) and not option.is_flag else ""
    variable = option.envvar
    if variable is None and context.auto_envvar_prefix:
        variable = f"{context.auto_envvar_prefix}_{(option.name or '').upper()}"
    cells = (names + value, default, f"`{variable}`" if variable else "", option.help or "")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def metrics_page() -> str:
    """Every metric with its type, labels and meaning, from a server's own."""
    lines = [
        "# Metrics",
        "",
        MADE.strip(),
        "",
        "On the management port at `/metrics`, in the form that Prometheus scrapes. Dry runs count in",
        "`task_resources_reviews_total` only. Those of namespaces are there with `serve --namespaces cluster`. Beside",
        "these there are the process's own (`process_…`). With `serve --metrics-by-project`, changes, capacity and",
        "denials have a label `project`, too.",
        "",
        "Each resource that a policy in force names, and each project that a policy is for, has series of its own. Of",
        "all other names, which pods and namespaces may invent, the first ones have series, too, at most",
        f"{MOST_RESOURCES} resources and {MOST_PROJECTS:,} projects. Every later one counts as `other` until a",
        "policy names it or the server starts anew, and so does a name that is longer than Kubernetes allows.",
        "",
        "| metric | type | labels | |",
        "|---|---|---|---|",
    ]
    metrics = Metrics()
    metrics.namespaces = NamespaceCounts()
    metrics.connections = [Connections("reviews", 1)]
    for family in metrics.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = ", ".join(getattr(family, "_labelnames", ()))
        lines.append(f"| `{name}` | {family.type} | {labels} | {family.documentation} |")
    return "\n".join(lines) + "\n"


def chart_page() -> str:
    """The chart's README: what is written by hand, then a table of its values."""
    by_hand = (CHART / "README.md").read_text().partition(MADE)[0]
    rows = [f"| `{'.'.join(path)}` | `{json.dumps(default)}` | {text} |" for path, default, text in chart_values()]
    return f"{by_hand}{MADE}" + "\n".join(["| value | default | |", "|---|---|---|", *rows]) + "\n"


def chart_schema() -> str:
    """values.schema.json, whose descriptions are the texts of values.yaml."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    for path, _, text in chart_values():
        *parents, name = path
        properties = schema["properties"]
        for parent in parents:
            properties = properties[parent]["properties"]
        properties[name] = {"description": text} | properties[name] | {"description": text}
    return json.dumps(schema, indent=2) + "\n"


def chart_values() -> Iterator[tuple[tuple[str, ...], Any, str]]:
    """The path, default and text of each value that has a comment `# -- …` above it, and may not be without."""
    text = (CHART / "values.yaml").read_text()
    return _values(yaml.compose(text), text.splitlines(), ())


def _values(
    node: yaml.Node | None, lines: Sequence[str], path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Any, str]]:
    assert isinstance(node, yaml.MappingNode), f"values.yaml: no comment `# --` above {'.'.join(path)}"
    for key, value in node.value:
        comment = re.search(r"# -- ((?:.|\n *# )*)\Z", "\n".join(lines[: key.start_mark.line]))
        if comment:
            yield (*path, key.value), _plain(value), re.sub(r"\n *# ", " ", comment[1])
        else:
            yield from _values(value, lines, (*path, key.value))


def _plain(node: yaml.Node) -> Any:
    return yaml.SafeLoader("").construct_document(node)


PAGES: Mapping[str, Callable[[], str]] = {
    "docs/policy-reference.md": policy_page,
    "docs/cli-reference.md": command_line_page,
    "docs/metrics.md": metrics_page,
    "charts/task-resource-webhook/README.md": chart_page,
    "charts/task-resource-webhook/values.schema.json": chart_schema,
}


def write(names: Sequence[str] = tuple(PAGES)) -> None:
    for name in names:
        (ROOT / name).write_text(PAGES[name]())


if __name__ == "__main__":
    write(sys.argv[1:] or tuple(PAGES))
