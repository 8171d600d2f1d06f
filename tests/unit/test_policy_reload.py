"""Policies that change while the server runs (P5): what is seen of their files, and what then is in force."""

import asyncio
import gc
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import pytest

from tests.config_map import write_config_map
from tests.unit.deciding import NAMESPACE, container, pod, review_body
from tests.unit.serving import running, until
from tests.unit.slow_path import slow_path
from webhook.app import Checks, Reviews
from webhook.logs import ReviewLog
from webhook.metrics import Metrics
from webhook.projects import ProjectRule
from webhook.rollout import Rollout
from webhook.snapshot import Snapshot
from webhook.sources.policy_files import InvalidPolicies, load_policies
from webhook.sources.policy_process import (
    LOWEST_PRIORITY,
    OWN_PRIORITY,
    ReadingFailed,
    main,
    policies_from,
    start_reading,
)
from webhook.sources.policy_reload import PolicyReload, signature

EXAMPLES = Path(__file__).parents[2] / "examples"
LABELS = {NAMESPACE: {"task-resources.io/project": "another"}}


def policy(cpu: int, name: str = "a", scope: str = "{}") -> str:
    return (
        f"apiVersion: task-resources.io/v1alpha1\nkind: TaskResourcePolicy\nmetadata: {{name: {name}}}\n"
        f"spec: {{scope: {scope}, container: {{max: {{cpu: {cpu}}}}}}}\n"
    )


ELSEWHERE = "{namespace: elsewhere}"
BROKEN = policy(1).replace("cpu:", "CPU:")


class Reloading:
    """Reviews whose policies are watched, in an event loop of their own."""

    def __init__(self, *paths: Path, **limits: float) -> None:
        seen = signature(paths)
        snapshot = Snapshot(load_policies(paths), ProjectRule(), LABELS, knows_all=False)
        self.reviews = Reviews(snapshot, Metrics(), ReviewLog(io.BytesIO(), "json", "info"))
        count = self.reviews.metrics.count_reload
        rollout = Rollout(self.reviews, 0)
        self.reload = PolicyReload(
            paths, seen, snapshot.policies.hash, rollout.use, count, rollout.expect, retry_seconds=0, **limits
        )

    @property
    def maxima(self) -> dict[str, str]:
        """Of cpu, by policy: what is in force."""
        return {each.name: str(each.maximum["cpu"].value) for each in self.reviews.snapshot.policies.documents}

    @property
    def counted(self) -> tuple[int, int]:
        """Successes and failures."""
        samples = [
            sample
            for family in self.reviews.metrics.collect()
            if family.name == "task_resources_policy_reloads"
            for sample in family.samples
        ]
        by_result = {sample.labels["result"]: int(sample.value) for sample in samples}
        return by_result["success"], by_result["failure"]


@contextmanager
def reloading(*paths: Path, **limits: float) -> Iterator[Reloading]:
    watched = Reloading(*paths, **limits)
    loop = asyncio.new_event_loop()
    task = loop.create_task(watched.reload.run())

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(asyncio.wait([task]))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield watched
        assert not task.done(), task
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()


# How files change


def write_in_place(folder: Path) -> None:
    (folder / "a.yaml").write_text(policy(2))


def write_with_the_same_size_and_time(folder: Path) -> None:
    found = (folder / "a.yaml").stat()
    (folder / "a.yaml").write_text(policy(2))
    os.utime(folder / "a.yaml", ns=(found.st_atime_ns, found.st_mtime_ns))


def rename_over(folder: Path) -> None:
    """As editors save."""
    (folder / ".a.yaml.swp").write_text(policy(2))
    (folder / ".a.yaml.swp").rename(folder / "a.yaml")


def rename_away_first(folder: Path) -> None:
    """As editors save that keep a backup."""
    (folder / "a.yaml").rename(folder / "a.yaml~")
    (folder / "a.yaml").write_text(policy(2))


def add_a_file(folder: Path) -> None:
    (folder / "c.yml").write_text(policy(4, "c", "{domain: development}"))


def remove_a_file(folder: Path) -> None:
    (folder / "b.yaml").unlink()


def add_a_document(folder: Path) -> None:
    with (folder / "b.yaml").open("a") as stream:
        stream.write("---\n" + policy(4, "c", "{domain: development}"))


def replace_the_folder(folder: Path) -> None:
    new = folder.with_name("new")
    new.mkdir()
    (new / "a.yaml").write_text(policy(2))
    folder.rename(folder.with_name("old"))
    new.rename(folder)


