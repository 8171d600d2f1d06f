"""Policies from files and folders of YAML (P5): every value with its line, and every error of all files at once.

What a policy may say is left to `policy_document` and `policy_checks`; this is about files and YAML.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import yaml

from webhook.policy import PolicySet
from webhook.policy_checks import read_policies
from webhook.policy_document import MOST_ERRORS, Bare, Document, InvalidPolicies, PolicyError, path_text
from webhook.regular_files import FileTooLarge, read_file_bytes

__all__ = ["InvalidPolicies", "PolicyError", "load_policies", "parse_policies"]

SUFFIXES = (".yaml", ".yml", ".json")

# Far above any policy set (10,000 projects make 5 MB), far below what would hurt.
LARGEST_FILE_BYTES = 64 * 2**20
# Of one document, with what its anchors repeat; a policy has some fifty.
MOST_NODES = 100_000
DEEPEST = 32
MOST_DOCUMENTS = 100_000
# Of what YAML takes for a number or the like.
LONGEST_BARE = 1000

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same in C where libyaml is there, ten times faster

_KINDS = {
    "tag:yaml.org,2002:int": "a number",
    "tag:yaml.org,2002:float": "a number",
    "tag:yaml.org,2002:bool": "a boolean",
    "tag:yaml.org,2002:timestamp": "a date",
    "tag:yaml.org,2002:value": "a special value",
}
_TEXT = "tag:yaml.org,2002:str"
_NULL = "tag:yaml.org,2002:null"
_MERGE = "tag:yaml.org,2002:merge"


def load_policies(paths: Sequence[Path], *, may_be_pipes: bool = False) -> PolicySet:
    """The policies of files and of folders' *.yaml, *.yml and *.json; hidden entries are skipped, links followed.

    `may_be_pipes`: as of `read_file_bytes`. Raises InvalidPolicies with the errors of every document.
    """
    read: dict[str, int] = {}  # how many documents or errors each file gave: one named twice is read once
    documents: list[Document] = []
    errors: list[PolicyError] = []
    for path in paths:
        try:
            files = policy_files(path)
        except OSError as error:
            errors.append(_unreadable(path, error))
            continue
        places = [os.path.realpath(file) for file in files]
        for file, place in zip(files, places, strict=True):
            if place not in read:
                read[place] = read_file(file, documents, errors, may_be_pipe=may_be_pipes)
        if not files:
            errors.append(PolicyError(str(path), 0, "", f"no policy files in this folder: use {', '.join(SUFFIXES)}"))
        elif not any(read[place] for place in places):
            errors.append(PolicyError(str(path), 0, "", "no policy in it"))
    return PolicySet(read_policies(documents, errors))


def parse_policies(text: str, *, file: str) -> PolicySet:
    """The policies of one text, as if it stood in `file`. Raises InvalidPolicies with every error."""
    documents: list[Document] = []
    errors: list[PolicyError] = []
    _read_text(file, text, documents, errors)
    return PolicySet(read_policies(documents, errors))


def policy_files(path: Path) -> list[Path]:
    """The file itself, or a folder's policy files by name. A mounted ConfigMap's ..data is hidden."""
    if not path.is_dir():
        return [path]
    names = sorted(entry.name for entry in path.iterdir() if entry.suffix in SUFFIXES and entry.name[0] != ".")
    return [path / name for name in names if not (path / name).is_dir()]


def read_file(file: Path, documents: list[Document], errors: list[PolicyError], *, may_be_pipe: bool = False) -> int:
    """Adds the file's documents and errors; returns how many. Nothing is read after more errors than are printed."""
    if len(errors) > MOST_ERRORS:
        return 1
    before = len(documents) + len(errors)
    try:
        content = read_file_bytes(file, largest=LARGEST_FILE_BYTES, may_be_pipe=may_be_pipe)
    except FileTooLarge:
        errors.append(PolicyError(str(file), 0, "", "is larger than 64 MiB: split it"))
        return 1
    except OSError as error:
        errors.append(_unreadable(file, error))
        return 1
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        errors.append(PolicyError(str(file), line, "", "is no UTF-8 text"))
        return 1
    _read_text(str(file), text, documents, errors)
    return len(documents) + len(errors) - before


def _unreadable(file: Path, error: OSError) -> PolicyError:
    return PolicyError(str(error.filename or file), 0, "", f"cannot be read: {error.strerror}")


