"""How far a long review is: a bar on stderr where a person looks at it, nothing in pipelines."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class Bar:
    """Objects done, of those that are known to come; `later` is how many come in later inputs."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task, self._done = progress, task, 0
        self.later = 0

    def expect(self, count: int) -> None:
        """So many objects of this input are still to come."""
        self._progress.update(self._task, total=self._done + count + self.later)

    def advance(self) -> None:
        """One object is done."""
        self._done += 1
        if not self._progress.disable:
            self._progress.update(self._task, completed=self._done)


@contextmanager
def progress_bar(*, writes_results: bool) -> Iterator[Bar]:
    """A bar as long as the context; it is shown on terminals that results do not scroll over already."""
    is_shown = sys.stderr.isatty() and not (writes_results and sys.stdout.isatty())
    columns = (TextColumn("pods"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not is_shown, transient=True, redirect_stdout=False) as progress:
        yield Bar(progress, progress.add_task("pods", total=None))
