import json
import tarfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from posefix_track.errors import InputError
from tests.training_data import PICTURES, annotation, recipe, write_training_data
from trainer.datasets import Dataset, load_dataset
from trainer.images import Images
from trainer.recipe import DataConfig
from trainer.rendered import rendered_dataset


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_training_data(tmp_path)
    return tmp_path


def load(root: Path) -> Dataset:
    return load_dataset(recipe().data[0], root)


def test_people_are_read_into_union_joints(root: Path) -> None:
    dataset = load(root)
    assert [p.image for p in dataset.people] == [f"{n}.png" for n in range(PICTURES)]
    assert not dataset.skipped
    one, source = dataset.people[3], np.array(annotation(3)["keypoints"]).reshape(17, 3)
    np.testing.assert_array_equal(one.labelled, [*(source[:, 2] > 0), False, False])
    np.testing.assert_array_equal(one.keypoints[:17], source[:, :2])
    assert one.area == 50 * 110
    assert [len(p.estimates) == 1 for p in dataset.people] == [True, False] * 3


def test_pictures_come_from_folder_and_shard(root: Path) -> None:
    images = load(root).images
    for number in range(PICTURES):
        expected = np.random.default_rng(number).integers(0, 256, (120, 80, 3))
        np.testing.assert_array_equal(images.read(f"{number}.png")[0], expected)


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
    assert sum(dataset.skipped.values()) == 1


def test_crowds_and_bystanders_are_no_targets(tmp_path: Path) -> None:
    people = [annotation(0), annotation(1, iscrowd=1), annotation(2, target=0)]
    write_training_data(tmp_path, people)
    dataset = load(tmp_path)
    assert [p.image for p in dataset.people] == ["0.png"]
    assert not dataset.skipped


