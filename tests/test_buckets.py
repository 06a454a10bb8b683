from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from engines.buckets import Buckets, Inputs, Outputs
from engines.engine import EngineError


def rows(count: int, first: int = 0) -> Inputs:
    """Rows that can be told apart."""
    numbers = torch.arange(first, first + count, dtype=torch.float32)
    return numbers[:, None], numbers[:, None] * 10, numbers[:, None] * 100


class Recorder:
    """Computes sums from the rows, as a CUDA graph does: always into the same memory. Remembers which sizes ran."""

    def __init__(self, limit: int = 64, error: RuntimeError | None = None) -> None:
        self.limit, self.error = limit, error or torch.OutOfMemoryError("CUDA out of memory.")
        self.recorded: list[int] = []
        self.ran: list[int] = []

    def __call__(self, inputs: Inputs) -> Callable[[], Outputs]:
        size = len(inputs[0])
        if size > self.limit:
            raise self.error
        self.recorded.append(size)
        out = torch.empty(size, 1), torch.empty(size, 1)

        def run() -> Outputs:
            self.ran.append(size)
            out[0].copy_(inputs[0] + inputs[1])
            out[1].copy_(inputs[2])
            return out

        return run


def buckets(recorder: Recorder, sizes: tuple[int, ...] = (1, 2, 4, 8)) -> Buckets:
    blank: tuple[Tensor, ...] = tuple(torch.zeros(sizes[-1], 1) for _ in range(3))
    return Buckets(recorder, (blank[0], blank[1], blank[2]), sizes)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=4), st.integers(1, 8))
def test_every_row_gets_its_own_result_whatever_the_batches(counts: list[int], limit: int) -> None:
    run = buckets(Recorder(limit))
    for count in counts:
        images, keypoints, present = rows(count, first=count)
        plus, times = run(images, keypoints, present)
        assert torch.equal(plus, images + keypoints) and torch.equal(times, present)


def test_a_size_is_recorded_once_and_the_smallest_that_fits_is_run() -> None:
    recorder = Recorder()
    run = buckets(recorder)
    for count in (3, 4, 1, 9, 3):
        run(*rows(count))
    assert recorder.ran == [4, 4, 1, 8, 1, 4] and recorder.recorded == [4, 1, 8]


def test_results_are_not_overwritten_by_the_next_run() -> None:
    run = buckets(Recorder())
    first, _ = run(*rows(3))
    run(*rows(3, first=7))
    assert torch.equal(first, rows(3)[0] * 11)


def test_too_little_memory_halves_the_batch_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder(limit=3)
    run = buckets(recorder)
    plus, _ = run(*rows(8))
    assert torch.equal(plus, rows(8)[0] * 11)
    assert run.sizes == (1, 2) and recorder.ran == [2, 2, 2, 2]
    assert [r.getMessage() for r in caplog.records] == [
        "too little GPU memory for batches of 8 people; going on with 4",
        "too little GPU memory for batches of 4 people; going on with 2",
    ]


@pytest.mark.parametrize(
    "text",
    ["cuDNN error: CUDNN_STATUS_ALLOC_FAILED", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED", "CUDA error: out of memory"],
)
def test_too_little_memory_is_known_by_the_words_of_others(text: str) -> None:
    recorder = Recorder(limit=3, error=RuntimeError(text))
    run = buckets(recorder)
    assert torch.equal(run(*rows(8))[0], rows(8)[0] * 11) and run.sizes == (1, 2)


def test_too_little_memory_is_known_where_its_recording_cannot_be_ended() -> None:
    error = RuntimeError("CUDA error: operation failed due to a previous error during capture")
    error.__context__ = torch.OutOfMemoryError("CUDA out of memory.")
    run = buckets(Recorder(limit=3, error=error))
    assert torch.equal(run(*rows(8))[0], rows(8)[0] * 11)


def test_other_errors_are_not_taken_for_too_little_memory() -> None:
    with pytest.raises(RuntimeError, match="an illegal memory access"):
        buckets(Recorder(limit=3, error=RuntimeError("CUDA error: an illegal memory access")))(*rows(8))


def test_too_little_memory_for_one_row_is_an_error() -> None:
    with pytest.raises(EngineError, match="too little free memory for a batch of 1"):
        buckets(Recorder(limit=0))(*rows(5))
