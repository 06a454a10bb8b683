import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from posefix_track.errors import InputError
from posefix_track.keypoints import UNION_19
from tests.training_data import NO_AUGMENTATION, NO_GAPS, PICTURES, annotation, recipe, write_training_data
from trainer.datasets import Dataset, Images, Person, load_dataset
from trainer.recipe import DataConfig, SynthesisConfig, read_recipe
from trainer.rendered import rendered_dataset
from trainer.samples import Batch, Samples, input_poses, make_batch
from trainer.train import load_samples

RECIPES = sorted((Path(__file__).parents[1] / "trainer" / "recipes").glob("*.toml"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_training_data(tmp_path)
    return tmp_path


def load(root: Path) -> Dataset:
    return load_dataset(recipe().data[0], root)


def person(keypoints: np.ndarray, labelled: np.ndarray | None = None) -> Person:
    """A person on picture "0" whose other estimator found nothing."""
    labelled = np.ones(19, bool) if labelled is None else labelled
    nothing = np.zeros((19, 2)), np.zeros(19, bool)
    area = float(np.ptp(keypoints, 0).prod())
    return Person("0", keypoints, labelled, np.zeros((0, 19, 2)), np.zeros((0, 19), bool), *nothing, area)


def columns(batch: Batch) -> list[torch.Tensor]:
    return list(vars(batch).values())


# Recipes


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.name)
def test_shipped_recipes_can_be_read(path: Path) -> None:
    read = read_recipe(path)
    assert read.data and read.train.steps > 0
    assert read.network.keypoint_set is UNION_19


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train", "not a readable TOML recipe"),
        ("", "missing or malformed setting: 'data'"),
        ("data = []\n[train]\nbatch_size = 3", "steps"),
        ("data = []\n[train]\nsteps = 3\npace = 4", r"\['pace'\] in a TrainConfig; known: .*'batch_size'"),
        ("data = []\n[train]\nsteps = 3\n[network]\ncolour = 4", r"\['colour'\]; known: .*'backbone'"),
        ("data = []\ntrain = 3", "not iterable"),
        ("data = 5\n[train]\nsteps = 3", "not iterable"),
    ],
)
def test_a_broken_recipe_names_file_and_setting(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "broken.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"broken\.toml: .*{message}"):
        read_recipe(path)


def test_unreadable_recipes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    for name in ("none.toml", "binary.toml"):
        with pytest.raises(InputError, match=rf"{name}: not a readable TOML recipe"):
            read_recipe(tmp_path / name)


# Data sets


def test_people_are_read_into_union_joints(root: Path) -> None:
    dataset = load(root)
    assert [p.image for p in dataset.people] == [f"{n}.png" for n in range(PICTURES)]
    assert dataset.skipped == 0
    one, source = dataset.people[3], np.array(annotation(3)["keypoints"]).reshape(17, 3)
    np.testing.assert_array_equal(one.labelled, [*(source[:, 2] > 0), False, False])
    np.testing.assert_array_equal(one.keypoints[:17], source[:, :2])
    assert one.area == 50 * 110
    assert [p.estimated.any() for p in dataset.people] == [True, False] * 3


def test_pictures_come_from_folder_and_shard(root: Path) -> None:
    images = load(root).images
    for number in range(PICTURES):
        expected = np.random.default_rng(number).integers(0, 256, (120, 80, 3))
        np.testing.assert_array_equal(images.read(f"{number}.png"), expected)


def test_overlapping_people_are_near_each_other(tmp_path: Path) -> None:
    beside, far = annotation(1, image_id=0), annotation(2, image_id=0, bbox=[500, 5, 50, 110])
    write_training_data(tmp_path, [annotation(0), beside, far])
    first, second, third = load(tmp_path).people
    np.testing.assert_array_equal(first.near, [second.keypoints])
    np.testing.assert_array_equal(first.near_labelled, [second.labelled])
    assert len(second.near) == 1
    assert len(third.near) == 0


@pytest.mark.parametrize(
    "damage",
    [
        {"keypoints": [1.0] * 50},
        {"keypoints": [1.0] * 48},
        {"keypoints": None},
        {"keypoints": [0] * 51},  # nothing labelled
        {"keypoints": [float("nan"), 1.0, 2] * 17},
        {"bbox": [1, 2, 3]},
        {"bbox": [5, 5, 0, 9]},
        {"bbox": None},
        {"image_id": 5},  # the picture is deleted below
    ],
    ids=lambda damage: f"{next(iter(damage))} {str(next(iter(damage.values())))[:20]}",
)
def test_a_bad_annotation_is_skipped_and_counted(tmp_path: Path, damage: dict[str, object]) -> None:
    people = [annotation(0), annotation(1) | damage, annotation(2)]
    write_training_data(tmp_path, people)
    (tmp_path / "shard.tar").unlink()
    dataset = load_dataset(DataConfig("people.json", ("pictures",), 1.0), tmp_path)
    assert [p.image for p in dataset.people] == ["0.png", "2.png"]
    assert dataset.skipped == 1


def test_crowds_and_bystanders_are_no_targets(tmp_path: Path) -> None:
    people = [annotation(0), annotation(1, iscrowd=1), annotation(2, target=0)]
    write_training_data(tmp_path, people)
    dataset = load(tmp_path)
    assert [p.image for p in dataset.people] == ["0.png"]
    assert dataset.skipped == 0


@pytest.mark.parametrize("name", ["people.json", "estimates.json", "shard.tar"])
@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff\x00" * 300])
def test_an_unreadable_file_is_named(root: Path, name: str, content: bytes | None) -> None:
    if content is None:
        (root / name).unlink()
    else:
        (root / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        load(root)


@pytest.mark.parametrize("content", [{}, [], {"categories": []}, {"categories": [{"keypoints": ["nose"]}]}])
def test_annotations_of_another_layout_are_refused(root: Path, content: object) -> None:
    (root / "people.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"people\.json: (not annotations in COCO layout|fewer than six known joints)"):
        load(root)


def test_a_cut_off_shard_is_named(root: Path) -> None:
    shard = root / "shard.tar"
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    with pytest.raises(InputError, match=r"shard\.tar: not a readable tar shard"):
        load(root)


def test_a_set_without_people_is_refused(tmp_path: Path) -> None:
    write_training_data(tmp_path, [annotation(77)])
    with pytest.raises(InputError, match=r"people\.json: nobody to train on"):
        load(tmp_path)


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n", b"text"])
def test_a_picture_that_does_not_decode_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.png: does not decode"):
        Images([tmp_path]).read("a.png")


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"b\.png: no such image"):
        Images([tmp_path]).read("b.png")


# Samples


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
        Dataset([person(np.random.default_rng(i).random((19, 2)) * 50)], _Black(), w, 0)
        for i, w in ((0, 0.0), (1, 2.0))
    ]
    samples = Samples(sets, recipe(synthesis=NO_GAPS))
    assert samples.shares.tolist() == [0, 1]
    assert samples[0].images.shape[0] == 3


class _Black:
    def read(self, name: str) -> np.ndarray:
        return np.zeros((100, 80, 3), np.uint8)


def dotted(scale: int = 1) -> tuple[Person, np.ndarray]:
    """A person whose joints are white dots on black, at least 9 pixels apart."""
    rng = np.random.default_rng(3)
    cells = rng.permutation(6 * 9)[:19]
    keypoints = np.stack([40 + 16.0 * (cells % 6), 40 + 16.0 * (cells // 6)], -1)
    image = np.zeros((240, 180, 3), np.uint8)
    for x, y in keypoints.astype(int):
        image[y - 1 : y + 2, x - 1 : x + 2] = 255
    return person(keypoints), image


def test_targets_and_picture_move_together() -> None:
    one, image = dotted()
    wide = recipe(augment=replace(recipe().augment, colour=0, occlude=0))
    wide = replace(wide, network=replace(wide.network, input_size=(256, 192)))
    count = 24  # flipped and not, rotated and not
    rng = np.random.default_rng(0)
    poses, present = np.repeat(one.keypoints[None], count, 0), np.ones((count, 19), bool)
    batch = make_batch([one] * count, [image] * count, poses, present, wide, rng)
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
    one, image = dotted()
    labelled = np.ones(19, bool)
    labelled[UNION_19.index["left_wrist"]] = False
    one = replace(one, labelled=labelled)
    count = 16
    poses, present = np.repeat(one.keypoints[None], count, 0), np.repeat(labelled[None], count, 0)
    still = recipe(augment=NO_AUGMENTATION)
    batch = make_batch([one] * count, [image] * count, poses, present, still, np.random.default_rng(0))
    torch.testing.assert_close(batch.keypoints, batch.targets)
    assert torch.equal(batch.present, batch.labelled)
    mirrored = ~batch.labelled[:, UNION_19.index["right_wrist"]]
    assert 0 < mirrored.sum() < count
    plain, flipped = batch.targets[~mirrored][0], batch.targets[mirrored][0]
    torch.testing.assert_close(flipped[UNION_19.flip_index, 1], plain[:, 1])
    torch.testing.assert_close(flipped[UNION_19.flip_index, 0], 32 - 1 - plain[:, 0])
    np.testing.assert_array_equal(batch.images[mirrored][0].numpy()[:, ::-1], batch.images[~mirrored][0])


def test_area_is_measured_in_crop_pixels() -> None:
    one, image = dotted()
    still = recipe(augment=NO_AUGMENTATION)
    batch = make_batch(
        [one], [image], one.keypoints[None].copy(), np.ones((1, 19), bool), still, np.random.default_rng(0)
    )
    extent = batch.targets[0].amax(0) - batch.targets[0].amin(0)
    # A person covers 0.53 of the box.
    np.testing.assert_allclose(batch.area[0], 0.53 * extent.prod(), rtol=1e-5)


def test_inputs_are_the_other_estimators_where_asked_for(root: Path) -> None:
    people = load(root).people
    poses, present = input_poses(people, replace(NO_GAPS, estimate_share=1.0), np.random.default_rng(0))
    for pose, has, one in zip(poses, present, people, strict=True):
        if one.estimated.any():
            np.testing.assert_array_equal(pose, one.estimate)
            np.testing.assert_array_equal(has, one.estimated)
        else:
            np.testing.assert_array_equal(has, one.labelled)
            assert not np.array_equal(pose[has], one.keypoints[has])


def test_joints_without_any_position_are_absent(root: Path) -> None:
    people = load(root).people
    _, present = input_poses(people, NO_GAPS, np.random.default_rng(0))
    np.testing.assert_array_equal(present, [one.labelled | one.estimated for one in people])


def test_a_person_always_keeps_a_joint() -> None:
    few = np.zeros(19, bool)
    few[5] = True
    people = [person(np.random.default_rng(0).random((19, 2)), few)] * 200
    _, present = input_poses(people, SynthesisConfig(absent=0.9), np.random.default_rng(0))
    assert present.any(1).all()
    assert not present[:, ~few].any()


def test_the_head_is_absent_as_often_as_asked_for() -> None:
    people = [person(np.random.default_rng(0).random((19, 2)) * 100)] * 2000
    _, present = input_poses(people, replace(NO_GAPS, absent_head=0.5), np.random.default_rng(0))
    ends = present[:, [UNION_19.index["head_bottom"], UNION_19.index["head_top"]]]
    assert (ends[:, 0] == ends[:, 1]).all()
    assert abs(ends.mean() - 0.5) < 0.05  # four standard errors
    assert present[:, :17].all()


def test_drawn_figures_are_a_data_set() -> None:
    one, other = (rendered_dataset(3, 0.5, seed=7) for _ in range(2))
    assert one.weight == 0.5
    assert 1 <= len(one.people) == len(other.people)
    for first, second in zip(one.people, other.people, strict=True):
        np.testing.assert_array_equal(first.keypoints, second.keypoints)
        np.testing.assert_array_equal(one.images.read(first.image), other.images.read(second.image))
        assert first.labelled.sum() >= 6
    with pytest.raises(InputError, match="no rendered picture '3'"):
        one.images.read("3")
