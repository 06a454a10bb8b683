"""Data sets in the layouts that their authors released."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from posefix_track.errors import InputError
from posefix_track.keypoints import LSP_14, MPII_16, POSETRACK_18, UNION_19
from trainer.datasets import Dataset, load_dataset
from trainer.recipe import DataConfig

REAL = Path(__file__).parents[2] / "shared" / "data" / "posetrack18"
RNG = np.random.default_rng(0)
MPII_POINTS = RNG.uniform(10, 90, (16, 2)).round(2)
FRAMES = 3
OUTER = [[0, 100, 100, 0], [0, 0, 30, 30]]  # an ignore region: the upper 30 rows


def write_picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((20, 20, 3), np.uint8))


# PoseTrack 2018


def posetrack_sequence(name: str, **changes: Any) -> dict[str, Any]:
    """Three frames, the last of them not labelled; track 4 in the first two, track 7 in the second."""
    names = [f"images/train/{name}/{i:06d}.jpg" for i in range(FRAMES)]
    images = [{"id": i, "file_name": file, "is_labeled": i < 2, "nframes": 3} for i, file in enumerate(names)]
    rows = [posetrack_person(10, 0, 4, 50.0), posetrack_person(11, 1, 4, 53.0), posetrack_person(12, 1, 7, 60.0)]
    categories = [{"name": "person", "id": 1, "keypoints": list(POSETRACK_18.joints)}]
    return {"images": images, "annotations": rows, "categories": categories} | changes


def posetrack_person(number: int, image: int, track: int, x: float) -> dict[str, Any]:
    keypoints = [[x + i, 10.0 * i, 1] for i in range(17)]
    keypoints[3] = keypoints[4] = [0, 0, 0]
    row = {"id": number, "image_id": image, "track_id": track, "category_id": 1, "scores": [], "iscrowd": False}
    return row | {"bbox": [x, 0, 20, 170], "bbox_head": [0, 0, 9, 9], "keypoints": np.ravel(keypoints).tolist()}


@pytest.fixture
def posetrack(tmp_path: Path) -> Path:
    (tmp_path / "annotations" / "train").mkdir(parents=True)
    for name in ("000001_a_train", "000002_b_train"):
        content = posetrack_sequence(name)
        for row in content["annotations"]:
            row["id"] += 100 * int(name[5])
        (tmp_path / "annotations" / "train" / f"{name}.json").write_text(json.dumps(content))
        for image in content["images"]:
            write_picture(tmp_path / image["file_name"])
    return tmp_path


CONFIG = DataConfig("annotations/train", (".",), 1.0)


def test_posetrack_gives_the_labelled_frames_of_all_sequences(posetrack: Path) -> None:
    people = list(load_dataset(CONFIG, posetrack).people)
    frames = ["000000", "000001", "000001"]
    assert [p.image for p in people] == [f"images/train/{s}/{f}.jpg" for s in SEQUENCES for f in frames]
    assert [len(p.near) for p in people] == [0, 1, 1] * 2
    assert not any(len(p.estimates) for p in people)


SEQUENCES = ("000001_a_train", "000002_b_train")


def test_posetrack_supervises_the_joints_that_it_labels(posetrack: Path) -> None:
    one = load_dataset(CONFIG, posetrack).people[0]
    known = {UNION_19.joints[i] for i in np.flatnonzero(one.labelled)}
    assert known == set(POSETRACK_18.joints) - {"left_ear", "right_ear"}
    np.testing.assert_array_equal(one.keypoints[UNION_19.index["head_top"]], [52, 20])


def test_a_tracks_neighbouring_frames_are_estimates_where_asked_for(posetrack: Path) -> None:
    people = list(load_dataset(replace(CONFIG, neighbour_frames=True), posetrack).people)
    assert [len(p.estimates) for p in people] == [1, 1, 0] * 2
    np.testing.assert_array_equal(people[0].estimates[0], people[1].keypoints)
    np.testing.assert_array_equal(people[1].estimates[0], people[0].keypoints)
    np.testing.assert_array_equal(people[0].estimated[0], people[1].labelled)


def test_joints_in_ignore_regions_are_not_supervised(posetrack: Path) -> None:
    content = posetrack_sequence(SEQUENCES[0])
    content["images"][0] |= {"ignore_regions_x": [OUTER[0]], "ignore_regions_y": [OUTER[1]]}
    (posetrack / "annotations" / "train" / f"{SEQUENCES[0]}.json").write_text(json.dumps(content))
    first, second, *_ = load_dataset(CONFIG, posetrack).people
    gone = second.labelled & ~first.labelled
    assert {UNION_19.joints[i] for i in np.flatnonzero(gone)} == {"nose", "head_bottom", "head_top"}  # up to row 30
    assert not first.keypoints[gone].any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"categories": []}, "not annotations in COCO layout"),
        ({"categories": [{"keypoints": ["hand"]}]}, "fewer than six known joints"),
        (
            {"images": [{"id": 0, "file_name": "a", "ignore_regions_x": [[1]], "ignore_regions_y": []}]},
            "a: expected as",
        ),
    ],
)
def test_a_bad_posetrack_file_is_named(posetrack: Path, changes: dict[str, Any], message: str) -> None:
    content = posetrack_sequence("x", **changes)
    (posetrack / "annotations" / "train" / "bad.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"bad\.json: {message}"):
        load_dataset(CONFIG, posetrack)


def test_a_folder_without_sequences_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no JSON file; give PoseTrack 2018's folder"):
        load_dataset(DataConfig(".", (), 1.0), tmp_path)


def test_neighbouring_frames_need_tracks(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(InputError, match=r"a\.json: neighbour_frames needs tracks"):
        load_dataset(DataConfig("a.json", (), 1.0, neighbour_frames=True), tmp_path)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real PoseTrack samples are not beside this checkout")
def test_real_posetrack_files_are_read() -> None:
    dataset = load_dataset(DataConfig("annotations/val", (".",), 1.0), REAL)
    assert len(dataset.people) == 14 and not dataset.skipped
    assert all(dataset.images.read(one.image)[0].shape == (1080, 1920, 3) for one in dataset.people)


# MPII


def mpii_expected(dataset: Dataset) -> None:
    one = dataset.people[0]
    for joint, (x, y) in zip(MPII_16.joints, MPII_POINTS, strict=True):
        if joint in UNION_19.index and joint != "right_ankle":
            np.testing.assert_allclose(one.keypoints[UNION_19.index[joint]], (x - 1, y - 1))
    assert not one.labelled[UNION_19.index["right_ankle"]]
    assert one.labelled.sum() == 13  # 12 limb joints but one, head_bottom, head_top
    low, high = MPII_POINTS[1:].min(0) - 1, MPII_POINTS[1:].max(0) - 1
    margin = (high - low) / 8
    np.testing.assert_allclose(one.bbox_xyxy, [*(low - margin), *(high + margin)])


def test_mpii_json_is_read(tmp_path: Path) -> None:
    write_picture(tmp_path / "images" / "015601864.jpg")
    seen = [0, *[1] * 15]
    rows = [{"image": "015601864.jpg", "joints": MPII_POINTS.tolist(), "joints_vis": seen, "scale": 3.0}]
    (tmp_path / "train.json").write_text(json.dumps(rows))
    mpii_expected(load_dataset(DataConfig("train.json", ("images",), 1.0), tmp_path))


def test_a_bad_row_of_mpii_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text(json.dumps([{"image": "a.jpg", "joints": [[1, 2]], "joints_vis": [1]}]))
    with pytest.raises(InputError, match=r"train\.json: row 0: expected an MPII person of 16 joints"):
        load_dataset(DataConfig("train.json", (), 1.0), tmp_path)


def mpii_release() -> dict[str, Any]:
    """As the release has it: one training picture of two people, one of them without joints, and a test picture."""
    points = np.array(
        [(x, y, i, "1") for i, (x, y) in enumerate(MPII_POINTS) if i],
        dtype=[("x", float), ("y", float), ("id", float), ("is_visible", object)],
    )
    people = np.empty(2, object)
    people[0], people[1] = {"x1": 1.0, "annopoints": {"point": points}}, {"x1": 2.0}
    entries = np.empty(2, object)
    entries[0] = {"image": {"name": "a.jpg"}, "annorect": people}
    entries[1] = {"image": {"name": "b.jpg"}, "annorect": np.zeros((0, 0))}
    return {"RELEASE": {"annolist": entries, "img_train": np.array([1.0, 0.0])}}


def test_mpiis_release_is_read(tmp_path: Path) -> None:
    write_picture(tmp_path / "images" / "a.jpg")
    savemat(tmp_path / "mpii.mat", mpii_release())
    dataset = load_dataset(DataConfig("mpii.mat", ("images",), 1.0), tmp_path)
    assert len(dataset.people) == 1
    mpii_expected(dataset)


# LSP


@pytest.mark.parametrize("extended", [False, True])
def test_lsps_joints_are_read(tmp_path: Path, extended: bool) -> None:
    points = RNG.uniform(10, 90, (2, 14, 2))
    flags = np.array([[0, *[1] * 13], [1] * 14])  # LSPET: labelled; LSP: hidden
    joints = np.concatenate([points, flags[..., None]], 2)
    savemat(tmp_path / "joints.mat", {"joints": joints.transpose((1, 2, 0) if extended else (2, 1, 0))})
    names = [f"im{i:0{5 if extended else 4}d}.jpg" for i in (1, 2)]
    for name in names:
        write_picture(tmp_path / "images" / name)
    people = list(load_dataset(DataConfig("joints.mat", ("images",), 1.0), tmp_path).people)
    assert [p.image for p in people] == names
    assert [p.labelled.sum() for p in people] == ([13, 14] if extended else [14, 14])
    for one, truth in zip(people, points, strict=True):
        for joint, position in zip(LSP_14.joints[1:], truth[1:], strict=True):
            np.testing.assert_allclose(one.keypoints[UNION_19.index[joint]], position - 1)


@pytest.mark.parametrize("content", [b"", b"MATLAB 5.0", None])
def test_a_bad_mat_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is None:
        savemat(tmp_path / "joints.mat", {"joints": np.zeros((3, 3))})
    else:
        (tmp_path / "joints.mat").write_bytes(content)
    with pytest.raises(InputError, match=r"joints\.mat: not MPII's release nor LSP's joints"):
        load_dataset(DataConfig("joints.mat", (), 1.0), tmp_path)
