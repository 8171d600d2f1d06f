"""The format of policy tests: pods, and what is expected of them under policies.

The published JSON Schema (`webhook/policy-test.schema.json`) is generated from the models here.
"""

import json
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from webhook.decision import Outcome
from webhook.policy_document import (
    Amount,
    Contact,
    Document,
    Given,
    JsonSchema,
    LabelKey,
    LabelValue,
    NodeRequirementFields,
    Path,
    PolicyError,
    ProjectName,
    StrictFields,
    Text,
    TolerationFields,
    field_errors,
    matching,
    refusal,
    schema_of,
    word,
)

KIND = "TaskResourcePolicyTest"

# One line: it names the test in what is printed.
Name = Contact
NamespaceName = Annotated[
    Text,
    AfterValidator(matching(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", 63, "namespace: use lower-case letters, digits and -")),
]


def _some(found: dict[str, Any]) -> dict[str, Any]:
    if not found:
        raise refusal("is empty: use at least one")
    return found


class AskedFields(StrictFields):
    """What a container, or the pod as a whole, asks for."""

    requests: Given[dict[Text, Amount]] = None
    limits: Given[dict[Text, Amount]] = None


class ContainerFields(AskedFields):
    """A container of a pod in short form."""

    restart_policy: Annotated[Given[Literal["Always"]], BeforeValidator(word)] = Field(
        None, description="Makes an init container a sidecar."
    )


Containers = dict[Text, ContainerFields]


class ShortPod(StrictFields):
    """A pod, as far as policies look at it."""

    labels: Given[dict[LabelKey, LabelValue]] = None
    annotations: Given[dict[Text, Text]] = None
    containers: Annotated[Containers, AfterValidator(_some)] = Field(
        description="Containers by name; {} asks for nothing."
    )
    init_containers: Given[Containers] = Field(None, description="Init containers and sidecars by name.")
    resources: Given[AskedFields] = Field(None, description="What the pod as a whole asks for (pod-level resources).")
    spec: Given[dict[Text, Any]] = Field(None, description="Other fields of the pod's spec, as in a manifest.")


class ExpectedAmounts(StrictFields):
    """Amounts that are compared by value; null is none."""

    requests: Given[dict[Text, Amount | None]] = None
    limits: Given[dict[Text, Amount | None]] = None


class Expected(StrictFields):
    """What is expected. Only what is stated is compared; an empty list or mapping expects none at all."""

    outcome: Annotated[Given[Outcome], BeforeValidator(word)] = Field(
        None, description="What the policies come to; denied and changed in modes Warn and Audit, too."
    )
    denial: Given[Text] = Field(None, description="The pod is denied, and this is part of the message.")
    warnings: Given[list[Text]] = Field(None, description="Each is part of one of the warnings.")
    containers: Given[dict[Text, ExpectedAmounts]] = Field(
        None, description="Resources of containers by name, init containers included."
    )
    resources: Given[ExpectedAmounts] = Field(None, description="Resources of the pod as a whole.")
    tolerations: Given[list[TolerationFields]] = Field(None, description="Each is among the pod's.")
    node_selector: Given[dict[LabelKey, LabelValue | None]] = Field(
        None, description="Labels in the pod's node selector; null is none of that key."
    )
    node_affinity: Given[list[NodeRequirementFields]] = Field(
        None, description="Each is required of nodes by every alternative of the pod's node affinity."
    )


class Case(StrictFields):
    """One pod, where it is created, and what is expected. The pod is one of pod, manifest and file."""

    name: Name
    namespace: Given[NamespaceName] = Field(None, description="By default the object's own, else default.")
    namespace_labels: Given[dict[LabelKey, LabelValue]] = None
    project: Given[ProjectName] = Field(None, description="As the namespace's label would say it.")
    domain: Given[ProjectName] = Field(None, description="As the namespace's label would say it.")
    pod: Given[ShortPod] = None
    manifest: Given[dict[Text, Any]] = Field(
        None, description="A Pod, anything with a pod template, or an AdmissionReview."
    )
    file: Given[Text] = Field(None, description="A file with one of these, relative to this file.")
    expect: Expected


class TaskResourcePolicyTest(StrictFields):
    """Tests of policies."""

    api_version: Annotated[Literal["task-resources.io/v1alpha1"], BeforeValidator(word)]
    kind: Annotated[Literal["TaskResourcePolicyTest"], BeforeValidator(word)]
    policies: Given[list[Text]] = Field(
        None, description="Policy files and folders, relative to this file; --policy replaces them."
    )
    tests: list[Case]


def read_tests(document: Document) -> tuple[TaskResourcePolicyTest | None, list[PolicyError]]:
    """The tests of a document; None, and everything that is wrong with it, where it cannot be used."""
    if not isinstance(document.data, dict):
        return None, [document.error((), f"is no mapping; accepted: a {KIND}")]
    try:
        tests = TaskResourcePolicyTest.model_validate(document.data)
    except ValidationError as error:
        return None, field_errors(document, error.errors(include_url=False), json_schema())
    errors = [document.error(path, message) for path, message in _errors(tests)]
    return (None if errors else tests), errors


def _errors(document: TaskResourcePolicyTest) -> Iterator[tuple[Path, str]]:
    """Rules across fields."""
    if not document.tests:
        yield ("tests",), "there are no tests: use at least one"
    names = Counter(case.name for case in document.tests)
    for index, case in enumerate(document.tests):
        at: Path = ("tests", index)
        if names[case.name] > 1:
            yield (*at, "name"), f'"{case.name}" is the name of {names[case.name]} tests: each has its own'
        given = [field for field in ("pod", "manifest", "file") if getattr(case, field) is not None]
        if len(given) != 1:
            yield at, f"has {' and '.join(given) or 'no pod'}: use one of pod, manifest and file"
        if not case.expect.model_fields_set:
            fields = ", ".join(field.alias or name for name, field in Expected.model_fields.items())
            yield (*at, "expect"), f"expects nothing; accepted: {fields}"


@cache
def json_schema() -> JsonSchema:
    """The JSON Schema of a document with tests."""
    return schema_of(TaskResourcePolicyTest, "policy-test.schema.json")


def schema_text() -> str:
    """The published file."""
    return json.dumps(json_schema(), indent=2) + "\n"
