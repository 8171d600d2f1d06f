"""The format of a TaskResourcePolicy: its fields, and what each of them accepts.

Text comes in from `sources`, already parsed. Rules across fields and documents are in `policy_checks`.
The published JSON Schema (`webhook/policy.schema.json`) is generated from the models here.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    Tag,
    ValidationError,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError, core_schema

from webhook.effective import MissingLimit, Mode, OnExceed, ResourceClaims
from webhook.label_selector import LabelSelector, Operator, Requirement
from webhook.pod import NodeRequirement, Toleration
from webhook.printable import shown
from webhook.quantity import InvalidQuantity, Quantity, parse_strict_quantity
from webhook.resource_names import HUGEPAGES, is_qualified_name
from webhook.scheduling_rules import Reserved

API_VERSION = "task-resources.io/v1alpha1"
KIND = "TaskResourcePolicy"

# More are counted, not kept: nobody reads so many, and a file of 64 MiB has room for millions.
MOST_ERRORS = 1000
# The longest message of ours has some 300 characters, the longest path of a field some 100.
MESSAGE_CHARACTERS, PATH_CHARACTERS, FILE_CHARACTERS = 600, 400, 1000

T = TypeVar("T")
Path = tuple[str | int, ...]
JsonSchema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PolicyError:
    """One thing wrong with a policy. `line` is 0 where it is the file as a whole, `path` empty for a document.

    Whatever the file says, each of them is short and on one line, and has nothing in it for a terminal to do.
    """

    file: str
    line: int
    path: str
    message: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "file", shown(self.file, FILE_CHARACTERS))
        object.__setattr__(self, "path", shown(self.path, PATH_CHARACTERS))
        object.__setattr__(self, "message", shown(self.message, MESSAGE_CHARACTERS))

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"


class InvalidPolicies(ValueError):
    """The set cannot be used; `errors` are what is wrong with it, by file and line, a thousand at most.

    `more`: how many there are at least beside these.
    """

    def __init__(self, errors: Iterable[PolicyError], more: int = 0) -> None:
        found = sorted(errors, key=lambda error: (error.file, error.line, error.path, error.message))
        self.errors = tuple(found[:MOST_ERRORS])
        self.more = more + len(found) - len(self.errors)
        super().__init__("\n".join(self.lines()))

    def lines(self) -> list[str]:
        """What to print: a line an error, and how many more there are."""
        rest = [f"and at least {self.more} more: mend these first"] if self.more else []
        return [*map(str, self.errors), *rest]


class Bare(str):
    """A scalar without quotes that YAML 1.1 takes for something other than text; `kind` is that in words.

    Quantities are read from the text, so that no float ever appears, and `mode: Off` is a word, not a boolean.
    """

    __slots__ = ("kind",)
    kind: str

    def __new__(cls, text: str, kind: str) -> "Bare":
        bare = super().__new__(cls, text)
        bare.kind = kind
        return bare


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document: mappings, lists, text, `Bare` and None. `lines` has the line of every path in it."""

    file: str
    line: int
    data: object
    lines: Mapping[Path, int] = field(default_factory=dict)

    def line_of(self, path: Path) -> int:
        """The line of the value, or of the nearest thing around it that is there."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, self.line)

    def error(self, path: Path, message: str) -> PolicyError:
        return PolicyError(self.file, self.line_of(path), path_text(path), message)


def path_text(path: Path) -> str:
    """`spec.container.max[nvidia.com/gpu]`, `spec.scheduling.resources[0].alias`."""
    text = ""
    for key in path:
        part = shown(key) if isinstance(key, str) else key
        is_plain = isinstance(part, str) and part and not set("./*[] ") & set(part)
        text += f".{part}" if is_plain else f"[{part}]"
    return text.removeprefix(".")


# What a value may be. Each checks one thing and says what is accepted.


def refusal(message: str) -> PydanticCustomError:
    # Braces would be taken for a template of pydantic's.
    return PydanticCustomError("policy", "{message}", {"message": message})


def _not_null(value: object) -> object:
    if value is None:
        raise refusal("null is accepted for single values only: leave the key out, or write null for each value")
    return value


def _text(value: object) -> str:
    if isinstance(value, Bare):
        raise refusal(f"{shown(value)} is {value.kind} in YAML and text is expected: put it in quotes")
    if not isinstance(value, str):
        raise refusal(f"{_shape(value)} is not text")
    return value


def word(value: object) -> object:
    return str(value) if isinstance(value, Bare) else value


def _shape(value: object) -> str:
    match value:
        case None:
            return "null"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case str():
            return f'"{shown(value)}"'
        case _:
            return type(value).__name__


def _amount(value: object) -> Quantity:
    if not isinstance(value, str):
        raise refusal(f"{_shape(value)} is not a quantity: use a number with a suffix, such as 500m, 2 or 4Gi")
    if isinstance(value, Bare) and len(value) > 1 and value[0] == "0" and value.isdigit():
        raise refusal(f"{shown(value)} is an octal number in YAML: write it without the leading zero")
    try:
        return parse_strict_quantity(str(value))
    except InvalidQuantity as error:
        raise refusal(str(error)) from error


_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_LABEL_VALUE = r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"
_LABEL_KEY = rf"({_SUBDOMAIN}/)?{_LABEL_VALUE}"
_NAMESPACE = r"[a-z0-9*]([-a-z0-9*]*[a-z0-9*])?"
_QUANTITY = r"(?=\.?[0-9])[0-9]*(\.[0-9]*)?([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?"


def matching(pattern: str, longest: int, what: str) -> Callable[[str], str]:
    compiled = re.compile(pattern, re.ASCII)

    def check(text: str) -> str:
        if len(text) > longest or not compiled.fullmatch(text):
            raise refusal(f'"{shown(text)}" is no {what}')
        return text

    return check


def _label_key(key: str) -> str:
    if not is_qualified_name(key):
        raise refusal(f'"{shown(key)}" is no label key: use a name such as team or example.com/team')
    return key


def _schema(pattern: str, longest: int) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^(?:{pattern})$", "maxLength": longest})


Text = Annotated[str, BeforeValidator(_text)]
ObjectName = Annotated[
    Text,
    AfterValidator(matching(_SUBDOMAIN, 253, "name: use lower-case letters, digits, - and ., at most 253 (RFC 1123)")),
    _schema(_SUBDOMAIN, 253),
]
ProjectName = Annotated[
    Text,
    AfterValidator(
        matching(
            _LABEL_VALUE,
            63,
            "name of a project or domain: use letters, digits, -, _ and ., at most 63; "
            "globs are accepted in namespace only",
        )
    ),
    _schema(_LABEL_VALUE, 63),
]
NamespacePattern = Annotated[
    Text,
    AfterValidator(
        matching(
            _NAMESPACE, 63, "namespace or glob: use lower-case letters, digits and -, and * for any text, at most 63"
        )
    ),
    _schema(_NAMESPACE, 63),
]
LabelKey = Annotated[
    Text, AfterValidator(_label_key), WithJsonSchema({"type": "string", "pattern": f"^(?:{_LABEL_KEY})$"})
]
LabelValue = Annotated[
    Text,
    AfterValidator(
        matching(f"({_LABEL_VALUE})?", 63, "label value: use letters, digits, -, _ and ., at most 63 characters")
    ),
    _schema(f"({_LABEL_VALUE})?", 63),
]
# A device or a part of one is something: its label has a value.
DeviceValue = Annotated[
    Text,
    AfterValidator(
        matching(_LABEL_VALUE, 63, "value of a label on nodes: use letters, digits, -, _ and ., at most 63 characters")
    ),
    _schema(_LABEL_VALUE, 63),
]
DeviceName = Annotated[
    Text,
    AfterValidator(matching(r"\S([^\x00-\x1f\x7f]*\S)?", 63, "name: use 1 to 63 characters, no space at the ends")),
    _schema(r"\S([^\x00-\x1f\x7f]*\S)?", 63),
]
Contact = Annotated[
    Text,
    # It goes into denials of at most 900 bytes, with what was asked and what is allowed (E7).
    AfterValidator(
        matching(r"[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*", 200, "contact: use one line of 1 to 200 characters")
    ),
    _schema(r"[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*", 200),
]
Alias = Annotated[
    Text,
    AfterValidator(
        matching(
            rf"(?!(cpu|memory|ephemeral-storage)$|{HUGEPAGES}){_LABEL_VALUE}",
            63,
            "alias: use a short name that is no resource itself, such as gpu",
        )
    ),
    _schema(rf"(?!(cpu|memory|ephemeral-storage)$|{HUGEPAGES}){_LABEL_VALUE}", 63),
]
Amount = Annotated[
    Quantity,
    PlainValidator(_amount),
    WithJsonSchema(
        {
            "description": "A quantity: a number with a suffix, such as 500m, 2 or 4Gi.",
            "anyOf": [
                {"type": "string", "pattern": f"^(?:{_QUANTITY})$", "maxLength": 32},
                {"type": "number", "minimum": 0},
            ],
        }
    ),
]


def _seconds(value: object) -> int:
    if not isinstance(value, Bare) or not re.fullmatch(r"0|[1-9][0-9]{0,17}", value):
        raise refusal(f"{_shape(value)} is not accepted: use whole seconds, 0 or more, without quotes")
    return int(value)


Seconds = Annotated[int, PlainValidator(_seconds), WithJsonSchema({"type": "integer", "minimum": 0})]


class _NotNull:
    """A field that may be left out, but not be null: a forgotten value must not lift a whole map of maxima."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_not_null, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        found = handler(schema)
        accepted: list[JsonSchemaValue] = [choice for choice in found["anyOf"] if choice != {"type": "null"}]
        return accepted[0]


