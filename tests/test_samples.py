from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from posefix_track.crops import crop_transform
from posefix_track.errors import InputError
from posefix_track.keypoints import UNION_19
from tests.training_data import (
    NO_AUGMENTATION,
    NO_GAPS,
    TRUTH,
    Still,
    dotted,
    person,
    recipe,
    write_training_data,
)
from trainer.datasets import Dataset
from trainer.images import Images, Pictures
from trainer.people import Person
from trainer.recipe import Recipe
from trainer.samples import Batch, Samples, cut, make_batch
from trainer.train import load_samples


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_training_data(tmp_path)
    return tmp_path


def columns(batch: Batch) -> list[torch.Tensor]:
    return list(vars(batch).values())


def test_the_same_step_gives_the_same_batch(root: Path) -> None:
    one, other = load_samples(recipe(), root), load_samples(recipe(), root)
    for first, second in zip(columns(one[2]), columns(other[2]), strict=True):
        assert torch.equal(first, second)
    assert not torch.equal(one[2].images, one[3].images)


def test_another_seed_gives_another_batch(root: Path) -> None:
    other = recipe(train=replace(recipe().train, seed=1))
    assert not torch.equal(load_samples(recipe(), root)[0].images, load_samples(other, root)[0].images)


def test_a_batch_has_the_documented_columns(root: Path) -> None:
    batch = load_samples(recipe(), root)[0]
    shapes = [(3, 64, 32, 3), (3, 19, 2), (3, 19), (3, 19, 2), (3, 19), (3,)]
    kinds = [torch.uint8, torch.float32, torch.bool, torch.float32, torch.bool, torch.float32]
    assert [tuple(c.shape) for c in columns(batch)] == shapes
    assert [c.dtype for c in columns(batch)] == kinds
    assert batch.present.any(1).all()
    assert batch.keypoints[batch.present].isfinite().all()


def test_weights_decide_which_set_is_drawn_from() -> None:
    sets = [
        Dataset([person(np.random.default_rng(i).random((19, 2)) * 50)], Still(np.zeros((100, 80, 3), np.uint8)), w)
        for i, w in ((0, 0.0), (1, 2.0))
    ]
    samples = Samples(sets, recipe(synthesis=NO_GAPS))
    assert samples.shares.tolist() == [0, 1]
    assert samples[0].images.shape[0] == 3


def batch_of(one: Person, pictures: Pictures, count: int, settings: Recipe) -> Batch:
    return make_batch([one] * count, [pictures] * count, settings, np.random.default_rng(0))


@pytest.mark.parametrize("annotation_padding", [0.0, 1.25])
def test_targets_and_picture_move_together(annotation_padding: float) -> None:
    augment = replace(recipe().augment, colour=0, occlude=0, annotation_padding=annotation_padding)
    wide = recipe(augment=augment, synthesis=TRUTH)
    wide = replace(wide, network=replace(wide.network, input_size=(256, 192)))
    count = 24  # flipped and not, rotated and not
    batch = batch_of(*dotted(), count, wide)
    rows, grid = np.indices((256, 192))
    checked = 0
    for crop, targets in zip(batch.images.numpy()[..., 0].astype(float), batch.targets.numpy(), strict=True):
        for x, y in targets:
            near = crop * ((abs(grid - x) < 5) & (abs(rows - y) < 5))
            if 6 < x < 186 and 6 < y < 250:
                found = np.array([(near * grid).sum(), (near * rows).sum()]) / near.sum()
                # A dot's centre of mass after bilinear sampling.
                assert np.abs(found - (x, y)).max() < 0.6
                checked += 1
    assert checked > count * 19 / 2


def test_a_mirrored_sample_exchanges_left_and_right() -> None:
    labelled = np.ones(19, bool)
    labelled[UNION_19.index["left_wrist"]] = False
    count = 16
    settings = recipe(augment=NO_AUGMENTATION, synthesis=TRUTH)
    network = replace(settings.network, input_size=(256, 192))
    batch = batch_of(*dotted(labelled), count, replace(settings, network=network))
    torch.testing.assert_close(batch.keypoints, batch.targets)
    assert torch.equal(batch.present, batch.labelled)
    mirrored = ~batch.labelled[:, UNION_19.index["right_wrist"]]
    assert 0 < mirrored.sum() < count
    plain, flipped = batch.targets[~mirrored][0], batch.targets[mirrored][0]
    torch.testing.assert_close(flipped[UNION_19.flip_index, 1], plain[:, 1])
    torch.testing.assert_close(flipped[UNION_19.flip_index, 0], 192 - 1 - plain[:, 0])
    apart = batch.images[mirrored][0].numpy()[:, ::-1].astype(int) - batch.images[~mirrored][0].numpy()
    assert np.abs(apart).max() <= 16  # OpenCV interpolates at 1/32 pixel both ways: 2 * 255 / 32


def test_area_is_measured_in_crop_pixels() -> None:
    batch = batch_of(*dotted(), 1, recipe(augment=NO_AUGMENTATION, synthesis=TRUTH))
    extent = batch.targets[0].amax(0) - batch.targets[0].amin(0)
    # A person covers 0.53 of the box.
    np.testing.assert_allclose(batch.area[0], 0.53 * extent.prod(), rtol=1e-5)


