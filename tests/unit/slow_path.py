"""A path whose file system can be away, as a network's: nothing that asks for its files comes back before it does."""

from pathlib import Path, PosixPath
from threading import Event


class SlowPath(PosixPath):
    """The same files as `path`, while `answers` is set."""

    answers: Event

    def __fspath__(self) -> str:
        self.answers.wait()
        return super().__fspath__()


def slow_path(path: Path) -> SlowPath:
    """Of a class of its own, which what is in the folder is of, too."""
    answers = Event()
    answers.set()
    one: type[SlowPath] = type("OneSlowPath", (SlowPath,), {"answers": answers})
    return one(path)
