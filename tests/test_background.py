import threading
import time
from collections.abc import Callable, Iterator

import pytest

from posefix_track.background import StalledError, in_background
from posefix_track.errors import InputError


def waited_for(condition: Callable[[], bool]) -> bool:
    """Whether ``condition`` comes true within some seconds; it normally takes milliseconds."""
    for _ in range(1000):
        if condition():
            return True
        time.sleep(0.005)
    return False


@pytest.mark.parametrize("count", [0, 1, 3, 200])
@pytest.mark.parametrize("depth", [1, 4])
def test_all_items_come_in_order(count: int, depth: int) -> None:
    with in_background(range(count), depth) as items:
        assert list(items) == list(range(count))


def test_items_are_made_in_another_thread() -> None:
    with in_background((threading.get_ident() for _ in range(2)), 1) as items:
        assert threading.get_ident() not in list(items)


def test_an_error_reaches_the_consumer_after_the_items_before_it() -> None:
    def failing() -> Iterator[int]:
        yield 1
        yield 2
        raise InputError("clip.mp4: broken")

    taken = []
    with pytest.raises(InputError, match=r"clip\.mp4: broken"), in_background(failing(), 1) as items:
        for item in items:
            taken.append(item)
    assert taken == [1, 2]


def test_the_consumers_error_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), in_background(iter(int, 1), 2) as items:
        next(items)
        raise ZeroDivisionError


@pytest.mark.parametrize("depth", [1, 5])
def test_the_thread_stays_a_bounded_number_of_items_ahead(depth: int) -> None:
    made: list[int] = []

    def counting() -> Iterator[int]:
        for i in range(100):
            made.append(i)
            yield i

    with in_background(counting(), depth) as items:
        for taken in range(1, 4):
            next(items)
            # The queue is full, and one more item waits for its place.
            assert waited_for(lambda taken=taken: len(made) == taken + depth + 1)
            time.sleep(0.02)
            assert len(made) == taken + depth + 1


@pytest.mark.parametrize("take", [0, 1, 2])
def test_the_thread_ends_when_the_consumer_leaves(take: int) -> None:
    before = threading.active_count()
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            closed.set()

    with in_background(endless(), 2) as items:
        for _ in range(take):
            next(items)
    assert threading.active_count() == before
    assert waited_for(closed.is_set)


def test_leaving_after_an_error_nobody_saw_does_not_hang() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise InputError("never seen")

    before = threading.active_count()
    with in_background(failing(), 1) as items:
        assert next(items) == 1
    assert threading.active_count() == before


def hanging(release: threading.Event, ended: threading.Event) -> Iterator[int]:
    try:
        yield 1
        release.wait()
    finally:
        ended.set()


def test_an_item_that_takes_too_long_is_an_error() -> None:
    release, ended, taken = threading.Event(), threading.Event(), []
    with pytest.raises(StalledError), in_background(hanging(release, ended), 1, patience_seconds=0.1) as items:
        for item in items:
            taken.append(item)
    assert taken == [1]
    release.set()
    assert waited_for(ended.is_set)


def test_a_thread_that_hangs_is_left_behind() -> None:
    release, ended = threading.Event(), threading.Event()
    with in_background(hanging(release, ended), 1) as items:
        assert next(items) == 1
    assert not ended.is_set()
    release.set()
    assert waited_for(ended.is_set)
