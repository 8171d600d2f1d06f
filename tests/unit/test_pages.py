"""The reference pages say what the code says."""

import re
from typing import get_args

import pytest

from tools.pages import PAGES, ROOT
from webhook.annotations import KNOWN
from webhook.resources import RefusalReason


@pytest.mark.parametrize("name", PAGES)
def test_a_reference_page_is_up_to_date(name: str) -> None:
    assert (ROOT / name).read_text() == PAGES[name](), "run python tools/pages.py"


def test_the_runbook_has_every_reason_of_a_refusal() -> None:
    rows = re.findall(r"^\| (`[^|]+`) \|", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)
    assert {*get_args(RefusalReason)} <= {name for row in rows for name in re.findall(r"`([\w-]+)`", row)}


def test_the_page_about_annotations_has_every_one() -> None:
    text = (ROOT / "docs" / "annotations.md").read_text()
    assert [name for name in KNOWN if f"`{name}`" not in text] == []