@pytest.mark.parametrize("name", ["people.json", "estimates.json", "shard.tar"])
@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff\x00" * 300])
def test_an_unreadable_file_is_named(root: Path, name: str, content: bytes | None) -> None:
    if content is None:
        (root / name).unlink()
    else:
        (root / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        load(root)


@pytest.mark.parametrize("content", [{}, {"categories": []}, {"categories": [{"keypoints": ["nose"]}]}])
def test_annotations_of_another_layout_are_refused(root: Path, content: object) -> None:
    (root / "people.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"people\.json: (not annotations in COCO layout|fewer than six known joints)"):
        load(root)


def test_unknown_joint_names_are_listed(root: Path) -> None:
    content = json.loads((root / "people.json").read_text())
    content["categories"][0]["keypoints"] = [f"joint {i}" for i in range(17)]
    (root / "people.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"people\.json: fewer than six known joints among .*'joint 0'.*known: nose"):
        load(root)


# Estimates


def write_estimates(root: Path, rows: list[dict[str, object]], name: str = "more.json") -> DataConfig:
    (root / name).write_text(json.dumps(rows))
    return replace(recipe().data[0], estimates=("estimates.json", name))


def test_a_person_may_have_several_estimates(root: Path) -> None:
    pose = [30.0, 50.0, 1] * 17
    more = write_estimates(root, [{"ann_id": 100, "keypoints": pose}] * 2 + [{"ann_id": 101, "keypoints": pose}])
    assert [len(one.estimates) for one in load_dataset(more, root).people] == [3, 1, 1, 0, 1, 0]
    first = load_dataset(more, root).people[0]
    assert first.estimates[:, 0].tolist() == [[40, 40], [30, 50], [30, 50]]
    assert first.estimated.sum(1).tolist() == [17] * 3


def test_estimates_without_ids_belong_to_the_box_that_they_overlap(tmp_path: Path) -> None:
    write_training_data(tmp_path, [annotation(0), annotation(1, image_id=0, bbox=[500, 5, 50, 110])])
    keypoints = np.stack([np.linspace(500, 550, 17), np.linspace(5, 115, 17), np.ones(17)], 1)
    nobodys = keypoints + np.array([3000, 0, 0])
    rows = [{"image_id": 0, "keypoints": points.ravel().tolist()} for points in (keypoints, nobodys)]
    boxed = {"image_id": 0, "bbox": [14, 6, 50, 110], "keypoints": nobodys.ravel().tolist()}
    config = replace(write_estimates(tmp_path, [*rows, boxed]), estimates="more.json")
    first, second = load_dataset(config, tmp_path).people
    np.testing.assert_array_equal(first.estimates, nobodys[None, :, :2][:, COCO_IN_UNION] * COCO_KNOWN)
    np.testing.assert_array_equal(second.estimates[0, :17], keypoints[:, :2])


COCO_IN_UNION = np.minimum(np.arange(19), 16)
COCO_KNOWN = (np.arange(19) < 17)[:, None]


@pytest.mark.parametrize(
    "row", [{"ann_id": 1}, {"ann_id": 1, "keypoints": [1.0] * 50}, {"ann_id": 1, "keypoints": [float("nan")] * 51}, 3]
)
def test_a_bad_estimate_is_named(root: Path, row: object) -> None:
    good = {"ann_id": 100, "keypoints": [1.0] * 51}
    with pytest.raises(InputError, match=r"more\.json: row 1: expected COCO results of 17 joints \(coco17\)"):
        load_dataset(write_estimates(root, [good, row]), root)


def test_repeated_annotation_ids_are_refused_where_estimates_need_them(tmp_path: Path) -> None:
    write_training_data(tmp_path, [annotation(0), annotation(1, id=100)])
    with pytest.raises(InputError, match=r"people\.json: 2 annotations have the id 100"):
        load(tmp_path)


# Pictures


def test_a_cut_off_shard_is_named_with_its_member(root: Path) -> None:
    shard = root / "shard.tar"
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    with pytest.raises(InputError, match=r"shard\.tar: not a readable tar shard at some/folder/3\.png"):
        load(root)


def test_a_compressed_shard_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "shard.tar", "w:gz"):
        pass
    with pytest.raises(InputError, match=r"shard\.tar: .*whole, uncompressed"):
        Images([tmp_path / "shard.tar"])


def test_a_member_behind_five_gigabytes_is_read(tmp_path: Path) -> None:
    picture = (np.arange(300) % 256).astype(np.uint8).reshape(10, 10, 3)
    data = cv2.imencode(".png", picture)[1].tobytes()
    with (tmp_path / "big.tar").open("wb") as file:
        for name, size in (("hole.bin", 5 << 30), ("a.png", len(data))):
            member = tarfile.TarInfo(name)
            member.size = size
            file.write(member.tobuf())
            if name == "a.png":
                file.write(data)
            else:
                file.seek(size, 1)  # takes no room on the disk
        file.write(bytes(2048))
    np.testing.assert_array_equal(Images([tmp_path / "big.tar"]).read("a.png")[0], picture)


def test_pictures_of_one_name_in_two_folders_are_told_apart(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "shard.tar", "w") as shard:
        for folder, value in (("one", 10), ("two", 200)):
            (tmp_path / folder).mkdir()
            cv2.imwrite(str(tmp_path / folder / "0.png"), np.full((8, 8, 3), value, np.uint8))
            shard.add(tmp_path / folder / "0.png", f"images/{folder}/0.png")
    images = Images([tmp_path / "shard.tar"])
    assert images.read("images/two/0.png")[0].mean() == 200
    assert "images/three/0.png" not in images
    assert "0.png" not in images


def test_an_empty_picture_file_counts_as_missing(root: Path) -> None:
    (root / "pictures" / "0.png").write_bytes(b"")
    assert dict(load(root).skipped) == {"no such picture": 1}


def test_a_set_without_people_is_refused(tmp_path: Path) -> None:
    write_training_data(tmp_path, [annotation(77)])
    with pytest.raises(InputError, match=r"people\.json: nobody to train on"):
        load(tmp_path)


@pytest.mark.parametrize("data", [b"\xff\xd8\xff", b"\x89PNG\r\n", b"text"])
def test_a_picture_that_does_not_decode_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.png: does not decode"):
        Images([tmp_path]).read("a.png")


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"b\.png: no such image"):
        Images([tmp_path]).read("b.png")


def test_drawn_figures_are_a_data_set() -> None:
    one, other = (rendered_dataset(3, 0.5, seed=7) for _ in range(2))
    assert one.weight == 0.5
    assert 1 <= len(one.people) == len(other.people)
    for first, second in zip(one.people, other.people, strict=True):
        np.testing.assert_array_equal(first.keypoints, second.keypoints)
        np.testing.assert_array_equal(one.images.read(first.image)[0], other.images.read(second.image)[0])
        assert first.labelled.sum() >= 6
    with pytest.raises(InputError, match="no rendered picture '3'"):
        one.images.read("3")
