"""What is read of files: only what is regular, whatever stands where a policy, a manifest or a key should be."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.unit.serving import POLICY, SECONDS, arguments
from webhook.certificates import ensure_certificates
from webhook.regular_files import FileTooLarge, read_file_bytes

ACCEPTED = "; accepted: a regular file, or a link to one"


def make_pipe(file: Path) -> None:
    os.mkfifo(file)


def make_socket(file: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(file.name)  # the path of a socket has at most 107 bytes


def make_loop(file: Path) -> None:
    file.with_name("other").symlink_to(file)
    file.symlink_to("other")


def make_device(file: Path) -> None:
    file.symlink_to("/dev/zero")


KINDS: list[tuple[Callable[[Path], None], str]] = [
    (make_pipe, "it is a pipe (FIFO)"),
    (make_socket, "it is a socket"),
    (make_device, "it is a device"),
    (make_loop, "its links lead in a circle"),
    (Path.mkdir, "it is a folder"),
]
kinds = pytest.mark.parametrize(("make", "what"), KINDS, ids=[make.__name__ for make, _ in KINDS])


@kinds
def test_only_a_regular_file_is_read_and_anything_else_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], what: str
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "a")
    with pytest.raises(OSError, match="a") as caught:
        read_file_bytes(tmp_path / "a", may_be_pipe=True)
    assert (caught.value.filename, caught.value.strerror) == (str(tmp_path / "a"), what + ACCEPTED)


def test_a_regular_file_is_read_whole_through_links_and_to_a_bound(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "b").symlink_to("a")
    assert read_file_bytes(tmp_path / "b", largest=5) == b"12345"
    with pytest.raises(FileTooLarge, match="is larger than 4 bytes"):
        read_file_bytes(tmp_path / "b", largest=4)


@pytest.mark.parametrize("name", ["a\0b", "\ud800"], ids=["zero-byte", "half-a-character"])
def test_a_name_that_no_file_has_is_an_error_like_others(tmp_path: Path, name: str) -> None:
    with pytest.raises(OSError, match="no file has such a name; accepted: a regular file"):
        read_file_bytes(tmp_path / name)


# The commands


def run(*command: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "webhook", *command],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path.cwd()), "PYTHONSAFEPATH": "1"},
        cwd=folder,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "policy.yaml").write_text(POLICY)
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    (tmp_path / "broken.yaml").write_text("a: [")
    return tmp_path


COMMANDS: list[tuple[Sequence[str], int]] = [
    (("policy", "check", "pipe.yaml", "loop.yaml"), 1),
    (("policy", "test", "pipe.yaml", "loop.yaml"), 2),
    (("policy", "effective", "a", "--policy", "pipe.yaml", "--policy", "loop.yaml"), 2),
    (("review", "--policy", "policy.yaml", "pipe.yaml", "loop.yaml"), 2),
]


@pytest.mark.parametrize(("command", "code"), COMMANDS, ids=[" ".join(command[:2]) for command, _ in COMMANDS])
def test_pipes_and_circles_of_links_are_errors_of_every_command_that_are_reported_together(
    folder: Path, command: Sequence[str], code: int
) -> None:
    done = run(*command, folder=folder)
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    assert f"it is a pipe (FIFO){ACCEPTED}" in said
    assert f"its links lead in a circle{ACCEPTED}" in said
    assert "Traceback" not in said


def test_what_is_no_file_in_a_folder_hides_no_error_of_the_files_beside_it(folder: Path) -> None:
    done = run("policy", "check", ".", folder=folder)
    assert [line.partition(":")[0] for line in done.stdout.splitlines()[:3]] == [
        "broken.yaml",
        "loop.yaml",
        "pipe.yaml",
    ]
    assert "3 errors in 3 files" in done.stdout


@pytest.mark.parametrize("option", ["--policy", "--tls-cert", "--tls-key", "--tls-ca", "--client-ca", "--namespaces"])
def test_serve_ends_with_the_error_where_a_file_is_a_pipe(folder: Path, option: str) -> None:
    _, _, *command = arguments(folder)
    done = run(*command[1:], option, "pipe.yaml", folder=folder)
    assert done.returncode == 1
    assert (
        f"pipe.yaml{':' if option == '--policy' else ''} cannot be read: it is a pipe (FIFO){ACCEPTED}" in done.stderr
    )


@pytest.mark.parametrize("name", ["ca.crt", "ca.key", "tls.crt", "tls.key"])
def test_a_pipe_among_certificates_is_named_and_stays(tmp_path: Path, name: str) -> None:
    ensure_certificates(tmp_path, ["localhost"])
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    done = run("certs", "--dir", ".", "--dns-name", "localhost", folder=tmp_path)
    assert (done.returncode, done.stderr) == (1, f"Error: {name}: it is a pipe (FIFO){ACCEPTED}\n")
    assert (tmp_path / name).is_fifo()


def test_what_the_shell_opened_may_be_a_pipe(folder: Path) -> None:
    program = f"{sys.executable} -m webhook"
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd()), "PYTHONSAFEPATH": "1"}

    def output(command: str) -> str:
        return subprocess.check_output(
            ["bash", "-c", command], cwd=folder, env=environment, timeout=SECONDS, text=True, stderr=subprocess.STDOUT
        )

    assert "1 policy in 1 file: no errors" in output(f"{program} policy check <(cat policy.yaml)")
    assert "1 policy in 1 file: no errors" in output(f"cat policy.yaml | {program} policy check /dev/stdin")
    pod = '{"kind": "Pod", "spec": {"containers": [{"name": "main"}]}}'
    for given in (f"<(echo '{pod}')", f"- <<< '{pod}'"):
        assert output(f"{program} review -o response --policy <(cat policy.yaml) {given}").count('"allowed":true') == 1
