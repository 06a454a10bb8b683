"""Joints from a softmax heatmap, from a Gaussian's maximum, and from score maps with offsets."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from posefix_track.decoding import OFFSET_UNIT, OUTPUTS, channels, decode, peaks
from posefix_track.heatmaps import gaussian_heatmaps, soft_argmax, softmax_heatmaps

SIZE = (16, 12)
SPREAD = torch.ones(5)
INSIDE = st.tuples(st.floats(1, 10), st.floats(1, 14))


def random_outputs(kind: str) -> Tensor:
    return torch.randn(2, channels(kind, 5), *SIZE, generator=torch.Generator().manual_seed(0)) * 3


@pytest.mark.parametrize("kind", OUTPUTS)
def test_every_kind_gives_positions_and_probabilities(kind: str) -> None:
    cells, heatmaps = decode(kind, random_outputs(kind).bfloat16(), 0.5, SPREAD)
    assert cells.shape == (2, 5, 2) and cells.dtype == torch.float32
    assert heatmaps.shape == (2, 5, *SIZE) and heatmaps.dtype == torch.float32
    assert (heatmaps >= 0).all()
    torch.testing.assert_close(heatmaps.sum((2, 3)), torch.ones(2, 5))


def test_the_softmax_is_read_by_its_mean() -> None:
    outputs = random_outputs("soft_argmax")
    assert torch.equal(decode("soft_argmax", outputs, 0.5, SPREAD)[0], soft_argmax(softmax_heatmaps(outputs)))


def test_peaks_equal_a_slow_search() -> None:
    maps = random_outputs("argmax")
    found = peaks(maps)
    for one, place in zip(maps.flatten(0, 1).numpy(), found.flatten(0, 1).numpy(), strict=True):
        y, x = np.unravel_index(one.argmax(), SIZE)
        wide = np.pad(one, 1, mode="edge")
        dx = 0.25 * np.sign(wide[y + 1, x + 2] - wide[y + 1, x])
        dy = 0.25 * np.sign(wide[y + 2, x + 1] - wide[y, x + 1])
        assert place.tolist() == [min(max(x + dx, 0), SIZE[1] - 1), min(max(y + dy, 0), SIZE[0] - 1)]


@settings(deadline=None)
@given(INSIDE)
def test_a_gaussian_is_found_within_a_quarter_of_a_cell(point: tuple[float, float]) -> None:
    maps = gaussian_heatmaps(torch.tensor([[point]]), SIZE, 1.0)
    # 0.01: where two neighbours are equal in float32, there is no quarter step.
    assert (peaks(maps)[0, 0] - torch.tensor(point)).abs().max() <= 0.25 + 0.01


@settings(deadline=None)
@given(INSIDE, st.floats(0.2, 2))
def test_score_and_offset_give_the_exact_place(point: tuple[float, float], unit: float) -> None:
    x, y = point
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(12.0), indexing="ij")
    scores = 1 - (rows - y).abs() - (columns - x).abs()
    outputs = torch.stack([scores, (x - columns) / unit, (y - rows) / unit])[None]
    cells, heatmaps = decode("offsets", outputs, unit, SPREAD[:1])
    torch.testing.assert_close(cells[0, 0], torch.tensor(point), atol=1e-4, rtol=0)  # float32
    assert torch.equal(heatmaps, softmax_heatmaps(scores[None, None]))


def test_every_joint_has_its_own_offsets() -> None:
    outputs = torch.zeros(1, 6, *SIZE)
    outputs[0, 0, 3, 4] = outputs[0, 1, 7, 8] = 1  # scores
    outputs[0, 2:] = torch.tensor([0.1, 0.2, 0.3, 0.4])[:, None, None]  # x and y of the first joint, of the second
    cells, _ = decode("offsets", outputs, 10.0, SPREAD[:2])
    torch.testing.assert_close(cells, torch.tensor([[[5.0, 5.0], [11.0, 11.0]]]))


def test_an_offset_of_one_is_about_half_a_disk() -> None:
    assert abs(OFFSET_UNIT - 0.507) < 1e-3
