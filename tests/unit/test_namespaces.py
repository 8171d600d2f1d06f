"""Labels of namespaces from a file (`serve --namespaces FILE`)."""

import json
from pathlib import Path

import pytest

from webhook.policy import EMPTY
from webhook.snapshot import Snapshot
from webhook.sources.namespaces import InvalidNamespaces, load_namespaces

NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a", "labels": {"team": "ml"}}}


def written(folder: Path, text: str) -> Path:
    file = folder / "namespaces.yaml"
    file.write_text(text)
    return file


ACCEPTED = [
    ("a-list-of-kubectl", json.dumps({"kind": "List", "items": [NAMESPACE, {"metadata": {"name": "b"}}]})),
    ("a-typed-list", json.dumps({"kind": "NamespaceList", "items": [NAMESPACE, {"metadata": {"name": "b"}}]})),
    ("documents", "metadata: {name: a, labels: {team: ml}}\n---\nkind: Namespace\nmetadata: {name: b}\n---\n"),
]


@pytest.mark.parametrize("text", [case[1] for case in ACCEPTED], ids=[case[0] for case in ACCEPTED])
def test_namespaces_are_read_as_kubectl_writes_them(text: str, tmp_path: Path) -> None:
    assert load_namespaces(written(tmp_path, text)) == {"a": {"team": "ml"}, "b": {}}


REFUSED = [
    ("another-kind", "kind: Pod\nmetadata: {name: a}", "has a Pod in it; accepted: Namespace objects"),
    ("no-name", "kind: Namespace", "has a Namespace in it; accepted: Namespace objects with metadata.name"),
    ("text", "hello", "has a str in it"),
    ("nothing", "", "has no namespaces in it"),
    ("no-yaml", "{", "is neither YAML nor JSON"),
    ("twice", "metadata: {name: a}\n---\nmetadata: {name: a}", "has the namespace a twice"),
    ("labels", "metadata: {name: a, labels: [x]}", "labels of the namespace a are not a mapping to text"),
    ("label", "metadata: {name: a, labels: {x: 1}}", "labels of the namespace a are not a mapping to text"),
]


@pytest.mark.parametrize(("text", "part"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_is_no_namespace_is_named(text: str, part: str, tmp_path: Path) -> None:
    file = written(tmp_path, text)
    with pytest.raises(InvalidNamespaces) as caught:
        load_namespaces(file)
    assert str(caught.value).startswith(str(file))
    assert part in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidNamespaces, match="cannot be read: No such file or directory"):
        load_namespaces(tmp_path / "nowhere.yaml")


def test_labels_of_the_file_decide_the_project(tmp_path: Path) -> None:
    text = "metadata: {name: team-development, labels: {task-resources.io/project: ml}}"
    scope = Snapshot(EMPTY, namespace_labels=load_namespaces(written(tmp_path, text))).scope("team-development")
    assert (scope.project, scope.domain) == ("ml", "development")


LONG = "k" * 2_000_000
HOSTILE = {
    "kind": f"kind: {LONG}\nmetadata: {{name: a}}",
    "twice": f"metadata: {{name: &a {LONG}}}\n---\nmetadata: {{name: {LONG}}}",
    "labels": f'metadata: {{name: "\\e]0;owned\\a{LONG}", labels: [1]}}',
    "anchor": f"*{LONG}",
    "date": "a: 2001-99-99",
    "items": "kind: List\nitems: 5",
    "nested": "[" * 100_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_an_error_is_short_and_printable_whatever_the_file_says(text: str, tmp_path: Path) -> None:
    file = tmp_path / "namespaces.yaml"
    file.write_text(text)
    with pytest.raises(InvalidNamespaces) as caught:
        load_namespaces(file)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) <= 600