Given = Annotated[T | None, _NotNull()]


# The fields, in Kubernetes' words. A field that accepts null lifts what a broader policy says.


class StrictFields(BaseModel):
    """Fields as a document has them: no others are accepted, and no value is made to fit."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, alias_generator=to_camel)


class MatchExpression(StrictFields):
    """One requirement of a label selector."""

    key: LabelKey
    operator: Annotated[Operator, BeforeValidator(word)]
    values: Given[list[LabelValue]] = None


class PodSelector(StrictFields):
    """Which pods; empty, all of them. The words are those of a Kubernetes LabelSelector."""

    match_labels: Given[dict[LabelKey, LabelValue]] = None
    match_expressions: Given[list[MatchExpression]] = None

    def selector(self) -> LabelSelector:
        labels = [Requirement(key, "In", frozenset({value})) for key, value in (self.match_labels or {}).items()]
        expressions = [
            Requirement(expression.key, expression.operator, frozenset(expression.values or ()))
            for expression in self.match_expressions or ()
        ]
        return LabelSelector(frozenset(labels + expressions))


class ScopeFields(StrictFields):
    """Whom the policy is for; without any field it is the platform's."""

    project: Given[ProjectName] = None
    domain: Given[ProjectName] = None
    namespace: Given[NamespacePattern] = Field(None, description="An exact name, or a glob in which * is any text.")
    pod_selector: Given[PodSelector] = None


