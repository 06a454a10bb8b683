"""Long lists of which only one block is in memory at a time."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np


class BlockList(Sequence[Any]):
    """A read-only list that is made anew, block by block, whenever it is walked through."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self._ends = np.cumsum(np.array(sizes, np.int64))
        self._last: tuple[int, Sequence[Any]] = -1, ()

    @abstractmethod
    def _parsed(self, number: int) -> Sequence[Any]:
        """The items of a block."""

    def _block(self, number: int) -> Sequence[Any]:
        if self._last[0] != number:
            self._last = number, self._parsed(number)
        return self._last[1]

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __iter__(self) -> Iterator[Any]:
        for number in range(len(self._ends)):
            yield from self._block(number)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            return list(islice(self, start, stop, step))
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = int(np.searchsorted(self._ends, index, side="right"))
        return self._block(number)[index - (int(self._ends[number - 1]) if number else 0)]
