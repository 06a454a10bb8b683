"""Reading joints where the keypoint similarity to expect is highest."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from posefix_track.heatmaps import expected_similarity, gaussian_heatmaps, similarity_argmax, soft_argmax

SIZE = (32, 24)


def _map(*peaks: tuple[float, float, float]) -> Tensor:
    """[1, 1, h, w]: Gaussians of one cell at (x, y) with a weight each, summing to 1."""
    maps = [w * gaussian_heatmaps(torch.tensor([[[x, y]]]), SIZE, 1.0) for x, y, w in peaks]
    total = torch.stack(maps).sum(0)
    return total / total.sum()


@given(st.floats(5, 18), st.floats(5, 26), st.floats(1, 2))
@settings(max_examples=30, deadline=None)
def test_a_single_peak_is_found_between_cells(x: float, y: float, spread: float) -> None:
    found = similarity_argmax(_map((x, y, 1.0)), torch.tensor([spread]), steps=20)
    # 0.05 cells are 0.2 pixels: the climb slows down near the top, and the Gaussian ends at the border.
    np.testing.assert_allclose(found[0, 0], [x, y], atol=0.05)


def test_of_two_peaks_the_likelier_is_taken_where_the_mean_lies_between() -> None:
    heatmaps = _map((5, 8, 0.6), (18, 24, 0.4))
    np.testing.assert_allclose(soft_argmax(heatmaps)[0, 0], [10.2, 14.4], atol=0.01)
    np.testing.assert_allclose(similarity_argmax(heatmaps, torch.tensor([1.5]))[0, 0], [5, 8], atol=0.01)


def test_no_cell_has_a_higher_expected_similarity_than_the_one_found() -> None:
    heatmaps = torch.softmax(3 * torch.randn(4, 5, 768, generator=torch.Generator().manual_seed(1)), 2)
    heatmaps = heatmaps.view(4, 5, *SIZE)
    spread = torch.tensor([0.6, 1.0, 1.5, 2.5, 4.0])
    best = expected_similarity(heatmaps, similarity_argmax(heatmaps, spread), spread)
    for row in range(SIZE[0]):
        for column in range(SIZE[1]):
            other = torch.tensor([float(column), float(row)]).expand(4, 5, 2)
            assert (expected_similarity(heatmaps, other, spread) <= best + 1e-6).all()


def test_expected_similarity_is_the_sum_over_all_cells() -> None:
    heatmaps, spread = _map((7, 9, 1.0), (10, 12, 0.5)), torch.tensor([1.3])
    slow = sum(
        heatmaps[0, 0, y, x] * np.exp(-((x - 8.5) ** 2 + (y - 10.25) ** 2) / (2 * 1.3**2))
        for y in range(SIZE[0])
        for x in range(SIZE[1])
    )
    fast = expected_similarity(heatmaps, torch.tensor([[[8.5, 10.25]]]), spread)
    np.testing.assert_allclose(fast[0, 0], slow, rtol=1e-5)  # float32


def test_gradients_pass_through_the_climb() -> None:
    logits = torch.zeros(1, 1, *SIZE).requires_grad_()
    heatmaps = torch.softmax((logits + 9 * _map((7, 9, 1.0))).flatten(2), 2).view(1, 1, *SIZE)
    similarity_argmax(heatmaps, torch.tensor([1.0])).sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad.abs().sum() > 0