AmountMap = Given[dict[Text, Amount | None]]


class ContainerFields(StrictFields):
    """What bounds one container, in the words of a LimitRange."""

    default_request: AmountMap = Field(None, description="The primary container's request where it asks for nothing.")
    default: AmountMap = Field(None, description="The primary container's limit where it asks for nothing.")
    min: AmountMap = Field(None, description="Values of the primary container below it are raised to it.")
    max: AmountMap = Field(
        None, description="No container has more; 0 forbids a device. Keys may be globs (*) for extended resources."
    )


class PodFields(StrictFields):
    """What bounds a pod as a whole."""

    max: AmountMap = Field(None, description="The pod's total, requests and limits by themselves.")
    resource_claims: Annotated[ResourceClaims | None, BeforeValidator(word)] = Field(
        None, description="Whether pods may have DRA claims; Allow by default."
    )


Effect = Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]
NodeOperator = Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]


class TolerationFields(StrictFields):
    """A toleration, in the words of a pod's spec."""

    key: Given[LabelKey] = Field(None, description="The taint's key; without one, every taint (operator Exists).")
    operator: Annotated[Given[Literal["Exists", "Equal"]], BeforeValidator(word)] = Field(
        None, description="Equal by default."
    )
    value: Given[LabelValue] = None
    effect: Annotated[Given[Effect], BeforeValidator(word)] = Field(None, description="Every effect by default.")
    toleration_seconds: Given[Seconds] = Field(None, description="For NoExecute: how long; forever by default.")

    def toleration(self) -> Toleration:
        return Toleration(self.key, self.operator, self.value, self.effect, self.toleration_seconds)


