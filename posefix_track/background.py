"""Run an iterator in a thread of its own, a bounded number of items ahead of its consumer."""

import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")

# A thread that is in the middle of an item ends with it; one that hangs is left behind after this.
_LAST_WAIT_SECONDS = 1.0


class StalledError(Exception):
    """No item came for longer than the consumer has patience."""


class _End:
    """Marks the end of the items, with the error that ended them, if any."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class _Ahead(Generic[T]):
    def __init__(self, items: Iterable[T], depth: int, patience_seconds: float | None) -> None:
        self._items, self._patience_seconds = items, patience_seconds
        self._queue: queue.Queue[T | _End] = queue.Queue(depth)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._fill, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        while not isinstance(item := self._next(), _End):
            yield item
        if item.error is not None:
            raise item.error

    def stop(self) -> None:
        """Let the thread end after the item that it is working on, and wait for it, but not for ever."""
        self._stopped.set()
        for _ in range(round(_LAST_WAIT_SECONDS / 0.05)):
            if not self._thread.is_alive():
                return
            self._drain()
            self._thread.join(0.05)

    def _next(self) -> T | _End:
        try:
            return self._queue.get(timeout=self._patience_seconds)
        except queue.Empty:
            raise StalledError from None

    def _fill(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._items:
                self._queue.put(item)
                if self._stopped.is_set():
                    return
        except BaseException as caught:  # handed to the consumer, who raises it
            error = caught
        finally:
            # A generator that is left half way frees its files here and now.
            if isinstance(self._items, Generator):
                self._items.close()
        self._queue.put(_End(error))

    def _drain(self) -> None:
        while not self._queue.empty():
            self._queue.get_nowait()


@contextmanager
def in_background(items: Iterable[T], depth: int, patience_seconds: float | None = None) -> Iterator[Iterator[T]]:
    """Yields an iterator over ``items`` that are made in a thread; ``depth`` of them, and one in the making, wait.

    An error in the thread is raised from the iterator, and StalledError where an item takes longer than
    ``patience_seconds``. Leaving the block ends the thread; one that hangs in an item is left behind.
    """
    ahead = _Ahead(items, depth, patience_seconds)
    try:
        yield iter(ahead)
    finally:
        ahead.stop()