CHANGES: list[tuple[Callable[[Path], None], dict[str, str]]] = [
    (write_in_place, {"a": "2", "b": "3"}),
    (write_with_the_same_size_and_time, {"a": "2", "b": "3"}),
    (rename_over, {"a": "2", "b": "3"}),
    (rename_away_first, {"a": "2", "b": "3"}),
    (add_a_file, {"a": "1", "b": "3", "c": "4"}),
    (add_a_document, {"a": "1", "b": "3", "c": "4"}),
    (remove_a_file, {"a": "1"}),
    (replace_the_folder, {"a": "2"}),
]


@pytest.mark.parametrize(("change", "expected"), CHANGES, ids=[change.__name__ for change, _ in CHANGES])
def test_a_change_in_a_folder_comes_into_force(
    tmp_path: Path, change: Callable[[Path], None], expected: dict[str, str]
) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "a.yaml").write_text(policy(1))
    (folder / "b.yaml").write_text(policy(3, "b", ELSEWHERE))
    with reloading(folder) as watched:
        assert watched.maxima == {"a": "1", "b": "3"}
        change(folder)
        until(lambda: watched.maxima == expected)
        until(lambda: watched.counted[0] == 1)
        assert watched.reload.note() is None


@pytest.mark.parametrize("links_first", [False, True], ids=["newer-kubelets", "older-kubelets"])
def test_a_mounted_config_map_is_followed_through_its_swaps(tmp_path: Path, links_first: bool) -> None:
    write_config_map(tmp_path, {"a.yaml": policy(1)})
    with reloading(tmp_path) as watched:
        files = {"a.yaml": policy(2), "b.yaml": policy(3, "b", ELSEWHERE)}
        write_config_map(tmp_path, files, links_first=links_first)
        until(lambda: watched.maxima == {"a": "2", "b": "3"})
        write_config_map(tmp_path, {"c.yaml": policy(4, "c")}, links_first=links_first)
        until(lambda: watched.maxima == {"c": "4"})


def test_a_single_file_of_a_config_map_is_followed_as_well(tmp_path: Path) -> None:
    write_config_map(tmp_path, {"a.yaml": policy(1)})
    with reloading(tmp_path / "a.yaml") as watched:
        write_config_map(tmp_path, {"a.yaml": policy(2)})
        until(lambda: watched.maxima == {"a": "2"})


def test_several_paths_are_watched_and_all_that_is_not_policies_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(policy(1))
    (tmp_path / "b.yaml").write_text(policy(3, "b", ELSEWHERE))
    with reloading(tmp_path / "a.yaml", tmp_path / "b.yaml") as watched:
        first = watched.reviews.snapshot
        assert first.scope(NAMESPACE).project == "another"
        (tmp_path / "b.yaml").write_text(policy(2, "b", ELSEWHERE))
        until(lambda: watched.maxima == {"a": "1", "b": "2"})
        second = watched.reviews.snapshot
        assert (second.projects, second.namespace_labels, second.knows_all) == (first.projects, LABELS, False)


