"""Reading files into objects, one after the other."""

import json
import tracemalloc
from typing import Any

import pytest

from webhook.documents import UnusableInput, decoded, read_documents

Json = dict[str, Any]


def read(text: str | bytes) -> tuple[list[Json], list[str]]:
    errors: list[UnusableInput] = []
    found = read_documents("f", text.encode() if isinstance(text, str) else text, errors.append)
    documents = [decoded(document) for document in found]
    return documents, [str(error) for error in errors]


READ = [
    ("yaml", "a: 1\n---\na: 2\n", [{"a": 1}, {"a": 2}]),
    ("json", '{"a": 1}', [{"a": 1}]),
    ("json-lines", '{"a": 1}\n{"a": 2}\n', [{"a": 1}, {"a": 2}]),
    ("json-of-several-lines-after-each-other", '{\n"a": 1\n}\n{\n"a": 2}', [{"a": 1}, {"a": 2}]),
    ("flow-yaml", "{a: 1}\n", [{"a": 1}]),
    ("empty-json", "{}", [{}]),
    ("only-comments", "# nothing\n---\n", []),
    ("byte-order-mark", b'\xef\xbb\xbf{"a": 1}', [{"a": 1}]),
    ("utf-16", "a: é\n".encode("utf-16"), [{"a": "é"}]),
    ("a-date-is-text", "a: 2026-11-22", [{"a": "2026-11-22"}]),
    ("a-time-is-text", "a: 22:22", [{"a": "22:22"}]),
    ("numbers", "a: [0x1f, 0b11, 0o17, 017, 1_000, -1, 1.5]", [{"a": [31, 3, "0o17", 15, 1000, -1, 1.5]}]),
    ("list", '{"kind": "List", "items": [{"a": 1}, {"kind": "List", "items": [{"a": 2}]}]}',
     [{"a": 1}, {"a": 2}]),
    ("typed-list", '{"apiVersion": "v1", "kind": "PodList", "items": [{"a": 1}]}',
     [{"apiVersion": "v1", "kind": "Pod", "a": 1}]),
    ("list-without-items", '{"kind": "List"}', [{"kind": "List"}]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in READ], ids=[case[0] for case in READ])
def test_documents_are_read(text: str | bytes, expected: list[Json]) -> None:
    assert read(text) == (expected, [])


def test_after_a_broken_line_the_next_ones_are_read() -> None:
    documents, errors = read('{"a": 1}\n{"a": \n{"a": 3}\n{"a" 4}\n')
    assert documents == [{"a": 1}, {"a": 3}]
    assert [error.partition(":")[2].split(",")[1].split(":")[0] for error in errors] == [" from line 2", " from line 4"]


def test_several_values_in_one_line_are_read() -> None:
    assert read('{"a": 1}{"a": 2} {"a": 3}') == ([{"a": 1}, {"a": 2}, {"a": 3}], [])


@pytest.mark.parametrize(
    "text",
    [
        b'{"a": "\xff"}',
        b'{"a": "\xe2\x82',
        b'{"a": NaN}',
        b'{"a": [' * 100_000,
        b'{"kind": "List", "items": [{"a": 1},',
    ],
    ids=["no-utf-8", "half-a-character", "not-a-number", "too-deep", "truncated"],
)
def test_broken_json_is_refused_in_one_line(text: bytes) -> None:
    documents, [error] = read(text)
    assert documents == []
    assert error.startswith("f: neither YAML nor JSON")
    assert len(error) < 200


def test_an_item_keeps_its_own_kind_in_a_typed_list() -> None:
    documents, _ = read('{"apiVersion": "v1", "kind": "PodList", "items": [{}, {"kind": "Other", "a": 1}, { }]}')
    assert documents == [
        {"apiVersion": "v1", "kind": "Pod"},
        {"apiVersion": "v1", "kind": "Other", "a": 1},
        {"apiVersion": "v1", "kind": "Pod"},
    ]


def refuse(error: UnusableInput) -> None:
    raise error


def dump(count: int) -> bytes:
    return json.dumps(
        {"kind": "List", "items": [{"kind": "Pod", "n": n, "x": "x" * 4000} for n in range(count)]}
    ).encode()


def test_a_dump_is_read_without_a_copy_of_it() -> None:
    """What it takes beside its bytes are the items' places, and the item that is looked at."""
    text = dump(5_000)
    tracemalloc.start()
    try:
        numbers = [decoded(item)["n"] for item in read_documents("f", text, refuse)]
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert numbers == list(range(5_000))
    assert most < len(text) / 4


def test_how_many_items_come_is_said_before_the_first() -> None:
    told: list[Any] = []
    told += (decoded(item)["n"] for item in read_documents("f", dump(3), refuse, told.append))
    assert told == [3, 0, 1, 2]
