"""Project and domain of a pod: from its namespace's name and labels, never from the pod (P6)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

PROJECT_LABEL = "task-resources.io/project"
DOMAIN_LABEL = "task-resources.io/domain"

# Never reviewed, whatever labels they have: no registration asks about them.
SYSTEM_NAMESPACES = ("kube-system", "kube-public", "kube-node-lease")

DEFAULT_TEMPLATE = "{project}-{domain}"
DEFAULT_DOMAINS = ("development", "staging", "production")


def labels_saying(project: str | None, domain: str | None) -> dict[str, str]:
    """The labels with which a namespace says its project and domain; None says nothing."""
    said = ((PROJECT_LABEL, project), (DOMAIN_LABEL, domain))
    return {key: value for key, value in said if value is not None}


class InvalidProjectRule(ValueError):
    """The template or the domains cannot be used; the message says what is accepted."""


class Scope(msgspec.Struct, frozen=True):
    """What a pod's namespace is; None where it belongs to no project or domain."""

    namespace: str
    project: str | None = None
    domain: str | None = None


@dataclass(frozen=True, slots=True)
class ProjectRule:
    """How namespaces are named: `template` holds `{project}` and may hold `{domain}`, each once.

    The defaults are Flyte's own. Without `{domain}` in the template the name says no domain.
    """

    template: str = DEFAULT_TEMPLATE
    domains: tuple[str, ...] = DEFAULT_DOMAINS
    _parts: tuple[str, str, str] = field(init=False, repr=False, compare=False)
    _longest_first: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if "" in self.domains:
            raise InvalidProjectRule("a domain is empty: use names such as development,staging,production")
        object.__setattr__(self, "_parts", _parts(self.template))
        object.__setattr__(
            self, "_longest_first", tuple(sorted(set(self.domains), key=lambda name: (-len(name), name)))
        )

    def scope(self, namespace: str, labels: Mapping[str, str]) -> Scope:
        """Project and domain by the name; the namespace's non-empty labels each override their half."""
        project, domain = self._from_name(namespace)
        if labels:
            project = labels.get(PROJECT_LABEL) or project
            domain = labels.get(DOMAIN_LABEL) or domain
        return Scope(namespace, project, domain)

    def _from_name(self, namespace: str) -> tuple[str | None, str | None]:
        before, between, after = self._parts
        if "{domain}" not in self.template:
            return _between(namespace, before, after), None
        is_project_first = self.template.index("{project}") < self.template.index("{domain}")
        for domain in self._longest_first:
            if is_project_first:
                project = _between(namespace, before, between + domain + after)
            else:
                project = _between(namespace, before + domain + between, after)
            if project is not None:
                return project, domain
        return None, None


def _parts(template: str) -> tuple[str, str, str]:
    """The template's text before, between and after its two fields."""
    text = template.replace("{project}", "\0").replace("{domain}", "\0")
    if template.count("{project}") != 1 or template.count("{domain}") > 1 or "{" in text or "}" in text:
        raise InvalidProjectRule(
            f"{template!r} is no namespace template: use {{project}} once and {{domain}} at most once, "
            f"such as {DEFAULT_TEMPLATE}"
        )
    parts = text.split("\0")
    return (parts[0], parts[1], parts[2]) if len(parts) == 3 else (parts[0], "", parts[1])


def _between(text: str, prefix: str, suffix: str) -> str | None:
    """What stands between prefix and suffix; None where they do not fit, or nothing is between them."""
    if len(text) <= len(prefix) + len(suffix) or not text.startswith(prefix) or not text.endswith(suffix):
        return None
    return text[len(prefix) : len(text) - len(suffix)]
