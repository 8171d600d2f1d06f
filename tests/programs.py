"""Real programs that tests run, built from source where they are not there yet: the control plane, Helm, promtool.

Beside them, folders with custom resource definitions.
"""

import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

BUILD = Path(__file__).parents[1] / "tools" / "programs" / "build.py"

CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
CHART_TOOLS = ("helm", "promtool")
DEFINITIONS = ("cert-manager-crds", "prometheus-operator-crds")


def build(names: Iterable[str] = CONTROL_PLANE) -> Mapping[str, str]:
    """The path of each program or folder."""
    built = subprocess.run([sys.executable, str(BUILD), *names], stdout=subprocess.PIPE, text=True, check=False)
    if built.returncode:
        raise RuntimeError(f"{BUILD.name} ended with {built.returncode}")
    lines = (line.partition(" ") for line in built.stdout.splitlines())
    return {name: path for name, _, path in lines}
