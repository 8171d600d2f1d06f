"""The API as its clients see it: what is asked, what is answered, what is then stored."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal

from kubernetes import client

from tests.e2e.control_plane import ControlPlane
from tests.e2e.pods import LIMITS, pod, resources
from tests.e2e.processes import eventually
from tests.e2e.service import Service

Json = dict[str, Any]

ENFORCED = {"task-resources.io/enforce": "enabled"}

# The scheduler takes a tenth of a second, and a few more where it has to try again.
PLACED_SECONDS = 15.0


@dataclass(frozen=True)
class Answer:
    """What the API server answered: an object or a Status, and the warnings beside it."""

    status: int
    body: Json
    warnings: tuple[str, ...]

    @property
    def message(self) -> str:
        """Why it was refused."""
        assert self.status >= 400, self.body
        return str(self.body["message"])


class Cluster:
    """A control plane whose API server asks the webhook."""

    def __init__(self, plane: ControlPlane, service: Service, api: client.ApiClient) -> None:
        self.plane = plane
        self.service = service
        self.api = api
        # The generated types ask for models; plain objects, which these methods take as well, read like manifests.
        self.core: Any = client.CoreV1Api(api)
        self.apps: Any = client.AppsV1Api(api)
        self.batch: Any = client.BatchV1Api(api)
        self.registry: Any = client.AdmissionregistrationV1Api(api)
        self._numbers = count(1)

    def namespace(self, policy: str = "platform", labels: Json | None = None) -> str:
        """A new namespace under that policy, enforced unless other labels are given."""
        name = f"{policy}-{next(self._numbers)}-development"
        self.core.create_namespace({"metadata": {"name": name, "labels": ENFORCED if labels is None else labels}})
        return name

    def label(self, namespace: str) -> None:
        """Labels a namespace that is there; the API server acts upon it a little later."""
        self.core.patch_namespace(namespace, {"metadata": {"labels": ENFORCED}})

    def opt_in(self, namespace: str) -> None:
        """Labels the namespace, and waits until its pods are reviewed."""
        self.label(namespace)
        unusable = pod(name="probe", annotations={LIMITS: "?"})
        eventually(lambda: self.try_out(namespace, unusable).status == 422, f"the label of {namespace} counts")

    def create(self, namespace: str, task: Json, *, dry_run: bool = False) -> Answer:
        return create(self.api, namespace, task, dry_run=dry_run)

    def try_out(self, namespace: str, task: Json) -> Answer:
        """A creation that is answered like a real one, and not stored."""
        return self.create(namespace, task, dry_run=True)

    def resize(self, namespace: str, name: str, resources: Json) -> Answer:
        """Resizes containers; `resources` by their name, those of the pod level under "pod"."""
        containers = [{"name": key, "resources": value} for key, value in resources.items() if key != "pod"]
        spec = {"containers": containers} | ({"resources": resources["pod"]} if "pod" in resources else {})
        return self.resize_to(namespace, name, spec)

    def resize_to(self, namespace: str, name: str, spec: Json) -> Answer:
        """Resizes by a strategic merge with this spec."""
        return _answer(self.core.patch_namespaced_pod_resize, name, namespace, {"spec": spec})

    def resize_whole(self, namespace: str, name: str, task: Json) -> Answer:
        """Resizes by sending the whole pod."""
        return _answer(self.core.replace_namespaced_pod_resize, name, namespace, task)

    def stored(self, namespace: str, name: str = "task") -> Json:
        """The pod as everybody then sees it."""
        return _answer(self.core.read_namespaced_pod, name, namespace).body

    def pods(self, namespace: str) -> list[Json]:
        items: list[Json] = _answer(self.core.list_namespaced_pod, namespace).body["items"]
        return items

    def started(self, namespace: str, name: str = "task") -> Json:
        """The pod, which is on a node, as a kubelet would have it after it started its containers."""
        statuses = [
            {
                "name": container,
                "image": "registry.example/task",
                "imageID": "",
                "ready": True,
                "started": True,
                "restartCount": 0,
                "state": {"running": {}},
                "resources": amounts,
                "allocatedResources": amounts.get("requests", {}),
            }
            for container, amounts in resources(self.stored(namespace, name)).items()
            if container != "pod"
        ]
        status = {"phase": "Running", "containerStatuses": statuses}
        self.core.patch_namespaced_pod_status(name, namespace, {"status": status})
        return self.stored(namespace, name)

    def node_of(self, namespace: str, name: str = "task") -> str:
        """The node that the scheduler chose for the pod."""
        placed = eventually(
            lambda: self.stored(namespace, name)["spec"].get("nodeName"), f"{name} is on a node", seconds=PLACED_SECONDS
        )
        return str(placed)

    def reason_unplaced(self, namespace: str, name: str = "task") -> str:
        """Why the scheduler found no node for the pod."""

        def reason() -> str | None:
            events = self.core.list_namespaced_event(
                namespace, field_selector=f"reason=FailedScheduling,involvedObject.name={name}"
            ).items
            return events[0].message if events else None

        return eventually(reason, f"an event that says why {name} is on no node")

    def audit_annotations(self, namespace: str) -> dict[str, str]:
        """What the API server's audit log says beside the first creation of a pod in this namespace."""

        def creations() -> list[Json]:
            events = self.plane.audit_events(namespace)
            return [event for event in events if event["verb"] in ("create", "patch")]

        annotations: dict[str, str] = eventually(creations, "an audit event of a creation")[0].get("annotations", {})
        return annotations

    def created(self, namespace: str, task: Json) -> Json:
        """The pod as it is stored after its creation."""
        answer = self.create(namespace, task)
        assert answer.status == 201, answer.body
        return self.stored(namespace, answer.body["metadata"]["name"])


@contextmanager
def connected(
    plane: ControlPlane, user: Literal["admin", "node"] = "admin", connections: int = 8
) -> Iterator[client.ApiClient]:
    """A client of the API server with one pool of keep-alive connections."""
    configuration = client.Configuration(host=plane.url)
    configuration.ssl_ca_cert = str(plane.ca)
    configuration.api_key = {"authorization": f"Bearer {plane.token(user)}"}
    configuration.connection_pool_maxsize = connections
    with client.ApiClient(configuration) as api:
        yield api
        api.rest_client.pool_manager.clear()


def create(api: client.ApiClient, namespace: str, task: Json, *, dry_run: bool = False) -> Answer:
    """Creates a pod as whoever is connected; what is wrong with it is left to the API server."""
    path = f"/api/v1/namespaces/{namespace}/pods{'?dryRun=All' if dry_run else ''}"
    headers = {**api.configuration.api_key, "Content-Type": "application/json"}
    rest: Any = api.rest_client  # the generated method would itself refuse what is no pod
    response = rest.request("POST", api.configuration.host + path, headers=headers, body=task)
    return Answer(response.status, json.loads(response.read()), _warnings(response.headers))


def refusal(answer: Answer) -> Answer | None:
    """The answer, if it is one."""
    return answer if answer.status >= 400 else None


def _answer(method: Any, *arguments: Any, **options: Any) -> Answer:
    try:
        response = method(*arguments, _preload_content=False, **options)
    except client.ApiException as error:
        failed: Any = error  # typed as if a failure might have neither status nor body
        return Answer(failed.status, json.loads(failed.body), _warnings(failed.headers))
    return Answer(response.status, json.loads(response.data), _warnings(response.headers))


def _warnings(headers: Any) -> tuple[str, ...]:
    """The texts of `Warning: 299 - "text"`."""
    return tuple(json.loads(header.encode("latin-1").partition(b" - ")[2]) for header in headers.getlist("Warning"))
