"""What is stored when a pod is created in a namespace that opted in."""

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.pods import LIMITS, PRIMARY_CONTAINER, REQUESTS, annotations, container, pod, resources, sidecar
from tests.e2e.registration import MUTATING

pytestmark = pytest.mark.e2e


def test_flytes_example_gets_the_four_cores_that_the_platform_allows(cluster: Cluster) -> None:
    task = container(requests={"cpu": "1", "memory": "200Mi"}, limits={"cpu": "2", "memory": "350Mi"})
    stored = cluster.created(cluster.namespace(), pod(task, annotations={LIMITS: "cpu=6,memory=500Mi"}))
    assert resources(stored) == {
        "main": {"requests": {"cpu": "1", "memory": "200Mi"}, "limits": {"cpu": "4", "memory": "500Mi"}}
    }


def test_a_pod_that_says_nothing_gets_the_default_requests_and_the_maxima_as_limits(cluster: Cluster) -> None:
    stored = cluster.created(cluster.namespace(), pod())
    assert resources(stored) == {
        "main": {"requests": {"cpu": "500m", "memory": "500Mi"}, "limits": {"cpu": "4", "memory": "8Gi"}}
    }


def test_requests_that_the_api_server_copied_from_limits_are_lowered_with_them(cluster: Cluster) -> None:
    stored = cluster.created(cluster.namespace(), pod(container(limits={"cpu": "16", "memory": "1Gi"})))
    assert resources(stored) == {
        "main": {"requests": {"cpu": "4", "memory": "1Gi"}, "limits": {"cpu": "4", "memory": "1Gi"}}
    }
    assert stored["status"]["qosClass"] == "Guaranteed"


def test_an_annotation_speaks_for_the_primary_container_or_for_the_one_it_names(cluster: Cluster) -> None:
    asked = {
        PRIMARY_CONTAINER: "task",
        REQUESTS: "cpu=1500m",
        LIMITS: "mem=1Gi",
        "limits.task-resources.io/logs": "cpu=200m,memory=64Mi",
    }
    stored = cluster.created(cluster.namespace(), pod(container("logs"), container("task"), annotations=asked))
    assert resources(stored) == {
        "logs": {"requests": {"cpu": "200m", "memory": "64Mi"}, "limits": {"cpu": "200m", "memory": "64Mi"}},
        "task": {"requests": {"cpu": "1500m", "memory": "1Gi"}, "limits": {"cpu": "4", "memory": "1Gi"}},
    }


