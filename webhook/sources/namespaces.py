"""Labels of namespaces from a file: what `kubectl get namespaces -o yaml` writes, or Namespace objects by hand."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from webhook.printable import shown
from webhook.regular_files import FileTooLarge, read_file_bytes

# A hundred thousand namespaces as kubectl writes them have some 60 MiB.
LARGEST_FILE_BYTES = 512 * 2**20
MESSAGE_CHARACTERS = 600

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class InvalidNamespaces(ValueError):
    """The file holds something else than namespaces; the message, of one line, names it and what is accepted."""

    def __init__(self, message: str) -> None:
        super().__init__(shown(message, MESSAGE_CHARACTERS))


def load_namespaces(file: Path) -> dict[str, Mapping[str, str]]:
    """The labels of each namespace in a file of YAML or JSON, by its name. Raises InvalidNamespaces."""
    try:
        content = read_file_bytes(file, largest=LARGEST_FILE_BYTES)
        documents = list(yaml.load_all(content, Loader=_LOADER))
    except FileTooLarge as error:
        raise InvalidNamespaces(f"{file} is larger than 512 MiB") from error
    except OSError as error:
        raise InvalidNamespaces(f"{file} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidNamespaces(f"{file} is neither YAML nor JSON: {' '.join(str(error).split())}") from error
    found: dict[str, Mapping[str, str]] = {}
    for item in _objects(documents):
        name, labels = _namespace(file, item)
        if name in found:
            raise InvalidNamespaces(f"{file} has the namespace {shown(name)} twice")
        found[name] = labels
    if not found:
        raise InvalidNamespaces(f"{file} has no namespaces in it; accepted: Namespace objects, or a List of them")
    return found


def _objects(documents: list[Any]) -> Iterator[Any]:
    for document in documents:
        if isinstance(document, dict) and str(document.get("kind")).endswith("List"):
            items = document.get("items")
            yield from items if isinstance(items, list) else ()
        elif document is not None:
            yield document


def _namespace(file: Path, item: Any) -> tuple[str, dict[str, str]]:
    kind = item.get("kind", "Namespace") if isinstance(item, dict) else type(item).__name__
    metadata = item.get("metadata") if isinstance(item, dict) else None
    if kind != "Namespace" or not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        raise InvalidNamespaces(f"{file} has a {shown(kind)} in it; accepted: Namespace objects with metadata.name")
    labels = metadata.get("labels") or {}
    if not isinstance(labels, dict) or not all(isinstance(text, str) for text in labels.values()):
        raise InvalidNamespaces(f"{file}: labels of the namespace {shown(metadata['name'])} are not a mapping to text")
    return metadata["name"], {str(key): text for key, text in labels.items()}
