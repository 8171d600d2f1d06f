"""Keeps the labels of a cluster's namespaces up to date, and looks up those that are not known yet (P6, P7).

A thread lists and watches. What it hears is applied in the thread of the event loop, where reviews are decided, so
that nothing is locked: in place, in the mapping that the snapshot in force reads.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread

from webhook.metrics import NamespaceCounts
from webhook.printable import shown
from webhook.snapshot import LONGEST_NAMESPACE
from webhook.sources.namespace_api import FailedRequest, Labels, NamespaceApi, News

logger = logging.getLogger(__name__)

# How long one watch lasts, at random, so that those of all replicas do not end together; client-go's are as long.
SHORTEST_WATCH_SECONDS, LONGEST_WATCH_SECONDS = 300, 600

SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
# A watch that broke off sooner, and without a word, is as good as none: the next pause is longer.
SIGN_OF_LIFE_SECONDS = 1.0

# A watch that says nothing for long is begun anew before, which is a word in itself.
STALE_SECONDS = 180.0

# The API server's answer is remembered that long where it was no, so that many such pods make few requests.
REMEMBERED_SECONDS = 1.0
LOOK_UPS_AT_ONCE = 4

STOP_SECONDS = 1.0


class ClusterNamespaces:
    """The cluster's namespaces in `labels`, by name; `forget` is told of each whose labels have changed.

    `labels` is changed by nobody else, and only while `run` runs in an event loop.
    """

    def __init__(
        self,
        api: NamespaceApi,
        labels: dict[str, Labels],
        forget: Callable[[str], None],
        counts: NamespaceCounts,
        *,
        shortest_pause_seconds: float = SHORTEST_PAUSE_SECONDS,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api, self._labels, self._forget, self._counts = api, labels, forget, counts
        self._shortest_pause_seconds = shortest_pause_seconds
        self._pauses = pauses(shortest_pause_seconds)
        self._now, self._monotonic = now, monotonic
        self._heard_at = monotonic()  # of the clock that nobody sets
        self._is_listed = False
        self._failure: str | None = None
        self._look_ups: dict[str, asyncio.Task[str | None]] = {}
        self._executor = ThreadPoolExecutor(LOOK_UPS_AT_ONCE, "namespace-look-up")
        self._stopping = Event()

    def why_not_ready(self) -> str | None:
        """Why it cannot be said yet what namespaces there are; None once they were listed, and ever after."""
        return None if self._is_listed else f"not listed yet: {self._failure or 'waiting for the API server'}"

    def why_stale(self) -> str | None:
        """Since when nothing was heard of the cluster, and why; None while it is in touch."""
        seconds = self._monotonic() - self._heard_at
        if seconds < STALE_SECONDS:
            return None
        return f"as they were {seconds:.0f} s ago: {self._failure or 'the API server says nothing'}"

    async def look_up(self, name: str) -> str | None:
        """Asks the API server for a namespace that is not known yet; says why it still is not then, or None.

        Who asks for the same one meanwhile, or within a second, gets the same answer.
        """
        if len(name) > LONGEST_NAMESPACE:
            return f"the namespace {shown(name)} does not exist"
        if name not in self._look_ups:
            loop = asyncio.get_running_loop()
            self._look_ups[name] = asking = asyncio.create_task(self._find(name))
            asking.add_done_callback(lambda _: loop.call_later(REMEMBERED_SECONDS, self._look_ups.pop, name))
        # It goes on when one who waits for it gives up.
        return await asyncio.shield(self._look_ups[name])

    async def _find(self, name: str) -> str | None:
        loop = asyncio.get_running_loop()
        try:
            labels = await loop.run_in_executor(self._executor, self._api.find, name)
        except FailedRequest as error:
            self._counts.look_ups["error"] += 1
            return f"the namespace {name} is not known yet and cannot be looked up: {error}"
        if labels is None:
            self._counts.look_ups["missing"] += 1
            return f"the namespace {name} does not exist"
        self._counts.look_ups["found"] += 1
        # Not over what is there: the watch may have told of it meanwhile, and of what became of it since.
        self._labels.setdefault(name, labels)
        self._counts.known = len(self._labels)
        return None

    async def run(self) -> None:
        """Keeps `labels` up to date until it is cancelled. Raises RuntimeError for a bug."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        thread = Thread(target=self._follow, args=(loop, ended), name="namespaces", daemon=True)
        thread.start()
        try:
            await ended.wait()
            raise RuntimeError("namespaces are not followed any more, please report it")
        finally:
            self._stopping.set()
            self._api.stop()
            self._executor.shutdown(wait=False, cancel_futures=True)
            await asyncio.to_thread(thread.join, STOP_SECONDS)

    def _follow(self, loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
        """What the thread does: it only tells the event loop's thread what is to be changed."""

        def tell(change: Callable[..., object], *arguments: object) -> None:
            if not self._stopping.is_set():
                loop.call_soon_threadsafe(change, *arguments)

        try:
            self._list_and_watch(tell)
        finally:
            tell(ended.set)

    def _list_and_watch(self, tell: Callable[..., None]) -> None:
        version = ""
        while not self._stopping.is_set():
            try:
                version = version or self._list(tell)
                for news in self._watch(version):
                    version = news.version
                    tell(self._apply, news)
            except FailedRequest as failure:
                if not failure.may_resume:
                    version = ""
                tell(self._note, failure)
                self._stopping.wait(next(self._pauses))

    def _list(self, tell: Callable[..., None]) -> str:
        """The version of the cluster that all namespaces were listed at."""
        version, listed = "", set[str]()
        for page in self._api.pages():
            version = version or page.version
            listed.update(name for name, _ in page.namespaces)
            tell(self._change, page)
        # Copied in one step, because the other thread may add to it.
        gone = [(name, None) for name in list(self._labels) if name not in listed]
        tell(self._apply_list, News(version, gone))
        return version

    def _watch(self, version: str) -> Iterator[News]:
        """What one watch tells, from its version on; the next pause is the shortest again once it does its work."""
        began = time.monotonic()
        seconds = random.randint(SHORTEST_WATCH_SECONDS, LONGEST_WATCH_SECONDS)  # noqa: S311 - spreads load
        told = 0
        for told, news in enumerate(self._api.changes(version, seconds)):
            if told:
                self._pauses = pauses(self._shortest_pause_seconds)
            yield news
        if not told and time.monotonic() - began < SIGN_OF_LIFE_SECONDS:
            raise FailedRequest("connection", "the API server ended the watch at once", may_resume=True)
        self._pauses = pauses(self._shortest_pause_seconds)

    def _apply_list(self, gone: News) -> None:
        self._apply(gone)
        self._counts.lists += 1
        if not self._is_listed:
            self._is_listed = True
            logger.info("%d namespaces are known", len(self._labels))

    def _apply(self, news: News) -> None:
        self._change(news)
        self._counts.last_sync_at, self._heard_at = self._now(), self._monotonic()
        if self._failure is not None:
            self._failure = None
            logger.info("in touch with the cluster's namespaces again")

    def _change(self, news: News) -> None:
        for name, labels in news.namespaces:
            if self._labels.get(name) == labels:
                continue
            if labels is None:
                del self._labels[name]
            else:
                self._labels[name] = labels
            self._forget(name)
        self._counts.known = len(self._labels)

    def _note(self, failure: FailedRequest) -> None:
        self._counts.failures[failure.failure] += 1
        if self._failure != str(failure):
            self._failure = str(failure)
            logger.warning("namespaces of the cluster cannot be followed for now: %s", failure)


def pauses(shortest_seconds: float) -> Iterator[float]:
    """Seconds to wait after the first failure, the second, and so on: twice as long each time, and less at random."""
    seconds = shortest_seconds
    while True:
        yield seconds * random.uniform(0.5, 1)  # noqa: S311 - spreads load
        seconds = min(2 * seconds, LONGEST_PAUSE_SECONDS)
