"""Batches filled up to sizes that a graph was recorded for, and their results cut to the rows again."""

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from engines.engine import EngineError, out_of_memory

Inputs = tuple[Tensor, Tensor, Tensor]
Outputs = tuple[Tensor, Tensor]

_log = logging.getLogger(__name__)


class Buckets:
    """Runs any number of rows in batches of fixed sizes.

    Where the memory of the GPU does not suffice for a size, it and all larger ones are given up.

    Args:
        record: gets the first rows of ``rows``; the function that it returns computes, again and again, from what lies
            in them by then, and may overwrite its earlier results.
        rows: images, keypoints and present of the largest size; all sizes read the first rows of the same tensors, as
            they run one after the other.
        sizes: ascending.
    """

    def __init__(self, record: Callable[[Inputs], Callable[[], Outputs]], rows: Inputs, sizes: Sequence[int]) -> None:
        self.sizes = tuple(sizes)
        self._record = record
        self._rows = rows
        self._recorded: dict[int, Callable[[], Outputs]] = {}

    def __call__(self, *inputs: Tensor) -> Outputs:
        """Results of all rows, in new tensors."""
        done: list[Outputs] = []
        first = 0
        while first < len(inputs[0]):
            part = tuple(tensor[first : first + self.sizes[-1]] for tensor in inputs)
            size = next(size for size in self.sizes if size >= len(part[0]))
            try:
                done.append(self._run(part, size))
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                self._give_up(size, error)
                continue
            first += len(part[0])
        return torch.cat([refined for refined, _ in done]), torch.cat([similarity for _, similarity in done])

    def _run(self, part: tuple[Tensor, ...], size: int) -> Outputs:
        """Rows that fill up the bucket are what was there before."""
        count = len(part[0])
        for row, given in zip(self._rows, part, strict=True):
            row[:count].copy_(given)
        if size not in self._recorded:
            images, keypoints, present = (row[:size] for row in self._rows)
            self._recorded[size] = self._record((images, keypoints, present))
        refined, similarity = self._recorded[size]()
        # Copies: the next run overwrites the outputs of a graph.
        return refined[:count].clone(), similarity[:count].clone()

    def _give_up(self, size: int, error: RuntimeError) -> None:
        smaller = tuple(s for s in self.sizes if s <= size // 2)
        if not smaller:
            raise EngineError(
                f"the GPU has too little free memory for a batch of {size}; free some or use --device cpu"
            ) from error
        _log.warning("too little GPU memory for batches of %d people; going on with %d", size, smaller[-1])
        self.sizes = smaller
        self._recorded = {s: run for s, run in self._recorded.items() if s in smaller}
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
