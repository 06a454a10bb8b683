"""COCO results and AlphaPose: lists with one person a row."""

import json
from pathlib import Path
from typing import Any

import pytest

from posefix_track.errors import InputError
from posefix_track.keypoints import COCO_17, H36M_17
from tests.format_samples import (
    FLAT,
    frames,
    read_json,
)

# COCO results


def test_coco_names_images_by_annotations(tmp_path: Path) -> None:
    annotations = tmp_path / "annotations.json"
    annotations.write_text(
        json.dumps({"images": [{"id": 5, "file_name": "a/b.jpg"}], "categories": [{"keypoints": []}]})
    )
    rows = [{"image_id": i, "category_id": 1, "keypoints": FLAT, "score": 0.5} for i in (5, 6)]
    named = frames(read_json(tmp_path, rows, annotations=annotations))
    assert [(f.image_name, f.frame_index) for f in named] == [("a/b.jpg", None), ("000000000006.jpg", None)]
    guessed = frames(read_json(tmp_path, rows))
    assert [(f.image_name, f.frame_index) for f in guessed] == [("000000000005.jpg", 5), ("000000000006.jpg", 6)]


def test_coco_rows_of_one_image_need_not_be_adjacent(tmp_path: Path) -> None:
    rows = [{"image_id": i, "keypoints": FLAT, "track_id": t} for t, i in enumerate([9, 4, 9, 4, 9])]
    assert [f.track_ids for f in frames(read_json(tmp_path, rows))] == [(0, 2, 4), (1, 3)]


def test_coco_keypoint_set_is_asked_for_or_counted(tmp_path: Path) -> None:
    rows = [{"image_id": 1, "keypoints": FLAT}]
    assert read_json(tmp_path, rows).sequences[0].keypoint_set == COCO_17
    assert read_json(tmp_path, rows, keypoints="h36m17").sequences[0].keypoint_set == H36M_17
    with pytest.raises(InputError, match="17 joints, but halpe26 has 26"):
        read_json(tmp_path, rows, keypoints="halpe26")


def test_coco_visibility_that_is_never_set_says_nothing(tmp_path: Path) -> None:
    unset = [0 if i % 3 == 2 else value for i, value in enumerate(FLAT)]
    (frame,) = frames(read_json(tmp_path, [{"image_id": 1, "keypoints": unset}]))
    assert frame.scores is None
    assert frame.present.sum() == 16


def test_coco_without_people_is_a_valid_file(tmp_path: Path) -> None:
    poses = read_json(tmp_path, [])
    poses.write(tmp_path / "out.json", poses.sequences)
    assert (tmp_path / "out.json").read_text() == "[]"


# AlphaPose


@pytest.mark.parametrize(
    ("idx", "track_id"),
    [(3, 3), ([3.0], 3), ([[3.0], [7.0]], 3), ([], None), ("a", "a"), (2.5, 2.5)],
)
def test_alphapose_idx_has_many_shapes(tmp_path: Path, idx: Any, track_id: Any) -> None:
    rows = [{"image_id": "12.jpg", "keypoints": FLAT, "idx": i} for i in (idx, 1)]
    assert frames(read_json(tmp_path, rows))[0].track_ids == (track_id, 1)


@pytest.mark.parametrize(
    ("image_id", "frame_index"),
    [
        ("12.jpg", 12),
        ("000012.png", 12),
        ("a/12.jpg", 12),
        ("IMG_12.jpg", None),
        ("x.jpg", None),
        ("9" * 30 + ".jpg", None),
    ],
)
def test_alphapose_numbered_images_are_frames(tmp_path: Path, image_id: str, frame_index: int | None) -> None:
    (frame,) = frames(read_json(tmp_path, [{"image_id": image_id, "keypoints": FLAT}]))
    assert (frame.image_name, frame.frame_index) == (image_id, frame_index)


def test_alphapose_with_numbers_for_images_is_told_by_its_box(tmp_path: Path) -> None:
    poses = read_json(tmp_path, [{"image_id": 12, "keypoints": FLAT, "box": [1, 2, 3, 4]}])
    assert poses.format == "alphapose"
