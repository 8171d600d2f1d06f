"""What happens to pods while the webhook starts, leaves or is away."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tests.e2e.balancer import Address, balancer
from tests.e2e.cluster import Answer, Cluster
from tests.e2e.pods import container, pod, resources
from tests.e2e.processes import eventually, free_ports
from tests.e2e.registration import MUTATING, registered_for
from tests.e2e.service import Service, creation, is_ready, serving

pytestmark = pytest.mark.e2e

Json = dict[str, Any]

GREEDY = pod(container(limits={"cpu": "16", "memory": "1Gi"}))


def test_fail_creates_no_pod_while_the_webhook_is_away(cluster: Cluster) -> None:
    namespace = cluster.namespace(labels={})
    (nobody,) = free_ports(1)
    with registered_for(cluster, namespace, f"https://127.0.0.1:{nobody}", "Fail"):
        refused = eventually(lambda: refusal(cluster.try_out(namespace, GREEDY)), "the API server asks")
        assert refused.status == 500
        assert f'failed calling webhook "{MUTATING}"' in refused.message
        assert cluster.pods(namespace) == []


def refusal(answer: Answer) -> Answer | None:
    return answer if answer.status >= 400 else None


def test_ignore_creates_pods_as_they_come_while_the_webhook_is_away_and_the_audit_log_says_so(cluster: Cluster) -> None:
    namespace = cluster.namespace(labels={})
    (nobody,) = free_ports(1)
    with registered_for(cluster, namespace, f"https://127.0.0.1:{nobody}", "Ignore"):
        eventually(lambda: failed_open(cluster, namespace), "the API server asks")
        stored = cluster.created(namespace, GREEDY)
    assert resources(stored)["main"]["limits"]["cpu"] == "16"


def failed_open(cluster: Cluster, namespace: str) -> bool:
    assert cluster.try_out(namespace, GREEDY).status == 201
    return any(
        key.startswith("failed-open.mutation.webhook.admission.k8s.io/") and webhook == MUTATING
        for event in cluster.plane.audit_events(namespace)
        for key, webhook in event.get("annotations", {}).items()
    )


def test_a_rolling_update_of_two_replicas_fails_no_pod(cluster: Cluster, tmp_path: Path) -> None:
    namespace = cluster.namespace(labels={})
    replicas: list[Service] = []

    def ready() -> list[Address]:
        return [("127.0.0.1", each.port) for each in replicas if is_ready(each.management_url)]

    with balancer(ready) as port, ExitStack() as processes:

        def start() -> None:
            log = tmp_path / f"replica-{len(replicas)}.log"
            replicas.append(processes.enter_context(serving(cluster.service.certificates, log, drain_seconds=0.5)))

        start()
        start()
        with registered_for(cluster, namespace, f"https://127.0.0.1:{port}", "Fail"):
            eventually(lambda: is_bounded(cluster.try_out(namespace, GREEDY)), "the API server asks")
            done, numbers = Event(), count()

            def keep_creating(_: int) -> list[Answer]:
                answers = []
                while not done.is_set():
                    task = {**GREEDY, "metadata": {"name": f"task-{next(numbers)}"}}
                    answers.append(cluster.try_out(namespace, task))
                return answers

            with ThreadPoolExecutor(8) as clients:
                creating = [clients.submit(keep_creating, number) for number in range(8)]
                try:
                    for old in replicas[:2]:
                        start()
                        old.process.terminate()
                        assert old.process.wait(20) == 0
                finally:
                    done.set()
            answers = [answer for each in creating for answer in each.result()]
    assert len(answers) > 100
    assert [answer.body for answer in answers if not is_bounded(answer)] == []


def test_a_replica_that_leaves_answers_on_and_sends_its_callers_elsewhere(cluster: Cluster, tmp_path: Path) -> None:
    with serving(cluster.service.certificates, tmp_path / "leaving.log", drain_seconds=30) as leaving:
        leaving.process.terminate()
        eventually(lambda: not is_ready(leaving.management_url), "the replica is not ready")
        with leaving.client() as client:
            answer = client.post("/mutate", json=creation(GREEDY, "platform-development"))
        assert (answer.status_code, answer.headers["Connection"]) == (200, "close")
        assert answer.json()["response"]["patchType"] == "JSONPatch"
        leaving.process.terminate()  # a second signal ends the draining
        assert leaving.process.wait(20) == 0


def is_bounded(answer: Answer) -> bool:
    return answer.status == 201 and resources(answer.body)["main"]["limits"]["cpu"] == "4"
