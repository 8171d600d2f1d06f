"""The objects in a file: several YAML documents, or JSON values one after the other; Lists taken apart.

JSON is not decoded here: an object is handed on as it stands in the file, so that the dump of a whole cluster takes
little more memory than its bytes. What an object is and whether it has a pod is left to `manifests`.
"""

import json
import re
from codecs import BOM_UTF8, getincrementaldecoder
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import yaml

from webhook.printable import shown

Json = dict[str, Any]

# One object: of YAML decoded, of JSON its text.
Document = Json | msgspec.Raw

_CHUNK_BYTES = 2**20
MESSAGE_CHARACTERS = 1000


class UnusableInput(ValueError):
    """An input that cannot be reviewed; the message, of one line, names it and says what is accepted."""

    def __init__(self, message: str) -> None:
        super().__init__(shown(message, MESSAGE_CHARACTERS))


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc] # the same in C where libyaml is
    """YAML as Kubernetes reads it: a date, 22:22 and = are text."""


_INTEGER = re.compile(r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]+|0|[1-9][0-9_]*)")
_OTHERS = {"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value", "tag:yaml.org,2002:int"}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _OTHERS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(rf"{_INTEGER.pattern}\Z"), list("-+0123456789"))


def read_documents(
    source: str, text: bytes, refuse: Callable[[UnusableInput], None], expect: Callable[[int], None] = lambda _: None
) -> Iterator[Document]:
    """The objects in a file, one after the other as they are asked for.

    What cannot be used goes to `refuse`, and the rest of the file goes on. `expect` is told how many items a List has
    before the first of them comes.
    """
    found = 0
    for document in _parse(source, text, refuse):
        if document is None:
            continue
        found += 1
        place = source if found == 1 else f"{source}, document {found}"
        if is_object(document):
            yield from _taken_apart(place, document, refuse, expect)
        else:
            shown = json.dumps(decoded(document), default=str)[:60]
            refuse(UnusableInput(f"{place}: is {shown}; accepted: Kubernetes objects and AdmissionReviews"))
    if not found and not text.strip():
        refuse(UnusableInput(f"{source}: there is nothing in it"))


def decoded(document: Any) -> Any:
    """A document as plain values."""
    # The standard library's decoder: it takes every number that the text may have.
    return json.loads(bytes(document)) if isinstance(document, msgspec.Raw) else document


def is_object(document: Any) -> bool:
    """Whether a document is an object, and not text, a number or a list."""
    return memoryview(document)[0] == ord("{") if isinstance(document, msgspec.Raw) else isinstance(document, dict)


_JSON = re.compile(rb'\s*\{\s*["}]')


def _parse(source: str, text: bytes, refuse: Callable[[UnusableInput], None]) -> Iterator[Any]:
    text = text.removeprefix(BOM_UTF8)
    if _JSON.match(text):  # a YAML mapping may begin with a brace, too
        yield from _parse_json(source, text, refuse)
        return
    try:
        yield from yaml.load_all(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:300]
        refuse(UnusableInput(f"{source}: neither YAML nor JSON: {reason}"))


_SPACE = re.compile(rb"\s*")


def _parse_json(source: str, text: bytes, refuse: Callable[[UnusableInput], None]) -> Iterator[msgspec.Raw]:
    """JSON values after each other, also one a line. After a broken one it goes on with the next line."""
    view = memoryview(text)
    try:
        if not text.isascii():
            _check_utf8(view)
    except UnicodeDecodeError as error:
        refuse(UnusableInput(f"{source}: neither YAML nor JSON: {error}"))
        return
    position = 0
    while (position := _end_of_space(text, position)) < len(text):
        try:
            length = _length_of_value(view[position:])
        except (msgspec.DecodeError, RecursionError) as error:
            line = text.count(b"\n", 0, position) + 1
            reason = "too deep" if isinstance(error, RecursionError) else str(error)
            refuse(UnusableInput(f"{source}: neither YAML nor JSON, from line {line}: {reason}"))
            position = text.find(b"\n{", position)
            if position < 0:
                return
        else:
            yield msgspec.Raw(view[position : position + length])
            position += length


def _check_utf8(text: memoryview) -> None:
    """Raises UnicodeDecodeError. msgspec looks only at the strings that are read."""
    decode = getincrementaldecoder("utf-8")().decode
    for start in range(0, len(text), _CHUNK_BYTES):
        decode(text[start : start + _CHUNK_BYTES])
    decode(b"", final=True)


def _end_of_space(text: bytes, position: int) -> int:
    space = _SPACE.match(text, position)
    return position if space is None else space.end()


_MORE_FOLLOWS = re.compile(r"trailing characters \(byte (\d+)\)")


def _length_of_value(text: memoryview) -> int:
    """How many bytes the first JSON value has. Raises msgspec.DecodeError where it is none."""
    try:
        return len(memoryview(msgspec.json.decode(text, type=msgspec.Raw)))
    except msgspec.DecodeError as error:
        # The only way to learn from msgspec where a value ends; json would make objects of all of it to find out.
        more = _MORE_FOLLOWS.search(str(error))
        if more is None:
            raise
        return int(more[1]) - 1  # it counts the first byte that is too many


class _List(msgspec.Struct, rename="camel"):
    kind: str = ""
    api_version: str = "v1"
    items: list[msgspec.Raw] | None = None


_decode_list = msgspec.json.Decoder(_List).decode


def _taken_apart(
    source: str, document: Document, refuse: Callable[[UnusableInput], None], expect: Callable[[int], None]
) -> Iterator[Document]:
    kind, api_version, items = _list(document)
    if items is None:
        yield document
        return
    expect(len(items))
    item_kind = kind.removesuffix("List")
    for index, item in enumerate(items):
        if is_object(item):
            # A typed list leaves apiVersion and kind of its items out.
            named = _with_kind(item, item_kind, api_version) if item_kind else item
            yield from _taken_apart(source, named, refuse, expect)
        else:
            refuse(UnusableInput(f"{source}: items[{index}] of the {kind} is no object"))


def _list(document: Document) -> tuple[str, str, list[Any] | None]:
    """Kind, apiVersion and items of a List; no items for any other object."""
    if isinstance(document, dict):
        kind, items = str(document.get("kind")), document.get("items")
        is_list = kind.endswith("List") and isinstance(items, list)
        return kind, str(document.get("apiVersion", "v1")), items if is_list else None
    try:
        found = _decode_list(document)
    except msgspec.ValidationError:  # an object whose kind is no text, or whose items are no list
        return "", "", None
    return found.kind, found.api_version, found.items if found.kind.endswith("List") else None


def _with_kind(item: Document, kind: str, api_version: str) -> Document:
    """The item with kind and apiVersion, unless it has its own."""
    own = {"apiVersion": api_version, "kind": kind}
    if not isinstance(item, msgspec.Raw):
        return {**own, **item}
    head, rest = msgspec.json.encode(own)[:-1], bytes(item)[1:].lstrip()
    # What an object has twice is what comes last.
    return msgspec.Raw(head + (b"" if rest.startswith(b"}") else b",") + rest)
