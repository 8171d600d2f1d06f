"""Policy tests from files and folders of YAML: strict as policies are, with every error of all files at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from webhook.admission import InvalidReview
from webhook.documents import Json, UnusableInput, decoded, read_documents
from webhook.manifests import Reviewable, reviewable
from webhook.policy_document import Bare, Document, InvalidPolicies, PolicyError
from webhook.policy_test_document import AskedFields, Case, ContainerFields, Expected, ShortPod, read_tests
from webhook.projects import labels_saying
from webhook.regular_files import read_file_bytes
from webhook.sources.policy_files import policy_files, read_file


@dataclass(frozen=True, slots=True)
class PolicyTest:
    """One test: the pod, where it is created, and what is expected. `policies` are those that its file names."""

    name: str
    file: str
    line: int
    policies: tuple[Path, ...]
    pod: Reviewable
    namespace_labels: dict[str, str]
    expected: Expected


def load_policy_tests(paths: Sequence[Path]) -> list[PolicyTest]:
    """The tests of files, and of folders' *.yaml, *.yml and *.json, in their order.

    Raises InvalidPolicies with every error of every file.
    """
    errors: list[PolicyError] = []
    tests: list[PolicyTest] = []
    for path in paths:
        documents: list[Document] = []
        before = len(errors)
        try:
            files = policy_files(path)
        except OSError as error:
            errors.append(PolicyError(str(error.filename or path), 0, "", f"cannot be read: {error.strerror}"))
            continue
        for file in files:
            read_file(file, documents, errors, may_be_pipe=True)
        if not documents and len(errors) == before:
            errors.append(PolicyError(str(path), 0, "", "no tests in it"))
        tests += [test for document in documents for test in _tests(document, errors)]
    if errors:
        raise InvalidPolicies(errors)
    return tests


def _tests(document: Document, errors: list[PolicyError]) -> Iterator[PolicyTest]:
    read, found = read_tests(document)
    errors += found
    if read is None:
        return
    folder = Path(document.file).parent
    policies = tuple(folder / path for path in read.policies or ())
    for index, case in enumerate(read.tests):
        try:
            pod = _pod(folder, case)
        except UnusableInput as error:
            source = next(name for name in ("pod", "manifest", "file") if getattr(case, name) is not None)
            errors.append(document.error(("tests", index, source), str(error)))
            continue
        line = document.line_of(("tests", index))
        labels = (case.namespace_labels or {}) | labels_saying(case.project, case.domain)
        yield PolicyTest(case.name, document.file, line, policies, pod, labels, case.expect)


def _pod(folder: Path, case: Case) -> Reviewable:
    """The pod of a test. Raises UnusableInput."""
    if case.file is not None:
        return _pod_of_file(folder / case.file, case.namespace)
    manifest = _plain(case.manifest) if case.manifest is not None else _manifest(case.pod)
    return _reviewable(case.name, manifest, case.namespace)


def _pod_of_file(file: Path, namespace: str | None) -> Reviewable:
    """The one pod, or template of pods, in a file; a Service beside it does not matter. Raises UnusableInput."""
    refused: list[UnusableInput] = []
    try:
        content = read_file_bytes(file)
    except OSError as error:
        raise UnusableInput(f"{file}: cannot be read: {error.strerror}") from error
    objects = [
        _reviewable(str(file), decoded(document), namespace, needs_pod=False)
        for document in read_documents(str(file), content, refused.append)
    ]
    if refused:
        raise refused[0]
    pods = [item for item in objects if item.review is not None]
    if len(pods) != 1:
        raise UnusableInput(f"{file}: has {len(pods)} pods; accepted: one, in a Pod, a template or an AdmissionReview")
    return pods[0]


def _reviewable(source: str, document: Json, namespace: str | None, *, needs_pod: bool = True) -> Reviewable:
    request = document.get("request")
    if namespace is not None and document.get("kind") == "AdmissionReview" and isinstance(request, dict):
        document = {**document, "request": {**request, "namespace": namespace}}
    try:
        item = reviewable(source, document, namespace=namespace)
    except InvalidReview as error:
        raise UnusableInput(f"{source}: {error}") from error
    if needs_pod and item.review is None:
        raise UnusableInput(
            f"{source}: {item.kind} has no pod; accepted: a Pod, anything with a pod template, or an AdmissionReview"
        )
    return item


def _manifest(pod: ShortPod | None) -> Json:
    """A pod in short form as a whole one."""
    assert pod is not None
    metadata = {"name": "task", "labels": pod.labels, "annotations": pod.annotations}
    spec: Json = {**_plain(pod.spec or {}), "containers": _containers(pod.containers)}
    if pod.init_containers is not None:
        spec["initContainers"] = _containers(pod.init_containers)
    if pod.resources is not None:
        spec["resources"] = _resources(pod.resources)
    said = {key: value for key, value in metadata.items() if value is not None}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": said, "spec": spec}


def _containers(containers: dict[str, ContainerFields]) -> list[Json]:
    return [
        {"name": name, "image": "test", "resources": _resources(fields)}
        | ({} if fields.restart_policy is None else {"restartPolicy": fields.restart_policy})
        for name, fields in containers.items()
    ]


def _resources(asked: AskedFields) -> Json:
    sides = (("requests", asked.requests), ("limits", asked.limits))
    return {side: {name: str(amount) for name, amount in amounts.items()} for side, amounts in sides if amounts}


def _plain(value: Any) -> Any:
    """Values as a manifest has them: numbers and booleans where YAML has such."""
    match value:
        case dict():
            return {key: _plain(each) for key, each in value.items()}
        case list():
            return [_plain(each) for each in value]
        case Bare():
            return _scalar(value)
    return value


def _scalar(value: Bare) -> bool | int | float | str:
    if value.kind == "a boolean":
        return value.lower() in ("true", "yes", "on")
    for read in (int, float):
        try:
            return read(value)
        except ValueError:
            continue
    return str(value)
