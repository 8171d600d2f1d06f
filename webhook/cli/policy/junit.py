"""Results of tests as JUnit XML, which CI systems show beside a change.

There is no standard; this keeps to the elements and attributes of
https://github.com/jenkinsci/xunit-plugin/blob/master/src/main/resources/org/jenkinsci/plugins/xunit/types/model/xsd/junit-10.xsd
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

# What XML 1.0 cannot hold, not even escaped; texts of pods may have it.
_NOT_IN_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a test failed: in a line, and in full."""

    message: str
    text: str


@dataclass(frozen=True, slots=True)
class TestCase:
    """One test; `failure` is None where it passed."""

    name: str
    class_name: str
    seconds: float
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class TestSuite:
    """The tests of one file."""

    name: str
    cases: Sequence[TestCase]


def junit_xml(suites: Sequence[TestSuite]) -> str:
    """The whole document, without a line break at its end."""
    cases = [case for suite in suites for case in suite.cases]
    root = ElementTree.Element("testsuites", _totals("task-resources policy test", cases))
    for suite in suites:
        element = ElementTree.SubElement(root, "testsuite", _totals(suite.name, suite.cases))
        for case in suite.cases:
            _add_case(element, case)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode")


def _totals(name: str, cases: Sequence[TestCase]) -> dict[str, str]:
    return {
        "name": _text(name),
        "tests": str(len(cases)),
        "failures": str(sum(case.failure is not None for case in cases)),
        "errors": "0",
        "time": _seconds(sum(case.seconds for case in cases)),
    }


def _add_case(suite: ElementTree.Element, case: TestCase) -> None:
    attributes = {"name": _text(case.name), "classname": _text(case.class_name), "time": _seconds(case.seconds)}
    element = ElementTree.SubElement(suite, "testcase", attributes)
    if case.failure is not None:
        failure = ElementTree.SubElement(
            element, "failure", {"message": _text(case.failure.message), "type": "mismatch"}
        )
        failure.text = _text(case.failure.text)


def _seconds(seconds: float) -> str:
    return f"{seconds:.6f}"


def _text(text: str) -> str:
    return _NOT_IN_XML.sub("?", text)