class NodeRequirementFields(StrictFields):
    """A requirement of nodes' labels, in the words of node affinity."""

    key: LabelKey
    operator: Annotated[NodeOperator, BeforeValidator(word)]
    values: Given[list[LabelValue]] = None

    def requirement(self) -> NodeRequirement:
        return NodeRequirement(self.key, self.operator, tuple(self.values) if self.values else None)


class WholeRequirementFields(StrictFields):
    """The same, about the partition's label where it has no key."""

    key: Given[LabelKey] = None
    operator: Annotated[NodeOperator, BeforeValidator(word)]
    values: Given[list[LabelValue]] = None

    def requirement(self) -> NodeRequirement:
        return NodeRequirement(self.key or "", self.operator, tuple(self.values) if self.values else None)


class PlacingFields(StrictFields):
    """Tolerations and labels of nodes."""

    tolerations: list[TolerationFields] | None = Field(
        None, description="Added to pods, but for what they tolerate already; null lifts inherited ones."
    )
    node_selector: Given[dict[LabelKey, LabelValue | None]] = Field(
        None, description="Labels of the nodes; null lifts an inherited one."
    )


class DeviceFields(StrictFields):
    """Which kinds of a device there are, by a label of the nodes."""

    label: LabelKey | None = Field(None, description="The label of nodes that says which device they have.")
    names: Given[dict[DeviceName, DeviceValue | None]] = Field(
        None, description="Names that annotations may use, in any case, for values of the label."
    )
    allowed: list[DeviceName] | None = Field(
        None, description="The devices that may be used, by value or name; every one by default."
    )

    def allowed_values(self) -> tuple[str, ...]:
        """What is allowed as values of the label, as far as the names beside it tell."""
        values = {name.lower(): value for name, value in (self.names or {}).items() if value is not None}
        return tuple(values.get(text.lower(), text) for text in self.allowed or ())


class WholeFields(StrictFields):
    """What a pod gets that wants a whole device."""

    requirement: WholeRequirementFields | None = Field(
        None, description="By default that nodes do not have the partition's label."
    )
    toleration: TolerationFields | None = Field(None, description="Without a key it is about the partition's label.")


class PartitionFields(StrictFields):
    """Which parts of a device there are, by a label of the nodes."""

    label: LabelKey | None = Field(None, description="The label of nodes that says how their devices are partitioned.")
    whole: Given[WholeFields] = None


class ScheduledResource(PlacingFields):
    """What pods get that ask for a resource."""

    resource: Text = Field(
        description="A resource such as nvidia.com/gpu, or a glob of extended resources such as nvidia.com/mig-*."
    )
    alias: Alias | None = Field(None, description="A short name for it, in annotations, pods and policies.")
    reserved: Annotated[Reserved | None, BeforeValidator(word)] = Field(
        None, description="What happens to other pods that tolerate its taints: Off (default), Warn or Deny."
    )
    device: Given[DeviceFields] = None
    partition: Given[PartitionFields] = None