def test_init_containers_and_sidecars_are_bounded_like_every_other_container(cluster: Cluster) -> None:
    init = [
        container("setup", requests={"cpu": "2", "memory": "1Gi"}, limits={"cpu": "9", "memory": "90Gi"}),
        sidecar("proxy", requests={"cpu": "100m", "memory": "9Gi"}),
    ]
    main = container(requests={"cpu": "1", "memory": "1Gi"}, limits={"cpu": "1", "memory": "1Gi"})
    stored = cluster.created(cluster.namespace(), pod(main, init=init))
    assert resources(stored) == {
        "main": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
        "setup": {"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"cpu": "4", "memory": "8Gi"}},
        "proxy": {"requests": {"cpu": "100m", "memory": "8Gi"}, "limits": {"cpu": "4", "memory": "8Gi"}},
    }


def test_a_sidecar_without_resources_is_limited_and_reserves_nothing(cluster: Cluster) -> None:
    stored = cluster.created(cluster.namespace(), pod(init=[sidecar("proxy")]))
    assert resources(stored)["proxy"] == {
        "requests": {"cpu": "0", "memory": "0"},
        "limits": {"cpu": "4", "memory": "8Gi"},
    }


def test_storage_is_bounded_where_a_policy_says_so(cluster: Cluster) -> None:
    given = {"cpu": "1", "memory": "1Gi"}
    unlimited = container("logs", limits=given)
    stored = cluster.created(
        cluster.namespace("storage"), pod(container(limits={**given, "ephemeral-storage": "1Ti"}), unlimited)
    )
    storage = {name: amounts["limits"]["ephemeral-storage"] for name, amounts in resources(stored).items()}
    assert storage == {"main": "20Gi", "logs": "20Gi"}


def test_the_total_of_all_containers_stays_within_what_a_pod_may_have(cluster: Cluster) -> None:
    amounts = {"cpu": "3", "memory": "4Gi"}
    main, helper = container("main", limits=amounts), container("helper", limits=amounts)
    init = [sidecar("proxy", limits={"cpu": "1", "memory": "2Gi"})]
    asked = {PRIMARY_CONTAINER: "main"}
    stored = cluster.created(cluster.namespace("total"), pod(main, helper, init=init, annotations=asked))
    lowered = {"cpu": "2", "memory": "2Gi"}
    assert resources(stored)["main"] == {"limits": lowered, "requests": lowered}
    assert resources(stored)["helper"] == {"limits": amounts, "requests": amounts}


def test_a_gpu_may_be_asked_for_by_its_short_name(cluster: Cluster) -> None:
    task = pod(container(limits={"gpu": "1"}))
    outside = cluster.create(cluster.namespace(labels={}), task)
    assert outside.status == 422
    assert "gpu" in outside.message
    amounts = resources(cluster.created(cluster.namespace(), task))["main"]
    assert amounts["limits"] == {"nvidia.com/gpu": "1", "cpu": "4", "memory": "8Gi"}
    assert amounts["requests"] == {"nvidia.com/gpu": "1", "cpu": "500m", "memory": "500Mi"}


def test_more_gpus_than_allowed_become_as_many_as_allowed(cluster: Cluster) -> None:
    stored = cluster.created(cluster.namespace(), pod(annotations={LIMITS: "gpu=8"}))
    amounts = resources(stored)["main"]
    assert amounts["limits"]["nvidia.com/gpu"] == amounts["requests"]["nvidia.com/gpu"] == "1"


def test_resources_of_the_pod_level_are_bounded_and_containers_kept_within_them(cluster: Cluster) -> None:
    level = {"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"cpu": "32", "memory": "64Gi"}}
    main = container(requests={"cpu": "1"}, limits={"cpu": "20"})
    stored = cluster.created(cluster.namespace("total"), pod(main, resources=level))
    assert resources(stored)["pod"] == {
        "requests": {"cpu": "2", "memory": "1Gi"},
        "limits": {"cpu": "6", "memory": "8Gi"},
    }
    assert resources(stored)["main"] == {"requests": {"cpu": "1"}, "limits": {"cpu": "4"}}


def test_limits_alone_at_the_pod_level_are_bounded_with_the_requests_that_follow_from_them(cluster: Cluster) -> None:
    level = {"limits": {"cpu": "32", "memory": "64Gi"}}
    stored = cluster.created(cluster.namespace("total"), pod(container(requests={"cpu": "1"}), resources=level))
    assert resources(stored)["pod"] == {
        "requests": {"cpu": "1", "memory": "8Gi"},  # cpu from the containers, memory from the pod's limit
        "limits": {"cpu": "6", "memory": "8Gi"},
    }


def test_an_annotation_that_cannot_be_used_refuses_the_pod_and_says_what_can(cluster: Cluster) -> None:
    answer = cluster.create(cluster.namespace(), pod(annotations={LIMITS: "cpu=lots"}))
    assert answer.status == 422
    assert answer.message.startswith('admission webhook "mutate.task-resources.io" denied the request: ')
    assert LIMITS in answer.message
    assert "lots" in answer.message


def test_a_primary_container_that_does_not_exist_refuses_the_pod(cluster: Cluster) -> None:
    answer = cluster.create(cluster.namespace(), pod(annotations={PRIMARY_CONTAINER: "nobody"}))
    assert answer.status == 422
    assert "nobody" in answer.message


def test_the_primary_container_is_written_down_on_the_pod(cluster: Cluster) -> None:
    stored = cluster.created(cluster.namespace(), pod(container("logs"), container("primary")))
    assert annotations(stored)[PRIMARY_CONTAINER] == "primary"


def test_a_name_that_the_api_server_generates_later_is_no_obstacle(cluster: Cluster) -> None:
    task = pod(container(limits={"cpu": "9"}))
    task["metadata"] = {"generateName": "task-"}
    stored = cluster.created(cluster.namespace(), task)
    assert stored["metadata"]["name"].startswith("task-")
    assert resources(stored)["main"]["limits"]["cpu"] == "4"


def test_devices_that_are_claimed_are_refused_where_the_policy_says_so(cluster: Cluster) -> None:
    claims = [{"name": "gpu", "resourceClaimTemplateName": "one-gpu"}]
    by_claim = pod({**container(), "resources": {"claims": [{"name": "gpu"}]}}, resourceClaims=claims)
    by_class = pod(container(limits={"deviceclass.resource.kubernetes.io/gpu": "1"}))
    for task in (by_claim, by_class):
        answer = cluster.create(cluster.namespace("unclaimed"), task)
        assert answer.status == 422
        for part in (MUTATING, "claims may not be used", "policy unclaimed"):
            assert part in answer.message
        assert cluster.try_out(cluster.namespace(), task).status == 201
