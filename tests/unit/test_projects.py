"""Project and domain come from the namespace (P6)."""

import pytest

from webhook.projects import InvalidProjectRule, ProjectRule, Scope


@pytest.mark.parametrize(
    ("namespace", "labels", "project", "domain"),
    [
        pytest.param("flytesnacks-development", {}, "flytesnacks", "development", id="by the template"),
        pytest.param("my-team-development", {}, "my-team", "development", id="a project with a dash"),
        pytest.param("default", {}, None, None, id="neither"),
        pytest.param("-development", {}, None, None, id="a project is never empty"),
        pytest.param("a-dev", {}, None, None, id="an unknown domain"),
        pytest.param("x", {"task-resources.io/project": "p"}, "p", None, id="a label gives its half"),
        pytest.param("a-staging", {"task-resources.io/project": "p"}, "p", "staging", id="a label overrides its half"),
        pytest.param("a-staging", {"task-resources.io/domain": "d"}, "a", "d", id="the other half"),
        pytest.param("a-staging", {"task-resources.io/project": ""}, "a", "staging", id="an empty label says nothing"),
    ],
)
def test_project_and_domain_come_from_the_namespaces_name_and_labels(
    namespace: str, labels: dict[str, str], project: str | None, domain: str | None
) -> None:
    assert ProjectRule().scope(namespace, labels) == Scope(namespace, project, domain)


@pytest.mark.parametrize(
    ("template", "domains", "namespace", "project", "domain"),
    [
        pytest.param("{project}-{domain}", ("dev", "eu-dev"), "a-eu-dev", "a", "eu-dev", id="the longest domain first"),
        pytest.param("{domain}-{project}", ("dev", "dev-eu"), "dev-eu-a", "a", "dev-eu", id="the domain in front"),
        pytest.param("ml-{project}", (), "ml-a", "a", None, id="without a domain"),
        pytest.param("t-{project}-x-{domain}-y", ("dev",), "t-a-x-dev-y", "a", "dev", id="text around"),
        pytest.param("{project}{domain}", ("dev",), "adev", "a", "dev", id="nothing between"),
    ],
)
def test_the_template_says_how_namespaces_are_named(
    template: str, domains: tuple[str, ...], namespace: str, project: str, domain: str | None
) -> None:
    assert ProjectRule(template, domains).scope(namespace, {}) == Scope(namespace, project, domain)


@pytest.mark.parametrize(
    "template", ["", "a", "{domain}", "{project}{project}", "{project}-{team}", "{project}-{domain}}"]
)
def test_a_template_that_cannot_name_projects_is_refused(template: str) -> None:
    with pytest.raises(InvalidProjectRule, match="namespace template"):
        ProjectRule(template)


def test_an_empty_domain_is_refused() -> None:
    with pytest.raises(InvalidProjectRule, match="domain is empty"):
        ProjectRule(domains=("dev", ""))