class InterruptibleFields(PlacingFields):
    """What pods get that may be interrupted, and what the others get."""

    requirement: NodeRequirementFields | None = Field(None, description="Required of an interruptible pod's node.")
    otherwise: NodeRequirementFields | None = Field(None, description="Required of any other pod's node.")


class Scheduling(StrictFields):
    """Where pods are scheduled."""

    resources: Given[list[ScheduledResource]] = None
    interruptible: Given[InterruptibleFields] = None
    defaults: Given[PlacingFields] = Field(None, description="For every pod; its own node selector wins.")


def _form(value: object) -> str:
    return _MAP if isinstance(value, dict) else _WORD


_MAP, _WORD = "<by resource>", "<for all>"
MissingLimitWord = Annotated[MissingLimit, BeforeValidator(word)]


class Spec(StrictFields):
    """What the policy says. Fields that are left out say nothing: a broader policy's value counts."""

    scope: Given[ScopeFields] = None
    mode: Annotated[Mode | None, BeforeValidator(word)] = Field(
        None, description="Enforce (default), Warn, Audit or Off."
    )
    on_exceed: Annotated[OnExceed | None, BeforeValidator(word)] = Field(
        None, description="What happens above a maximum: Cap (default) lowers, Deny refuses the pod."
    )
    missing_limit: (
        Annotated[
            Annotated[MissingLimitWord, Tag(_WORD)] | Annotated[dict[Text, MissingLimitWord | None], Tag(_MAP)],
            Discriminator(_form),
        ]
        | None
    ) = Field(None, description="The primary container's limit where it has none; a word, or words by resource.")
    contact: Contact | None = Field(None, description="How to ask for more; denials end with it.")
    container: Given[ContainerFields] = None
    pod: Given[PodFields] = None
    quota: Given[dict[Text, Amount | None]] = Field(
        None, description="The ResourceQuota of the project's namespaces, in the words of its spec.hard."
    )
    scheduling: Given[Scheduling] = None


class Metadata(StrictFields):
    """Labels and annotations are for tools; the webhook reads the name only."""

    name: ObjectName
    labels: Given[dict[Text, Text]] = None
    annotations: Given[dict[Text, Text]] = None


class TaskResourcePolicy(StrictFields):
    """What pods of a project may have, and what they get where they do not say."""

    api_version: Annotated[Literal["task-resources.io/v1alpha1"], BeforeValidator(word)]
    kind: Annotated[Literal["TaskResourcePolicy"], BeforeValidator(word)]
    metadata: Metadata
    spec: Spec


# Reading


def read_document(document: Document) -> tuple[TaskResourcePolicy | None, list[PolicyError]]:
    """The document as far as it can be read, and everything that is wrong with its fields.

    Values that are wrong are left out of what is read, so that rules across fields find their errors, too.
    """
    data = document.data
    if not isinstance(data, dict):
        return None, [document.error((), f"{_shape(data)} is no policy: a {KIND} is a mapping")]
    if data.get("kind", KIND) != KIND:
        return None, [document.error(("kind",), f"{_shape(data['kind'])} is not accepted: use {KIND}")]
    try:
        return TaskResourcePolicy.model_validate(data), []
    except ValidationError as error:
        details = error.errors(include_url=False)
    return _rest(data, details), field_errors(document, details, json_schema())


def field_errors(document: Document, details: Iterable[ErrorDetails], schema: JsonSchema) -> list[PolicyError]:
    """What pydantic found, each with its line and in our own words; `schema` is that of the document's format.

    Of very many no more than what is printed and one that says that there are more.
    """
    return [document.error(_path(detail), _message(detail, schema)) for detail in islice(details, MOST_ERRORS + 1)]


