"""`task-resources review --cluster`: an API server that gives its lists page by page, or does not."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from click.testing import CliRunner, Result

from tests.http_server import Handler, listening
from webhook.cli.main import main

Json = dict[str, Any]

POLICY = """
apiVersion: task-resources.io/v1alpha1
kind: TaskResourcePolicy
metadata: {name: vision}
spec: {scope: {project: vision}, container: {max: {cpu: "4"}}}
"""


def pod(number: int, namespace: str = "a") -> Json:
    """As the API server lists it: without kind and apiVersion."""
    resources = {"limits": {"cpu": "8"}, "requests": {"cpu": "8"}}
    return {
        "metadata": {"name": f"task-{number}", "namespace": namespace, "uid": str(number)},
        "spec": {"containers": [{"name": "main", "resources": resources}]},
        "status": {"phase": "Running"},
    }


class ApiServer:
    """Lists of objects in pages; `fail` may answer a request with a Status instead."""

    def __init__(self, pods: list[Json]) -> None:
        self.lists: dict[str, tuple[str, list[Json]]] = {
            "/api/v1/namespaces": (
                "PartialObjectMetadataList",
                [
                    {"metadata": {"name": "a", "labels": {"task-resources.io/project": "vision"}}},
                    {"metadata": {"name": "b"}},
                ],
            ),
            "/api/v1/pods": ("PodList", pods),
            "/api/v1/namespaces/b/pods": ("PodList", [each for each in pods if each["metadata"]["namespace"] == "b"]),
        }
        self.fail: Callable[[str, str], Json | None] = lambda *_: None
        self.asked: list[tuple[str, Json]] = []
        self.accepted: set[str] = set()

    def answer(self, path: str, query: Json, accept: str) -> Json:
        self.asked.append((path, query))
        self.accepted.add(accept)
        position = query.get("continue", "")
        refused = self.fail(path, position)
        if refused is not None:
            return refused
        kind, items = self.lists[path]
        if "fieldSelector" in query:
            items = [each for each in items if f"metadata.name={each['metadata']['name']}" == query["fieldSelector"]]
        start = int(position or 0)
        end = start + int(query["limit"])
        metadata = {"continue": str(end), "remainingItemCount": len(items) - end} if end < len(items) else {}
        return {"apiVersion": "v1", "kind": kind, "metadata": metadata, "items": items[start:end]}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    served = ApiServer([*map(pod, range(5)), pod(5, "b")])

    class Requests(Handler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            answer = served.answer(url.path, query, self.headers["Accept"])
            self.answer(answer.get("code", 200), json.dumps(answer).encode())

    with listening(Requests) as port:
        write_kubeconfig(tmp_path, f"http://127.0.0.1:{port}")
        yield served


def write_kubeconfig(folder: Path, url: str) -> None:
    contexts = [{"name": "here", "context": {"cluster": "here", "user": "me"}}]
    clusters, users = [{"name": "here", "cluster": {"server": url}}], [{"name": "me", "user": {}}]
    config = {"apiVersion": "v1", "kind": "Config", "clusters": clusters, "users": users, "contexts": contexts}
    (folder / "config").write_text(yaml.safe_dump(config | {"current-context": "here"}))
    (folder / "policy.yaml").write_text(POLICY)


def run(folder: Path, *arguments: str) -> Result:
    options = ["--policy", str(folder / "policy.yaml"), "--cluster", "--kubeconfig", str(folder / "config")]
    return CliRunner().invoke(main, ["review", *options, *arguments])


def test_all_pages_are_reviewed_by_the_labels_of_their_namespaces(server: ApiServer, tmp_path: Path) -> None:
    result = run(tmp_path, "-o", "json", "--page-size", "2")
    reviews = json.loads(result.stdout)["reviews"]
    assert [(r["source"], r["kind"], r["namespace"], r["name"], r["project"], r["outcome"]) for r in reviews] == [
        *(("cluster", "Pod", "a", f"task-{number}", "vision", "changed") for number in range(5)),
        ("cluster", "Pod", "b", "task-5", None, "unchanged"),
    ]
    assert (result.exit_code, result.stderr) == (0, "")
    assert [query.get("continue") for path, query in server.asked if path == "/api/v1/pods"] == [None, "2", "4"]
    assert {query["limit"] for _, query in server.asked} == {"2"}
    assert "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1" in server.accepted


def test_one_namespace_may_be_chosen(server: ApiServer, tmp_path: Path) -> None:
    result = run(tmp_path, "-o", "json", "--namespace", "b")
    assert [review["name"] for review in json.loads(result.stdout)["reviews"]] == ["task-5"]
    assert server.asked == [
        ("/api/v1/namespaces", {"limit": "500", "fieldSelector": "metadata.name=b"}),
        ("/api/v1/namespaces/b/pods", {"limit": "500"}),
    ]


def test_a_namespace_that_is_not_there_is_an_error(server: ApiServer, tmp_path: Path) -> None:
    result = run(tmp_path, "--namespace", "nowhere")
    assert (result.exit_code, result.stderr) == (2, "Error: the cluster has no namespace nowhere\n")


def status(code: int, message: str, **metadata: Any) -> Json:
    return {"kind": "Status", "status": "Failure", "code": code, "message": message, "metadata": metadata}


def test_a_position_that_has_expired_is_replaced_by_the_one_that_the_answer_names(
    server: ApiServer, tmp_path: Path
) -> None:
    too_old = status(410, "The provided continue parameter is too old", **{"continue": "4"})
    server.fail = lambda _, position: too_old if position == "2" else None
    reviews = json.loads(run(tmp_path, "-o", "json", "--page-size", "2").stdout)["reviews"]
    assert [review["name"] for review in reviews] == ["task-0", "task-1", "task-4", "task-5"]


REFUSALS = [
    ("pods", "/api/v1/pods", "", status(403, 'User "me" cannot list resource "pods"'),
     'list pods: User "me" cannot list resource "pods" (403)'),
    ("namespaces", "/api/v1/namespaces", "", status(403, 'User "me" cannot list resource "namespaces"'),
     'list namespaces: User "me" cannot list resource "namespaces" (403)'),
    ("expired-for-good", "/api/v1/pods", "4", status(410, "too old"), "list pods: too old (410)"),
    ("no-status", "/api/v1/pods", "", {"code": 500}, "list pods: Internal Server Error (500)"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "position", "answer", "message"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS]
)
def test_a_list_that_is_refused_is_a_readable_error_and_what_came_before_stays(
    server: ApiServer, tmp_path: Path, path: str, position: str, answer: Json, message: str
) -> None:
    server.fail = lambda asked, at: answer if (asked, at) == (path, position) else None
    result = run(tmp_path, "-o", "json", "--page-size", "2", "--fail-on", "changed")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {message}")
    assert len(result.stderr.splitlines()) == 1
    assert len(json.loads(result.stdout)["reviews"]) == int(position or 0)


def test_a_cluster_that_does_not_answer_is_a_readable_error(tmp_path: Path) -> None:
    write_kubeconfig(tmp_path, "http://127.0.0.1:1")
    result = run(tmp_path, "--summary")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: list namespaces: no answer of an API server: ")


def test_a_kubeconfig_that_is_not_there_is_a_readable_error(tmp_path: Path) -> None:
    write_kubeconfig(tmp_path, "http://127.0.0.1:1")
    (tmp_path / "config").unlink()
    result = run(tmp_path)
    assert result.exit_code == 2
    assert "accepted: --kubeconfig FILE" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cluster", "pods.json"], "--cluster takes no files"),
        (["--kubeconfig", "x", "pods.json"], "--kubeconfig says how a cluster is asked"),
        (["--context", "x", "pods.json"], "--context says how a cluster is asked"),
        (["--page-size", "5", "pods.json"], "--page-size says how a cluster is asked"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_to_review_is_said_once(tmp_path: Path, arguments: list[str], message: str) -> None:
    write_kubeconfig(tmp_path, "http://127.0.0.1:1")
    result = CliRunner().invoke(main, ["review", "--policy", str(tmp_path / "policy.yaml"), *arguments])
    assert result.exit_code == 2
    assert message in result.stderr
