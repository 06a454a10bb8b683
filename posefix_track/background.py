"""Run an iterator in a thread of its own, a bounded number of items ahead of its consumer."""

import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class _End:
    """Marks the end of the items, with the error that ended them, if any."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class _Ahead(Generic[T]):
    def __init__(self, items: Iterable[T], depth: int) -> None:
        self._items = items
        self._queue: queue.Queue[T | _End] = queue.Queue(depth)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._fill, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        while not isinstance(item := self._queue.get(), _End):
            yield item
        if item.error is not None:
            raise item.error

    def stop(self) -> None:
        """Let the thread end after the item that it is working on, and wait for it."""
        self._stopped.set()
        while self._thread.is_alive():
            self._drain()
            self._thread.join(0.05)

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
def in_background(items: Iterable[T], depth: int) -> Iterator[Iterator[T]]:
    """Yields an iterator over ``items`` that are made in a thread; ``depth`` of them, and one in the making, wait.

    An error in the thread is raised from the iterator. Leaving the block ends the thread.
    """
    ahead = _Ahead(items, depth)
    try:
        yield iter(ahead)
    finally:
        ahead.stop()
