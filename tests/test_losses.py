from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posefix_track.heatmaps import log_softmax_heatmaps, soft_argmax, softmax_heatmaps
from posefix_track.keypoints import COCO_17
from posefix_track.network import STRIDE
from trainer.losses import (
    confidence_loss,
    coordinate_loss,
    heatmap_loss,
    keypoint_similarity,
    masked_mean,
    one_hot_heatmaps,
)

GOLDEN = Path(__file__).parents[2] / "shared" / "golden" / "posefix_reference"
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no ../shared/golden beside the checkout")
Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def of_heatmaps(logits: torch.Tensor, targets: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    return heatmap_loss(log_softmax_heatmaps(logits), targets, valid)


def of_coordinates(logits: torch.Tensor, targets: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    return coordinate_loss(soft_argmax(softmax_heatmaps(logits)), targets, valid)


LOSSES = pytest.mark.parametrize("loss", [of_heatmaps, of_coordinates], ids=lambda f: f.__name__)


def random_case(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 5, 16, 12, generator=generator)
    targets = torch.rand(2, 5, 2, generator=generator) * torch.tensor([48.0, 64.0])
    valid = torch.rand(2, 5, generator=generator) > 0.4
    return logits.requires_grad_(), targets, valid


@settings(deadline=None)
@given(st.floats(0, 11.999), st.floats(0, 15.999))
def test_a_target_sums_to_one_everywhere_inside(x: float, y: float) -> None:
    target = one_hot_heatmaps(torch.tensor([[[x, y]]]), (16, 12))
    assert abs(target.sum().item() - 1) < 1e-5
    assert (target >= 0).all()
    assert (target > 0).sum() <= 4


def test_a_target_at_the_rim_goes_to_the_last_cell() -> None:
    # 0.01 pixel before the right edge of a crop 48 pixels wide, which is 2.99 cells beyond the last cell but one.
    target = one_hot_heatmaps(torch.tensor([[[(48 - 0.01) / STRIDE, 3.0]]]), (16, 12))[0, 0]
    assert abs(target[3, 11].item() - 1) < 1e-5


@pytest.mark.parametrize("point", [(-1.0, 3.0), (12.0, 3.0), (3.0, 16.0), (1e6, -1e6)])
def test_a_target_outside_is_empty(point: tuple[float, float]) -> None:
    assert not one_hot_heatmaps(torch.tensor([[point]]), (16, 12)).any()


def test_a_target_is_bilinear() -> None:
    target = one_hot_heatmaps(torch.tensor([[[2.25, 7.5]]]), (16, 12))[0, 0]
    assert target[7:9, 2:4].tolist() == [[0.375, 0.125], [0.375, 0.125]]


@needs_golden
def test_targets_equal_recorded_ones() -> None:
    golden = np.load(GOLDEN / "onehot.npz")
    target = one_hot_heatmaps(torch.from_numpy(golden["coord"]) / STRIDE, (64, 48)).numpy()
    inside = golden["in_range"]
    recorded = golden["heatmap"].transpose(0, 3, 1, 2)
    np.testing.assert_allclose(target[inside], recorded[inside], atol=1e-5)  # float32


@needs_golden
def test_losses_equal_recorded_ones() -> None:
    golden = np.load(GOLDEN / "loss.npz")
    logits = torch.from_numpy(golden["logits"]).float().permute(0, 3, 1, 2).contiguous().requires_grad_()
    targets, valid = torch.from_numpy(golden["target_coord"]), torch.from_numpy(golden["target_valid"]) > 0
    # The original averages over all joints, invalid ones included.
    share = valid.float().mean()
    heatmap = of_heatmaps(logits, targets, valid) * share
    coordinate = of_coordinates(logits, targets, valid) * share
    np.testing.assert_allclose(heatmap.item(), golden["loss_heatmap"], rtol=1e-5)
    np.testing.assert_allclose(coordinate.item(), golden["loss_coord"], rtol=1e-5)
    np.testing.assert_allclose(soft_argmax(softmax_heatmaps(logits)).detach() * STRIDE, golden["coord"], atol=1e-3)
    for part, key in ((heatmap, "grad_heatmap_abs_sum"), (coordinate, "grad_coord_abs_sum")):
        (gradient,) = torch.autograd.grad(part, logits, retain_graph=True)
        np.testing.assert_allclose(gradient.abs().sum((2, 3)), golden[key], rtol=1e-4, atol=1e-6)
    (gradient,) = torch.autograd.grad(heatmap + coordinate, logits)
    np.testing.assert_allclose(gradient[0, 0], golden["grad_joint0"][0], rtol=1e-4, atol=1e-7)


@LOSSES
def test_losses_equal_a_slow_sum_over_valid_joints(loss: Loss) -> None:
    logits, targets, valid = random_case()
    slow = []
    for b, k in valid.nonzero().tolist():
        probability = logits[b, k].detach().double().exp()
        probability /= probability.sum()
        x, y = (targets[b, k].double() / STRIDE).tolist()
        if loss is of_coordinates:
            rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(12.0), indexing="ij")
            found = (probability * columns).sum().item(), (probability * rows).sum().item()
            slow.append((abs(found[0] - x) + abs(found[1] - y)) / 2)
        else:
            target = one_hot_heatmaps(targets[b : b + 1, k : k + 1] / STRIDE, (16, 12))[0, 0]
            slow.append(-(target * probability.log()).sum().item())
    assert abs(loss(logits, targets, valid).item() - np.mean(slow)) < 1e-5


@LOSSES
def test_invalid_joints_give_no_gradient_and_valid_ones_do(loss: Loss) -> None:
    logits, targets, valid = random_case(1)
    targets = torch.where(valid[..., None], targets, torch.tensor(-1e6))
    loss(logits, targets, valid).backward()
    assert logits.grad is not None
    assert not logits.grad[~valid].any()
    assert logits.grad[valid].abs().sum((1, 2)).min() > 0


@LOSSES
def test_without_valid_joints_the_loss_is_zero(loss: Loss) -> None:
    logits, targets, valid = random_case()
    value = loss(logits, targets, torch.zeros_like(valid))
    value.backward()
    assert value.item() == 0
    assert logits.grad is not None and not logits.grad.any()


@LOSSES
def test_half_precision_logits_are_judged_in_float32(loss: Loss) -> None:
    logits, targets, valid = random_case()
    small = logits.detach().bfloat16()
    assert loss(small, targets, valid).dtype == torch.float32
    assert torch.equal(loss(small, targets, valid), loss(small.float(), targets, valid))


def test_flat_logits_cost_the_logarithm_of_the_cells() -> None:
    targets = torch.full((1, 3, 2), 10.0)
    value = of_heatmaps(torch.zeros(1, 3, 16, 12), targets, torch.tensor([[True, False, True]]))
    assert abs(value.item() - np.log(16 * 12)) < 1e-5


def test_a_perfect_heatmap_costs_nothing() -> None:
    logits = torch.full((1, 1, 16, 12), -1e4)
    logits[0, 0, 5, 7] = 1e4
    targets = torch.tensor([[[7.0, 5.0]]]) * STRIDE
    assert of_heatmaps(logits, targets, torch.ones(1, 1, dtype=torch.bool)).item() == 0
    assert of_coordinates(logits, targets, torch.ones(1, 1, dtype=torch.bool)).item() == 0


def test_similarity_is_cocos() -> None:
    sigmas = torch.tensor(COCO_17.sigmas, dtype=torch.float32)
    distance = 2 * sigmas * 20  # where the exponent is -1/2
    keypoints = torch.stack([distance, torch.zeros(17)], -1)[None]
    found = keypoint_similarity(keypoints, torch.zeros(1, 17, 2), torch.tensor([400.0]), sigmas)
    torch.testing.assert_close(found, torch.full((1, 17), np.exp(-0.5), dtype=torch.float32))


def test_confidence_is_cheapest_at_the_true_similarity() -> None:
    truth = torch.tensor([[[0.3, 0.9]]])
    known = torch.ones(1, 1, 2, dtype=torch.bool)
    best = confidence_loss(torch.logit(truth), truth, known)
    assert all(confidence_loss(torch.logit(truth) + d, truth, known) > best for d in (-0.5, 0.5))


def test_a_masked_mean_ignores_what_is_masked() -> None:
    values = torch.tensor([1.0, float("nan"), 3.0, float("inf")], requires_grad=True)
    mean = masked_mean(values, torch.tensor([True, False, True, False]))
    mean.backward()
    assert mean.item() == 2
    assert values.grad is not None and values.grad.tolist() == [0.5, 0, 0.5, 0]
