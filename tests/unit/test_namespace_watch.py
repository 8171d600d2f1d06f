"""Namespaces of a cluster, followed by a list and a watch, and looked up one by one (P6, P7)."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from tests.unit.namespace_server import DOMAIN, GONE, PROJECT, NamespaceServer, namespace_server
from webhook.certificates import ensure_certificates
from webhook.metrics import NamespaceCounts
from webhook.policy import EMPTY
from webhook.snapshot import NO_LABELS, Snapshot
from webhook.sources.cluster import PAGE, connect
from webhook.sources.namespace_api import Labels, NamespaceApi, News
from webhook.sources.namespace_watch import LONGEST_PAUSE_SECONDS, STALE_SECONDS, ClusterNamespaces, pauses

SECONDS = 20.0


@pytest.fixture
def server() -> Iterator[NamespaceServer]:
    with namespace_server("a", "b") as started:
        yield started


@dataclass
class Followed:
    """What one replica knows."""

    namespaces: ClusterNamespaces
    labels: dict[str, Labels]
    counts: NamespaceCounts
    forgotten: list[str] = field(default_factory=list)
    clock: list[float] = field(default_factory=lambda: [1000.0])
    monotonic: list[float] = field(default_factory=lambda: [1.0])


def followed(api: client.ApiClient, silence_seconds: float = 60.0) -> Followed:
    labels: dict[str, Labels] = {}
    counts = NamespaceCounts()
    forgotten: list[str] = []
    clock, monotonic = [1000.0], [1.0]
    asking = NamespaceApi(api, silence_seconds=silence_seconds)
    namespaces = ClusterNamespaces(
        asking,
        labels,
        forgotten.append,
        counts,
        shortest_pause_seconds=0.01,
        now=lambda: clock[0],
        monotonic=lambda: monotonic[0],
    )
    return Followed(namespaces, labels, counts, forgotten, clock, monotonic)


def api_of(server: NamespaceServer) -> client.ApiClient:
    return client.ApiClient(client.Configuration(host=server.url))


@asynccontextmanager
async def following(
    server: NamespaceServer, *, silence_seconds: float = 60.0, wait: bool = True
) -> AsyncIterator[Followed]:
    """A replica that follows the server's namespaces, and watches them by now."""
    with api_of(server) as api:
        replica = followed(api, silence_seconds)
        running = asyncio.create_task(replica.namespaces.run())
        try:
            if wait:
                await until(lambda: bool(server.watches()))
            yield replica
        finally:
            running.cancel()
            await asyncio.wait([running])
            api.rest_client.pool_manager.clear()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not holds():  # noqa: ASYNC110 - what it waits for happens in threads
            await asyncio.sleep(0.002)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


def test_namespaces_are_listed_in_pages_and_only_the_two_labels_are_kept(server: NamespaceServer) -> None:
    server.namespaces = {f"n{number}": {"team": "x"} for number in range(PAGE + 1)}
    server.put("n7", project="ml", domain="production")
    server.put("n8", project="")

    async def test() -> None:
        async with following(server) as replica:
            assert replica.labels["n7"] == {PROJECT: "ml", DOMAIN: "production"}
            others = {name: labels for name, labels in replica.labels.items() if name != "n7"}
            assert len(others) == PAGE
            assert all(labels is NO_LABELS for labels in others.values())
        first, second, *_ = server.requests
        assert (first.query, second.query) == ({"limit": "500"}, {"limit": "500", "continue": "500"})

    run(test())


