"""The chart as Helm renders it, without a cluster."""

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]

CHART = Path(__file__).parents[2] / "charts" / "task-resource-webhook"
# The chart's name as the release's makes it the name of all objects.
NAME = "task-resource-webhook"
NAMESPACE = "task-resources"


@dataclass(frozen=True)
class Chart:
    """What Helm makes of the chart with some values: a map, or paths such as `image.tag` with theirs."""

    helm: str

    def objects(self, values: Mapping[str, Any], *, release: str = NAME) -> dict[str, Json]:
        """Every object by its kind, and the part of its name that is not the release's, such as `Secret-tls`."""
        result = self.run(["template", release, str(CHART)], values)
        assert result.returncode == 0, result.stderr
        documents = [document for document in yaml.safe_load_all(result.stdout) if document]
        objects = {f"{each['kind']}{each['metadata']['name'].removeprefix(release)}": each for each in documents}
        assert len(objects) == len(documents)
        return objects

    def refusal(self, values: Mapping[str, Any]) -> str:
        """Why Helm renders nothing."""
        result = self.run(["template", NAME, str(CHART)], values)
        assert result.returncode != 0, result.stdout
        return result.stderr

    def notes(self, values: Mapping[str, Any]) -> str:
        """What Helm prints after the installation."""
        result = self.run(["install", NAME, str(CHART), "--dry-run=client"], values)
        assert result.returncode == 0, result.stderr
        return result.stdout.partition("NOTES:")[2]

    def run(self, arguments: list[str], values: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
        """Runs Helm with these values in addition to the chart's."""
        return run_helm(self.helm, *arguments, "--namespace", NAMESPACE, values=values)


def run_helm(
    program: str,
    *arguments: str,
    values: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    seconds: float = 60,
) -> subprocess.CompletedProcess[str]:
    """What Helm does and says; `values` are a map, or paths such as `image.tag` with theirs."""
    given = [] if values is None else ["--values", "-"]
    return subprocess.run(
        [program, *arguments, *given],
        input=None if values is None else json.dumps(nested(values)),
        capture_output=True,
        text=True,
        timeout=seconds,
        env=environment,
    )


def nested(values: Mapping[str, Any]) -> Json:
    """`{"image.tag": "1"}` as `{"image": {"tag": "1"}}`."""
    result: Json = {}
    for path, value in values.items():
        *parents, name = path.split(".")
        inner = result
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[name] = value
    return result


def at(found: Any, path: str) -> Any:
    """What stands at a path such as `spec.containers.0.args`; `webhooks.0.rules` and the like for lists."""
    for key in re.split(r"\.", path) if path else ():
        found = found[int(key)] if isinstance(found, list) else found.get(key)
    return found
