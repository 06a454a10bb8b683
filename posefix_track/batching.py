"""Which frames go through the engine together."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Frame = TypeVar("Frame")


def in_batches(
    frames: Iterable[Frame], people: Callable[[Frame], int], people_per_call: int, max_latency: int
) -> Iterator[list[Frame]]:
    """Consecutive frames that have enough people for an engine call, or that have waited for long enough.

    Args:
        frames: anything that stands for a frame.
        people: how many people a frame has.
        people_per_call: people that are enough.
        max_latency: frames that wait for each other at most.
    """
    group: list[Frame] = []
    waiting = 0
    for frame in frames:
        group.append(frame)
        waiting += people(frame)
        if waiting >= people_per_call or len(group) >= max_latency:
            yield group
            group, waiting = [], 0
    if group:
        yield group