def test_a_touch_counts_as_a_success_and_changes_no_hash(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(policy(1))
    with reloading(tmp_path) as watched:
        before = watched.reviews.snapshot.policies.hash
        os.utime(tmp_path / "a.yaml")
        until(lambda: watched.counted == (1, 0))
        assert watched.reviews.snapshot.policies.hash == before


def test_lines_are_those_of_the_changed_file_even_where_the_policies_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(policy(1))
    with reloading(tmp_path) as watched:
        (tmp_path / "a.yaml").write_text("# who to ask: the platform team\n\n" + policy(1))
        until(lambda: watched.reviews.snapshot.policies.documents[0].line == 3)


# What is wrong with a change


def empty_the_folder(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def remove_the_folder(folder: Path) -> None:
    empty_the_folder(folder)
    folder.rmdir()


def break_the_yaml(folder: Path) -> None:
    (folder / "a.yaml").write_text("spec: [")


def break_a_value(folder: Path) -> None:
    (folder / "a.yaml").write_text(BROKEN)


def empty_the_file(folder: Path) -> None:
    (folder / "a.yaml").write_text("")


def leave_a_dangling_link(folder: Path) -> None:
    (folder / "c.yaml").symlink_to("nowhere.yaml")


def put_a_pipe(folder: Path) -> None:
    (folder / "a.yaml").unlink()
    os.mkfifo(folder / "a.yaml")


def lead_links_in_a_circle(folder: Path) -> None:
    (folder / "c.yaml").symlink_to("c.yaml")


BAD = [
    (put_a_pipe, "a.yaml: cannot be read: it is a pipe (FIFO); accepted: a regular file, or a link to one"),
    (lead_links_in_a_circle, "c.yaml: cannot be read: its links lead in a circle; accepted: a regular file"),
    (empty_the_folder, "no policy files in this folder: use .yaml, .yml, .json"),
    (remove_the_folder, "cannot be read: No such file or directory"),
    (break_the_yaml, "a.yaml:2: is no YAML: while parsing a flow"),
    (break_a_value, 'a.yaml:4: spec.container.max.CPU: "CPU" is no resource (did you mean cpu?)'),
    (empty_the_file, "no policy in it"),
    (leave_a_dangling_link, "c.yaml: cannot be read: No such file or directory"),
]


@pytest.mark.parametrize(("change", "reason"), BAD, ids=[change.__name__ for change, _ in BAD])
def test_a_bad_change_leaves_the_last_good_set_and_says_why_until_it_is_mended(
    tmp_path: Path, change: Callable[[Path], None], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "a.yaml").write_text(policy(1))
    with reloading(folder) as watched, caplog.at_level("INFO", "webhook.sources"):
        before = watched.reviews.snapshot
        change(folder)
        until(lambda: reason in str(watched.reload.note()))
        assert watched.reviews.snapshot is before
        refused = f"policy set {before.policies.hash} stays"
        note = str(watched.reload.note())
        assert note.startswith("the last change was refused at 20")
        assert refused in note
        assert watched.counted == (0, 1)
        folder.mkdir(exist_ok=True)
        for file in folder.iterdir():
            file.unlink()
        (folder / "a.yaml").write_text(policy(2))
        until(lambda: watched.maxima == {"a": "2"})
        until(lambda: watched.reload.note() is None)
    logged = [record.message for record in caplog.records]
    assert [refused in line and reason in line for line in logged] == [True, False]
    assert f"policy set {watched.reviews.snapshot.policies.hash}: 1 policies, read in" in logged[1]


def test_all_errors_of_a_bad_change_are_logged_once_and_one_is_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.yaml").write_text(policy(1))
    with reloading(tmp_path) as watched:
        (tmp_path / "a.yaml").write_text(BROKEN + "---\n" + BROKEN.replace("name: a", "name: B"))
        until(lambda: watched.counted == (0, 1))
        (line,) = [record.getMessage() for record in caplog.records]
        first, *errors = line.splitlines()
        assert first.endswith("stays: 4 errors")
        assert len(errors) == 4
        note = watched.reload.note()
        assert note is not None
        assert note.endswith(f"{errors[0]} (and 3 more, see the log)")
        os.utime(tmp_path / "a.yaml")
        until(lambda: watched.counted == (0, 2))
    assert len(caplog.records) == 1


def test_a_refused_change_is_shown_and_the_server_is_ready_all_the_same() -> None:
    checks = Checks({"serving": lambda: None}, {"policies": lambda: "the last change was refused"})
    assert checks.failed() == {}
    assert checks.lines({}) == ["[+]serving ok", "[+]policies ok: the last change was refused"]
    assert Checks(notes={"policies": lambda: None}).lines({}) == ["[+]policies ok"]


# While it is read


def readers(pid: int) -> list[int]:
    """The processes that it has started to read policies."""
    parts = [part.read_text().split() for part in Path(f"/proc/{pid}/task").glob("*/children")]
    # Not before it is a program of its own: the thread that starts it waits for that.
    return [int(child) for part in parts for child in part if b"policy_process" in _command(int(child))]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


def signal_readers(number: signal.Signals) -> None:
    """To those of this process."""
    for reader in readers(os.getpid()):
        with suppress(ProcessLookupError):
            os.kill(reader, number)


def reader_of(pid: int) -> int:
    """The process that reads policies for it, as soon as there is one."""
    until(lambda: bool(readers(pid)))
    return readers(pid)[0]


def test_what_changes_while_it_is_read_is_read_again_and_never_half_of_it_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.yaml").write_text(policy(1))
    (tmp_path / "b.yaml").write_text(policy(1, "b", ELSEWHERE))
    with reloading(tmp_path) as watched:
        (tmp_path / "a.yaml").write_text(policy(2))
        reader_of(os.getpid())
        (tmp_path / "b.yaml").write_text(policy(2, "b", ELSEWHERE))
        until(lambda: watched.counted[0] > 0)
        assert watched.maxima == {"a": "2", "b": "2"}
        assert watched.counted == (1, 0)
    assert "policy files changed while they were read, and are read again" in caplog.messages


def test_a_reader_that_is_killed_is_a_failure_and_another_one_is_tried(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(policy(1))
    with reloading(tmp_path) as watched:
        (tmp_path / "a.yaml").write_text(policy(2))

        def is_refused() -> bool:
            signal_readers(signal.SIGKILL)
            return "the process that reads policies was ended by signal 9" in str(watched.reload.note())

        until(is_refused)
        assert watched.maxima == {"a": "1"}
        until(lambda: watched.maxima == {"a": "2"})
        until(lambda: watched.reload.note() is None)
        assert watched.counted[1] > 0


def test_a_running_server_decides_by_the_changed_policy_and_shows_a_bad_one(tmp_path: Path) -> None:
    body = review_body(pod(container(limits={"cpu": "8"})))
    with running(tmp_path, "--drain-seconds", "0") as server, server.client() as client:

        def limit() -> str:
            patch = json.loads(b64decode(client.post("/mutate", content=body).json()["response"]["patch"]))
            (limit,) = [each["value"] for each in patch if each["path"] == "/spec/containers/0/resources/limits/cpu"]
            return str(limit)

        assert limit() == "4"
        (tmp_path / "policy.yaml").write_text(policy(2))
        # Not by asking for a review: nobody reads the log line of each.
        until(lambda: 'task_resources_policy_reloads_total{result="success"} 1.0' in server.metrics())
        assert limit() == "2"
        assert server.ready().text == "[+]serving ok\n[+]certificate ok\n[+]policies ok\nreadyz check passed\n"
        (tmp_path / "policy.yaml").write_text(BROKEN)
        until(lambda: "[+]policies ok: the last change was refused at" in server.ready().text)
        assert server.ready().status_code == 200
        assert limit() == "2"


def test_a_server_that_is_stopped_while_policies_are_read_does_not_wait_for_them(tmp_path: Path) -> None:
    with running(tmp_path, "--drain-seconds", "0") as server:
        (tmp_path / "policy.yaml").write_text(policy(2))
        reader = reader_of(server.process.pid)
        os.kill(reader, signal.SIGSTOP)
        assert server.stop() == 0
        assert not Path(f"/proc/{reader}").exists()


# What does not come back, or not in time


def test_while_a_file_system_does_not_answer_the_last_good_set_stays_and_no_more_than_one_thread_waits(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.yaml").write_text(policy(1))
    path = slow_path(tmp_path)
    with reloading(path, answer_seconds=0.1) as watched:
        before = set(threading.enumerate())
        path.answers.clear()
        until(lambda: f"{tmp_path}: no answer within 0.1 s" in str(watched.reload.note()))
        assert (watched.maxima, watched.counted, watched.reviews.awaits_policies) == ({"a": "1"}, (0, 1), False)
        (tmp_path / "a.yaml").write_text(policy(2))
        waited = watched.reload.note()
        until(lambda: set(threading.enumerate()) <= before)
        assert watched.reload.note() == waited
        path.answers.set()
        until(lambda: watched.maxima == {"a": "2"})
        until(lambda: watched.reload.note() is None)
        assert watched.counted == (1, 1)


def test_files_that_come_back_unchanged_are_good_again(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(policy(1))
    path = slow_path(tmp_path)
    with reloading(path, answer_seconds=0.1) as watched:
        path.answers.clear()
        until(lambda: watched.reload.note() is not None)
        path.answers.set()
        until(lambda: watched.reload.note() is None)
        assert watched.counted == (1, 1)


def test_a_change_that_takes_too_long_to_read_counts_as_failed_and_comes_into_force_when_it_can(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.yaml").write_text(policy(1))
    with reloading(tmp_path, change_seconds=0.6) as watched:
        (tmp_path / "a.yaml").write_text(policy(2))

        def is_refused() -> bool:
            signal_readers(signal.SIGSTOP)
            return f"{tmp_path}: changed 0.6 s ago and not read yet, which goes on" in str(watched.reload.note())

        until(is_refused)
        assert (watched.maxima, watched.counted, watched.reviews.awaits_policies) == ({"a": "1"}, (0, 1), False)
        signal_readers(signal.SIGCONT)
        until(lambda: watched.maxima == {"a": "2"})
        until(lambda: watched.reload.note() is None)
        assert watched.counted == (1, 1)


def test_files_that_never_stay_as_they_are_count_as_failed_until_they_do(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(policy(1))
    numbers = count(2)
    with reloading(tmp_path, change_seconds=0.5) as watched:

        def is_refused() -> bool:
            (tmp_path / "a.yaml").write_text(policy(next(numbers)))
            return "not read yet" in str(watched.reload.note())

        until(is_refused)
        (tmp_path / "a.yaml").write_text(policy(9))
        until(lambda: watched.maxima == {"a": "9"})
        until(lambda: watched.reload.note() is None)


def test_a_reader_that_gets_no_time_is_overtaken_by_a_second_one_and_both_end(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(policy(1))
    with reloading(tmp_path) as watched:
        (tmp_path / "a.yaml").write_text(policy(2))
        os.kill(reader_of(os.getpid()), signal.SIGSTOP)
        until(lambda: watched.maxima == {"a": "2"})
        until(lambda: readers(os.getpid()) == [])
        assert watched.counted == (1, 0)


@pytest.mark.parametrize("priority", [LOWEST_PRIORITY, OWN_PRIORITY], ids=["first", "second"])
def test_the_first_reader_gives_way_to_reviews_and_the_second_one_does_not(tmp_path: Path, priority: int) -> None:
    (tmp_path / "a.yaml").write_text(policy(1))
    process = start_reading([tmp_path], priority)
    expected = max(priority, os.getpriority(os.PRIO_PROCESS, 0))
    assert os.getpriority(os.PRIO_PROCESS, process.pid) == expected
    assert len(policies_from(process).documents) == 1


def test_a_reader_that_hangs_is_let_go_when_the_files_change(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(policy(1))
    with reloading(tmp_path) as watched:
        (tmp_path / "a.yaml").write_text(policy(2))
        first = reader_of(os.getpid())
        os.kill(first, signal.SIGSTOP)
        (tmp_path / "a.yaml").write_text(policy(3))
        until(lambda: watched.maxima == {"a": "3"})
        assert first not in readers(os.getpid())
        assert watched.counted == (1, 0)


def test_from_the_moment_a_change_is_seen_until_it_is_read_or_refused_refusals_wait_for_it(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(policy(1))
    with reloading(tmp_path) as watched:
        for text, counted in ((policy(2), (1, 0)), (BROKEN, (1, 1))):
            (tmp_path / "a.yaml").write_text(text)
            until(lambda: watched.reviews.awaits_policies)
            until(lambda counted=counted: watched.counted == counted)  # type: ignore[misc]  # mypy knows no defaults
            assert not watched.reviews.awaits_policies


def test_a_change_that_is_taken_back_is_awaited_no_more(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(policy(1))
    with reloading(tmp_path) as watched:
        (tmp_path / "b.yaml").write_text(BROKEN)
        until(lambda: watched.reviews.awaits_policies)
        (tmp_path / "b.yaml").unlink()
        until(lambda: not watched.reviews.awaits_policies)
        assert watched.maxima == {"a": "1"}


# The signature


def test_a_signature_stays_while_nothing_changes_and_is_not_disturbed_by_other_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(policy(1))
    before = signature([tmp_path])
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".b.yaml.swp").write_text("x")
    assert signature([tmp_path]) == before


# The process that reads


def test_what_the_process_reads_is_what_would_be_read_here() -> None:
    paths = [EXAMPLES / "policies"]
    read = policies_from(start_reading(paths))
    expected = load_policies(paths)
    assert read.hash == expected.hash
    assert [(each.name, each.file, each.line) for each in read.documents] == [
        (each.name, each.file, each.line) for each in expected.documents
    ]


@pytest.mark.parametrize("file", sorted((EXAMPLES / "accelerators").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_kind_of_value_comes_through_the_pipe(file: Path) -> None:
    stream = io.BytesIO()
    main([file], stream)
    stream.seek(0)
    assert pickle.load(stream) == ()
    policies = load_policies([file]).documents
    assert pickle.load(stream) == policies


def test_errors_keep_their_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(BROKEN)
    with pytest.raises(InvalidPolicies) as here:
        load_policies([tmp_path])
    with pytest.raises(InvalidPolicies) as read:
        policies_from(start_reading([tmp_path]))
    assert read.value.errors == here.value.errors


def test_a_process_that_is_killed_is_a_failed_reading_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(policy(1))
    process = start_reading([tmp_path])
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(ReadingFailed, match="was ended by signal 9, perhaps for want of memory"):
        policies_from(process)


def test_a_part_of_what_was_read_is_no_policy_set(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(policy(1))
    stream = io.BytesIO()
    main([tmp_path / "a.yaml"], stream)
    whole = stream.getvalue()
    for size in (0, 3, len(whole) // 2, len(whole) - 10, len(whole) - 1):
        (tmp_path / "part").write_bytes(whole[:size])
        with pytest.raises(ReadingFailed, match="the process that reads policies ended with 0"):
            policies_from(subprocess.Popen(["cat", tmp_path / "part"], stdout=subprocess.PIPE))


def test_reading_leaves_the_interpreter_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(policy(1))
    before = sys.getswitchinterval()
    policies_from(start_reading([tmp_path]))
    assert sys.getswitchinterval() == before
    assert gc.isenabled()
