"""Calls that may take long or never return, as into a dead network file system, beside an event loop."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")


class TakesTooLong(Exception):
    """A call has not returned in time; it goes on."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no answer within {seconds:.1f} s")


class Aside:
    """A thread for calls, one after the other: what never returns holds up this thread and no other.

    It does not keep the program from ending, which the threads of an executor would. Made in any thread, used in one
    event loop.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._last: asyncio.Future[Any] | None = None
        Thread(target=self._run, daemon=True).start()

    async def call(self, function: Callable[[], T], *, within: float) -> T:
        """What it returns or raises; TakesTooLong where it has not done so after so many seconds.

        While an earlier call goes on none begins: it is waited for, as long, and TakesTooLong again.
        """
        if self._last is not None:
            await _done(self._last, within)
        self._last = future = self.begin(function)
        await _done(future, within)
        self._last = None
        return future.result()

    def begin(self, function: Callable[[], T]) -> "asyncio.Future[T]":
        """Calls it after those that were begun before; what it returns or raises, once it does."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def call() -> None:
            try:
                settle = partial(_return, future, function())
            except Exception as error:  # noqa: BLE001 - raised where the future is awaited
                settle = partial(_raise, future, error)
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(settle)

        self._calls.put(call)
        return future

    def close(self) -> None:
        """Ends the thread once its last call has returned."""
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call()


async def _done(future: "asyncio.Future[Any]", seconds: float) -> None:
    done, _ = await asyncio.wait([future], timeout=seconds)
    if not done:
        raise TakesTooLong(seconds)


def _return(future: "asyncio.Future[T]", value: T) -> None:
    if not future.done():
        future.set_result(value)


def _raise(future: "asyncio.Future[T]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # who does not wait any more does not want to know