def _rest(data: dict[str, Any], details: list[ErrorDetails]) -> TaskResourcePolicy | None:
    """What is left without the wrong values; None where nothing is."""
    for _ in range(4):
        for detail in details:
            _remove(data, _path(detail), is_missing=detail["type"] == "missing")
        try:
            return TaskResourcePolicy.model_validate(data)
        except ValidationError as error:
            details = error.errors(include_url=False)
    return None


_STAND_INS: Mapping[str | int, Any] = {
    "apiVersion": API_VERSION,
    "kind": KIND,
    "metadata": {"name": "unnamed"},
    "spec": {},
}


def _remove(data: Any, path: Path, *, is_missing: bool) -> None:
    """Takes the value away, or what lacks a required one."""
    if path[0] in _STAND_INS and (len(path) == 1 or path[0] == "metadata"):
        data[path[0]] = _STAND_INS[path[0]]
        return
    *parents, last = path[:-1] if is_missing else path
    for part in parents:
        try:
            data = data[part]
        except (LookupError, TypeError):
            return
    if isinstance(data, list) and isinstance(last, int):
        data.clear()  # what is left of a list may mean something else
    elif isinstance(data, dict):
        data.pop(last, None)


def _path(detail: ErrorDetails) -> Path:
    return tuple(part for part in detail["loc"] if part not in (_MAP, _WORD, "[key]"))


def _message(detail: ErrorDetails, schema: JsonSchema) -> str:
    """The error in our own words, with what is accepted."""
    path, value = _path(detail), detail["input"]
    match detail["type"]:
        case "policy":
            return detail["msg"]
        case "missing":
            return "is required"
        case "extra_forbidden":
            return f"is no field here; accepted: {', '.join(accepted_fields(schema, path[:-1]))}"
        case "literal_error":
            choices = detail["ctx"]["expected"].replace("'", "")
            return f"{_shape(value)} is not accepted: use {choices}"
        case "list_type":
            return f"{_shape(value)} is not accepted: use a list"
        case "dict_type" | "model_type" | "model_attributes_type":
            fields = accepted_fields(schema, path)
            return f"{_shape(value)} is not accepted: use a mapping" + (f" of {', '.join(fields)}" if fields else "")
    return detail["msg"]


def accepted_fields(schema: JsonSchema, path: Path) -> tuple[str, ...]:
    """The names of the fields that stand at a path of a document; none where keys are free."""
    here = schema
    for part in path:
        here = _resolve(schema, here)
        by_key = here.get("additionalProperties") or {}
        here = here.get("items", {}) if isinstance(part, int) else here.get("properties", {}).get(part, by_key)
    return tuple(_resolve(schema, here).get("properties", ()))


def _resolve(schema: JsonSchema, here: JsonSchema) -> JsonSchema:
    """What stands behind a reference, and behind the choice between a value and null."""
    for choice in here.get("anyOf", ()):
        if choice != {"type": "null"}:
            return _resolve(schema, choice)
    name = here.get("$ref", "").rpartition("/")[2]
    found: JsonSchema = schema["$defs"][name] if name else here
    return found


@cache
def json_schema() -> JsonSchema:
    """The JSON Schema of a document. What it cannot say (min at most max) only the loader refuses."""
    return schema_of(TaskResourcePolicy, "policy.schema.json")


def schema_of(model: type[BaseModel], file: str) -> JsonSchema:
    """The JSON Schema of a format, as it is published in that file."""
    schema = model.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["$id"] = f"https://{API_VERSION}/{file}"
    _tidy(schema)
    return schema


def _tidy(schema: Any) -> None:
    """Without titles that repeat names, and without null as the default of fields that do not accept it."""
    if isinstance(schema, list):
        for item in schema:
            _tidy(item)
    elif isinstance(schema, dict):
        if isinstance(schema.get("title"), str):
            del schema["title"]
        if "default" in schema and schema["default"] is None:
            del schema["default"]
        for item in schema.values():
            _tidy(item)


def schema_text() -> str:
    """The published file."""
    return json.dumps(json_schema(), indent=2) + "\n"