def test_only_metadata_is_asked_for_with_bookmarks_for_five_to_ten_minutes(server: NamespaceServer) -> None:
    async def test() -> None:
        async with following(server) as replica:
            await replica.namespaces.look_up("c")
        listed, watched, looked_up = server.requests
        kind = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"
        assert (listed.accept, watched.accept, looked_up.accept) == (
            kind.format("List"),
            kind.format(""),
            kind.format(""),
        )
        assert 300 <= int(watched.query.pop("timeoutSeconds")) <= 600
        assert watched.query == {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": "1"}

    run(test())


def test_readiness_waits_for_the_last_page_of_the_first_list(server: NamespaceServer) -> None:
    server.set_silent(True)

    async def test() -> None:
        async with following(server, wait=False) as replica:
            await until(lambda: bool(server.lists()))
            assert replica.namespaces.why_not_ready() == "not listed yet: waiting for the API server"
            server.set_silent(False)
            await until(lambda: replica.namespaces.why_not_ready() is None)
            assert (replica.counts.known, replica.counts.lists, replica.counts.last_sync_at) == (2, 1, 1000.0)

    run(test())


def test_what_a_replica_may_not_list_is_said_where_it_is_not_ready(server: NamespaceServer) -> None:
    server.failures = [403] * 1000

    async def test() -> None:
        async with following(server, wait=False) as replica:
            await until(lambda: replica.counts.failures["refused"] > 1)
            assert replica.namespaces.why_not_ready() == "not listed yet: 403: a failure of 403"

    run(test())


def test_new_changed_and_deleted_namespaces_are_heard_of(server: NamespaceServer) -> None:
    async def test() -> None:
        async with following(server) as replica:
            replica.forgotten.clear()
            server.put("a", project="ml")
            server.put("c", domain="staging")
            server.delete("b")
            await until(lambda: "b" not in replica.labels)
            assert replica.labels == {"a": {PROJECT: "ml"}, "c": {DOMAIN: "staging"}}
            assert replica.forgotten == ["a", "c", "b"]
            assert replica.counts.known == 2

    run(test())


def test_what_did_not_change_is_worked_out_no_second_time(server: NamespaceServer) -> None:
    async def test() -> None:
        async with following(server) as replica:
            replica.forgotten.clear()
            server.put("a")
            server.put("b", project="ml")
            await until(lambda: bool(replica.labels["b"]))
            assert replica.forgotten == ["b"]

    run(test())


def test_a_label_counts_for_the_snapshot_in_force_also_after_policies_were_swapped(server: NamespaceServer) -> None:
    async def test() -> None:
        async with following(server) as replica:
            old, new = (Snapshot(EMPTY, namespace_labels=replica.labels, knows_all=False) for _ in range(2))
            assert old.scope("a").project is new.scope("a").project is None
            server.put("a", project="ml")
            await until(lambda: bool(replica.labels["a"]))
            assert old.scope("a").project == new.scope("a").project == "ml"

    run(test())


async def recovers(server: NamespaceServer, replica: Followed) -> None:
    """A change made now arrives."""
    server.put("z", project="after")
    await until(lambda: replica.labels.get("z") == {PROJECT: "after"})


def expired_status(server: NamespaceServer) -> None:
    server.lose_events()
    server.end_watches()


def expired_event(server: NamespaceServer) -> None:
    server.lose_events()
    server.say(json.dumps({"type": "ERROR", "object": GONE}).encode() + b"\n")
    server.end_watches()


@pytest.mark.parametrize("expire", [expired_status, expired_event])
def test_after_410_all_are_listed_again_and_those_that_are_gone_removed(
    server: NamespaceServer, expire: Callable[[NamespaceServer], None]
) -> None:
    async def test() -> None:
        async with following(server) as replica:
            replica.forgotten.clear()
            with server.changed:
                del server.namespaces["b"]
                server.namespaces["c"] = {PROJECT: "ml"}
            expire(server)
            await until(lambda: replica.counts.lists == 2)
            assert replica.labels == {"a": {}, "c": {PROJECT: "ml"}}
            assert sorted(replica.forgotten) == ["b", "c"]
            assert replica.counts.failures["expired"] == 1
            await recovers(server, replica)

    run(test())


def test_a_list_whose_next_page_has_expired_begins_again(server: NamespaceServer) -> None:
    server.namespaces = {f"n{number}": {} for number in range(PAGE + 1)}
    server.failures = [0, 410]

    async def test() -> None:
        async with following(server) as replica:
            assert replica.counts.known == PAGE + 1
            assert len(server.lists()) == 2

    run(test())


def test_a_watch_goes_on_where_the_last_bookmark_was(server: NamespaceServer) -> None:
    async def test() -> None:
        async with following(server) as replica:
            server.bookmark()
            version = str(server.version)
            server.end_watches()
            await until(lambda: len(server.watches()) == 2)
            assert server.watches()[1].query["resourceVersion"] == version
            assert len(server.lists()) == 1
            assert not replica.counts.failures
            await recovers(server, replica)

    run(test())


def test_a_connection_that_breaks_is_replaced_and_nothing_missed(server: NamespaceServer) -> None:
    server.failures = [None, 0, None, 500, 429, 0]

    async def test() -> None:
        async with following(server, wait=False) as replica:
            await until(lambda: replica.counts.failures == {"connection": 2, "refused": 2})
            await recovers(server, replica)
            assert len(server.lists()) == 2

    run(test())


def test_an_api_server_that_is_away_is_found_again() -> None:
    async def test() -> None:
        with ExitStack() as first_life:
            first = first_life.enter_context(namespace_server("a", "b"))
            async with following(first) as replica:
                first_life.close()
                await until(lambda: replica.counts.failures["connection"] > 2)
                with namespace_server("a", port=first.port, oldest_version=7) as second:
                    await recovers(second, replica)
                    # What is gone goes at the end of a list, whose pages are known before.
                    await until(lambda: replica.labels.keys() == {"a", "z"})

    run(test())


def test_a_line_that_makes_no_sense_leads_to_a_new_list(server: NamespaceServer) -> None:
    async def test() -> None:
        async with following(server) as replica:
            server.say(b'{"type": "ADDED", "object": {"metad\n')
            await until(lambda: replica.counts.lists == 2)
            assert replica.counts.failures == {"data": 1}
            await recovers(server, replica)

    run(test())


def test_an_event_in_pieces_is_put_together(server: NamespaceServer) -> None:
    event = json.dumps({"type": "ADDED", "object": {"metadata": {"name": "c", "resourceVersion": "9"}}}).encode()

    async def test() -> None:
        async with following(server) as replica:
            server.say(event[:20])
            server.say(event[20:] + b"\n" + event.replace(b'"c"', b'"d"') + b"\n")
            await until(lambda: {"c", "d"} <= replica.labels.keys())
            assert not replica.counts.failures

    run(test())


def test_a_watch_that_falls_silent_is_given_up(server: NamespaceServer) -> None:
    async def test() -> None:
        async with following(server, silence_seconds=0.05) as replica:
            await until(lambda: len(server.watches()) > 2)
            await recovers(server, replica)
            assert len(server.lists()) == 1

    run(test())


def test_a_watch_that_ends_at_once_counts_as_a_failure(server: NamespaceServer) -> None:
    async def test() -> None:
        async with following(server) as replica:
            server.end_watches()
            await until(lambda: replica.counts.failures["connection"] == 1)
            await recovers(server, replica)

    run(test())


def test_pauses_double_up_to_half_a_minute_and_vary() -> None:
    seconds = list(itertools.islice(pauses(0.5), 12))
    longest = [min(0.5 * 2**number, LONGEST_PAUSE_SECONDS) for number in range(12)]
    assert all(most / 2 <= pause <= most for pause, most in zip(seconds, longest, strict=True))
    assert len(set(seconds)) == 12


def test_a_renewed_token_of_the_service_account_is_shown_at_the_next_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_certificates(tmp_path, ["127.0.0.1"])
    token = tmp_path / "token"
    token.write_text("old\n")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")

    async def test() -> None:
        with namespace_server("a", certificates=tmp_path) as server:
            monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
            server.token = "new"
            with connect(service_account=tmp_path) as api:
                replica = followed(api)
                running = asyncio.create_task(replica.namespaces.run())
                await until(lambda: replica.counts.failures["refused"] > 0)
                assert replica.namespaces.why_not_ready() == "not listed yet: 401: Unauthorized"
                token.write_text("new\n")
                await recovers(server, replica)
                running.cancel()
                await asyncio.wait([running])
                api.rest_client.pool_manager.clear()

    run(test())


@pytest.mark.parametrize("broken", [b"", b"a\nb", b"\xff\xfe\x00"], ids=["empty", "two-lines", "binary"])
def test_a_token_file_that_holds_no_token_is_a_failure_until_it_holds_one_and_is_not_repeated(
    broken: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_certificates(tmp_path, ["127.0.0.1"])
    token = tmp_path / "token"
    token.write_text("sound\n")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")

    async def test() -> None:
        with namespace_server("a", certificates=tmp_path) as server:
            monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
            server.token = "sound"
            with connect(service_account=tmp_path) as api:
                token.write_bytes(broken)
                replica = followed(api)
                running = asyncio.create_task(replica.namespaces.run())
                await until(lambda: replica.counts.failures["connection"] > 0)
                said = replica.namespaces.why_not_ready()
                assert said == f"not listed yet: https://127.0.0.1:{server.port}: OSError: {token} holds no token"
                token.write_text("sound\n")
                await recovers(server, replica)
                running.cancel()
                await asyncio.wait([running])
                api.rest_client.pool_manager.clear()

    run(test())


class BrokenApi(NamespaceApi):
    """What a bug looks like from outside."""

    def pages(self) -> Iterator[News]:
        raise LookupError("this is a bug")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_watch_that_ends_by_a_bug_is_no_watch_to_go_on_with(server: NamespaceServer) -> None:
    async def test() -> None:
        with api_of(server) as api:
            broken = ClusterNamespaces(BrokenApi(api), {}, lambda _: None, NamespaceCounts())
            with pytest.raises(RuntimeError, match="please report it"):
                await broken.run()

    run(test())


def test_a_namespace_that_is_not_known_is_looked_up_once_for_all_who_ask(server: NamespaceServer) -> None:
    async def test() -> None:
        async with following(server) as replica:
            with server.changed:
                server.namespaces["new"] = {PROJECT: "ml"}
            assert await asyncio.gather(*(replica.namespaces.look_up("new") for _ in range(20))) == [None] * 20
            assert replica.labels["new"] == {PROJECT: "ml"}
            assert server.look_ups("new") == 1
            assert replica.counts.look_ups == {"found": 1}

    run(test())


def test_many_pods_of_a_namespace_that_does_not_exist_make_one_request(server: NamespaceServer) -> None:
    async def test() -> None:
        async with following(server) as replica:
            for _ in range(20):
                assert await replica.namespaces.look_up("nowhere") == "the namespace nowhere does not exist"
            assert server.look_ups("nowhere") == 1
            assert "nowhere" not in replica.labels
            server.put("nowhere", project="ml")
            await until(lambda: "nowhere" in replica.labels)

    run(test())


@pytest.mark.parametrize("name", ["", "..", "a/b", "A", "a?watch=true", "a" * 64, "a\n"])
def test_what_can_be_no_namespace_is_not_asked_for(server: NamespaceServer, name: str) -> None:
    async def test() -> None:
        async with following(server) as replica:
            assert await replica.namespaces.look_up(name) == f"the namespace {name} does not exist"
            assert len(server.requests) == 2

    run(test())


def test_who_gives_up_waiting_leaves_the_look_up_to_the_others(server: NamespaceServer) -> None:
    async def test() -> None:
        async with following(server) as replica:
            server.namespaces["new"] = {PROJECT: "ml"}
            server.set_silent(True)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await replica.namespaces.look_up("new")
            waiting = asyncio.create_task(replica.namespaces.look_up("new"))
            await until(lambda: server.look_ups("new") == 1)
            server.set_silent(False)
            assert await waiting is None

    run(test())


def test_what_the_watch_said_meanwhile_counts_more_than_the_look_up(server: NamespaceServer) -> None:
    async def test() -> None:
        async with following(server) as replica:
            server.set_silent(True)
            looking = asyncio.create_task(replica.namespaces.look_up("new"))
            await until(lambda: server.look_ups("new") == 1)
            server.put("new", project="newest")
            await until(lambda: "new" in replica.labels)
            server.namespaces["new"] = {PROJECT: "older"}
            server.set_silent(False)
            assert await looking is None
            assert replica.labels["new"] == {PROJECT: "newest"}

    run(test())


def test_a_look_up_that_fails_says_why(server: NamespaceServer) -> None:
    async def test() -> None:
        async with following(server) as replica:
            server.failures = [500]
            assert await replica.namespaces.look_up("new") == (
                "the namespace new is not known yet and cannot be looked up: 500: a failure of 500"
            )
            assert replica.counts.look_ups == {"error": 1}

    run(test())


def test_a_replica_that_hears_nothing_stays_ready_and_says_since_when(server: NamespaceServer) -> None:
    async def test() -> None:
        async with following(server) as replica:
            assert replica.namespaces.why_stale() is None
            server.failures = [403] * 1000
            server.end_watches()
            await until(lambda: replica.counts.failures["refused"] > 0)
            replica.monotonic[0] += STALE_SECONDS
            assert replica.namespaces.why_not_ready() is None
            assert replica.namespaces.why_stale() == "as they were 180 s ago: 403: a failure of 403"
            server.failures = []
            await recovers(server, replica)
            assert replica.namespaces.why_stale() is None

    run(test())


@pytest.mark.parametrize("jump", [-7200.0, 7200.0], ids=["back", "forward"])
def test_a_clock_that_is_set_makes_nothing_stale_and_hides_no_silence(server: NamespaceServer, jump: float) -> None:
    async def test() -> None:
        async with following(server) as replica:
            replica.clock[0] += jump
            assert replica.namespaces.why_stale() is None
            replica.monotonic[0] += STALE_SECONDS
            assert replica.namespaces.why_stale() == "as they were 180 s ago: the API server says nothing"

    run(test())