@pytest.mark.parametrize("name", ["coco17", "posetrack18", "union19"])
def test_a_batch_has_the_joints_of_the_network(name: str) -> None:
    network = replace(recipe().network, keypoints=name)
    settings = recipe(augment=NO_AUGMENTATION, synthesis=TRUTH)
    union = batch_of(*dotted(), 4, settings)
    batch = batch_of(*dotted(), 4, replace(settings, network=network))
    for joint, there in network.keypoint_set.index.items():
        here = UNION_19.index[joint]
        if joint in network.keypoint_set.dead:
            assert not batch.present[:, there].any() and not batch.labelled[:, there].any()
        else:
            torch.testing.assert_close(batch.keypoints[:, there], union.keypoints[:, here])
            torch.testing.assert_close(batch.targets[:, there], union.targets[:, here])


def test_a_crop_of_the_annotated_box_does_not_follow_the_pose() -> None:
    one, picture = dotted()
    box = np.array([40.0, 60.0, 100.0, 160.0])
    settings = recipe(augment=replace(NO_AUGMENTATION, annotation_padding=1.25), synthesis=NO_GAPS)
    batch = batch_of(replace(one, bbox_xyxy=box), picture, 8, settings)
    transform = crop_transform(box[None], (64, 32), 1.25)
    expected = transform.to_crop(one.keypoints[None])[0]
    inside = ((expected >= 0) & (expected < (32, 64))).all(1)
    assert 0 < inside.sum() < 19
    plain = [t for t, seen in zip(batch.targets, batch.labelled, strict=True) if np.array_equal(seen, inside)]
    assert len(plain) >= 2
    np.testing.assert_allclose(plain[0], expected, atol=1e-3)  # float32 pixels


def test_original_scaling_is_linear_and_clipped_to_one_deviation() -> None:
    settings = recipe(augment=replace(NO_AUGMENTATION, scale=0.3, linear_scale=True), synthesis=TRUTH)
    batch = batch_of(*dotted(), 400, settings)
    still = batch_of(*dotted(), 1, recipe(augment=NO_AUGMENTATION, synthesis=TRUTH))
    factor = (still.area[0] / batch.area).sqrt()
    assert factor.min() == pytest.approx(0.7, abs=1e-4) and factor.max() == pytest.approx(1.3, abs=1e-4)
    # A normal distribution has 31.7 % beyond one deviation; four standard errors.
    assert ((factor < 0.701) | (factor > 1.299)).float().mean() == pytest.approx(0.317, abs=0.093)


def test_half_bodies_keep_the_joints_of_one_half() -> None:
    settings = recipe(augment=replace(NO_AUGMENTATION, half_body=1.0), synthesis=TRUTH)
    batch = batch_of(*dotted(), 40, settings)
    lower = torch.tensor([joint.split("_")[-1] in ("hip", "knee", "ankle") for joint in UNION_19.joints])
    legs = (batch.present == lower).all(1)
    assert 5 < legs.sum() < 35
    assert (batch.present[~legs] == ~lower).all()
    assert batch.labelled.all()
    few = dotted(np.arange(19) < 7)  # not even eight joints: nobody knows that this is a whole person
    assert (batch_of(*few, 20, settings).present.sum(1) == 7).all()


def test_half_bodies_need_a_crop_that_follows_the_pose() -> None:
    with pytest.raises(InputError, match="half_body needs a crop that follows the input pose"):
        replace(NO_AUGMENTATION, half_body=0.1, annotation_padding=1.25)


def test_a_large_picture_is_decoded_small_and_shows_the_same(tmp_path: Path) -> None:
    smooth = cv2.resize(np.random.default_rng(0).integers(0, 256, (18, 12, 3)).astype(np.uint8), (1200, 1800))
    cv2.imwrite(str(tmp_path / "a.jpg"), smooth, [cv2.IMWRITE_JPEG_QUALITY, 98])
    images = Images([tmp_path])
    for size, expected in ((128, 8), (256, 4), (512, 2), (1024, 1)):
        transform = crop_transform(np.array([[100.0, 100, 1000, 1600]]), (size, size * 3 // 4), 1.1, 20.0)
        pictures = _Counting(images)
        small = cut(transform, [(pictures, "a.jpg")], antialias=True)[0]
        assert pictures.shrinks == [expected]
        full = transform.crop(images.read("a.jpg")[0])[0]
        # Means of the same pixels by two ways; a shift of half a pixel of the small picture would give 3 and more.
        assert np.abs(small.astype(int) - full).mean() < 1
    assert cut(transform, [(pictures, "a.jpg")], antialias=False).shape == (1, 1024, 768, 3)
    assert pictures.shrinks == [1, 1]


class _Counting:
    """Pictures that remember how small they were wanted."""

    def __init__(self, images: Images) -> None:
        self.images, self.shrinks = images, list[int]()

    def read(self, name: str, shrink: int = 1) -> tuple[np.ndarray, int]:
        self.shrinks.append(shrink)
        return self.images.read(name, shrink)


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_the_batch_of_one(root: Path, processes: int) -> None:
    settings = recipe(train=replace(recipe().train, batch_size=64))
    datasets = load_samples(settings, root).datasets
    whole = Samples(datasets, settings)[1]
    parts = [Samples(datasets, settings, None, i, processes)[1] for i in range(processes)]
    for column, *shares in zip(columns(whole), *map(columns, parts), strict=True):
        assert torch.equal(column, torch.cat(shares))


def test_a_batch_that_cannot_be_shared_is_refused(root: Path) -> None:
    settings = recipe(train=replace(recipe().train, batch_size=48))
    with pytest.raises(InputError, match=r"multiple of 16 \* 2 processes, got 48"):
        Samples(load_samples(settings, root).datasets, settings, None, 0, 2)