def _read_text(file: str, text: str, documents: list[Document], errors: list[PolicyError]) -> None:
    try:
        for number, node in enumerate(yaml.compose_all(text, Loader=_LOADER), 1):
            if number > MOST_DOCUMENTS:
                errors.append(PolicyError(file, 0, "", f"has more than {MOST_DOCUMENTS} documents: split it"))
            if number > MOST_DOCUMENTS or len(errors) > MOST_ERRORS:
                return
            if node.tag != _NULL:
                _read_node(file, node, documents, errors)
    except yaml.YAMLError as error:
        errors.append(_syntax_error(file, text, error))


def _syntax_error(file: str, text: str, error: yaml.YAMLError) -> PolicyError:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        return PolicyError(file, mark.line + 1 if mark is not None else 0, "", f"is no YAML: {problem}")
    if isinstance(error, yaml.reader.ReaderError):
        # Control characters; its position counts characters, or bytes, so the line is looked for.
        line = next((number for number, part in enumerate(text.split("\n"), 1) if _has_control(part)), 0)
        return PolicyError(file, line, "", "is no YAML: a control character")
    return PolicyError(file, 0, "", f"is no YAML: {error}")


def _has_control(line: str) -> bool:
    return any(character < " " and character not in "\t\r" for character in line)


def _read_node(file: str, node: yaml.Node, documents: list[Document], errors: list[PolicyError]) -> None:
    line = node.start_mark.line + 1
    reading = _Reading(file, line)
    data = reading.value(node, ())
    if not reading.errors or not reading.is_refused_whole:
        documents.append(Document(file, line, data, reading.lines))
    errors += reading.errors


class _Reading:
    """One document on its way from YAML nodes to plain data, with the line of every path."""

    def __init__(self, file: str, line: int) -> None:
        self.file, self.line = file, line
        self.lines: dict[tuple[str | int, ...], int] = {}
        self.errors: list[PolicyError] = []
        self.is_refused_whole = False
        self._nodes = 0

    def refuse(self, line: int, path: tuple[str | int, ...], message: str) -> None:
        self.errors.append(PolicyError(self.file, line, path_text(path), message))

    def value(self, node: yaml.Node, path: tuple[str | int, ...]) -> object:
        """Mappings, lists, text, `Bare` and None."""
        self._nodes += 1
        if self._nodes > MOST_NODES or len(path) > DEEPEST:
            if not self.is_refused_whole:
                self.refuse(
                    node.start_mark.line + 1,
                    path if len(path) <= DEEPEST else (),
                    f"has more than {MOST_NODES} values, or more than {DEEPEST} within each other",
                )
            self.is_refused_whole = True
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return self._sequence(node, path)
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: tuple[str | int, ...]) -> dict[str, object]:
        found: dict[str, object] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = self._key(key_node, path)
            if key is None:
                continue
            here = (*path, key)
            if key in found:
                self.refuse(line, here, f"is in line {self.lines[here]} already: a key may be there once")
                continue
            self.lines[here] = line
            found[key] = self.value(value_node, here)
            if self.is_refused_whole:
                break
        return found

    def _key(self, node: yaml.Node, path: tuple[str | int, ...]) -> str | None:
        line = node.start_mark.line + 1
        if not isinstance(node, yaml.ScalarNode):
            self.refuse(line, path, "a key is a mapping or a list: use text")
        elif node.tag == _MERGE:
            self.refuse(line, (*path, "<<"), "merge keys are not accepted: write the values, or use * for a whole one")
        elif node.tag != _TEXT:
            kind = _KINDS.get(node.tag, "not text")
            self.refuse(line, path, f"the key {node.value[:80] or 'null'} is {kind} in YAML: put it in quotes")
        else:
            return str(node.value)
        return None

    def _sequence(self, node: yaml.SequenceNode, path: tuple[str | int, ...]) -> list[object]:
        found: list[object] = []
        for index, item in enumerate(node.value):
            here = (*path, index)
            self.lines[here] = item.start_mark.line + 1
            found.append(self.value(item, here))
            if self.is_refused_whole:
                break
        return found

    def _scalar(self, node: yaml.Node, path: tuple[str | int, ...]) -> str | None:
        if node.tag == _TEXT:
            return str(node.value)
        if node.tag == _NULL:
            return None
        kind = _KINDS.get(node.tag)
        if kind is None:
            self.refuse(node.start_mark.line + 1, path, f"the tag {node.tag[:80]} is not accepted: leave it out")
        elif len(node.value) > LONGEST_BARE:
            self.refuse(node.start_mark.line + 1, path, f"is {kind} in YAML of more than {LONGEST_BARE} characters")
        return Bare(node.value[:LONGEST_BARE], kind or "not text")
