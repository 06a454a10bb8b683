"""Particulars of PoseTrack 2017, openpifpaf, AlphaPose by image, PoseFlow, MediaPipe, image-wise files and boxes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from posefix_track.errors import InputError, UsageError
from posefix_track.formats import read_poses
from posefix_track.keypoints import HALPE_26, MEDIAPIPE_33
from tests.format_samples import FLAT, PAIRS, frames, read_json, sample_of, write_folder

# PoseTrack 2017


def annolist(*points: dict[str, Any], name: str = "images/a/00000003.jpg", **person: Any) -> dict[str, Any]:
    rect = {"annopoints": [{"point": list(points)}], **person}
    return {"annolist": [{"image": [{"name": name}], "imgnum": [4], "annorect": [rect]}]}


def point(joint: int, **more: Any) -> dict[str, Any]:
    return {"id": [joint], "x": [10.5 + joint], "y": [20], **more}


def test_posetrack17_joints_that_are_left_out_are_absent_and_stay_out(tmp_path: Path) -> None:
    poses = read_json(tmp_path, annolist(point(13, score=[0.5]), point(0), track_id=[7]))
    (frame,) = frames(poses)
    assert np.flatnonzero(frame.present[0]).tolist() == [0, 13]
    assert (frame.frame_index, frame.track_ids) == (2, (7,))
    filled = frame.with_keypoints(np.where(np.isnan(frame.keypoints), np.float32(9), frame.keypoints + np.float32(1)))
    poses.write(tmp_path / "out.json", [replace(poses.sequences[0], frames=(filled,))])
    points = json.loads((tmp_path / "out.json").read_text())["annolist"][0]["annorect"][0]["annopoints"][0]["point"]
    assert [(p["x"], p["y"]) for p in points] == [([24.5], [21.0]), ([11.5], [21.0])]


def test_posetrack17_points_that_differ_are_read_as_those_that_are_alike(tmp_path: Path) -> None:
    content = json.loads(next(iter(sample_of("posetrack17").files.values())))
    alike = frames(read_json(tmp_path, content))
    for entry in content["annolist"]:
        for person in entry["annorect"]:
            for number, point in enumerate(person["annopoints"][0]["point"]):
                point |= {"own": ["a"]} if number % 2 else {"x": point["x"][0]}
    for frame, expected in zip(frames(read_json(tmp_path, content)), alike, strict=True):
        np.testing.assert_array_equal(frame.keypoints, expected.keypoints)
        np.testing.assert_array_equal(frame.scores, expected.scores)


def test_posetrack17_as_other_tools_nest_it(tmp_path: Path) -> None:
    person = {"annopoints": {"point": {"id": 0, "x": 3, "y": 4}}, "track_id": 1}
    entries = [{"image": {"name": "b/000000.jpg"}, "annorect": person}, {"image": [{"name": "b/000001.jpg"}]}]
    entries += [{"image": [{"name": "b/000002.jpg"}], "annorect": [{"x1": [1], "annopoints": []}]}]
    found = frames(read_json(tmp_path, {"annolist": entries}))
    assert [(frame.frame_index, len(frame)) for frame in found] == [(0, 1), (1, 0), (2, 0)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (annolist(point(15)), "joints 0 to 14 at most once, got 15"),
        (annolist(point(3), point(3)), "at most once, got 3"),
        (annolist({"id": [1], "x": [2]}), r"annopoints.point\[0\]: 'y' is missing"),
        (annolist(point(0), name=3), r"annolist\[0\].image.name: expected a file name"),
        (annolist(point(0), track_id=[[1, 2]]), "track_id: expected a number or a string"),
    ],
)  # fmt: skip
def test_posetrack17_errors_name_the_place(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_json(tmp_path, content)


# PoseTrack21


@pytest.mark.parametrize("marked", [{"images": {"has_labeled_person": False}}, {"annotations": {"person_id": 5}}])
def test_posetrack21_is_told_by_what_it_adds(tmp_path: Path, marked: dict[str, dict[str, Any]]) -> None:
    content = {"images": [{"id": 1, "file_name": "a/000000.jpg"}], "annotations": [{"image_id": 1, "keypoints": FLAT}]}
    assert read_json(tmp_path, content).format == "posetrack18"
    for key, more in marked.items():
        content[key][0] |= more
    assert read_json(tmp_path, content).format == "posetrack21"


# openpifpaf


def test_openpifpaf_leaves_the_id_zero_out(tmp_path: Path) -> None:
    people = [{"keypoints": FLAT, "id_": 2}, {"keypoints": FLAT}]
    path = tmp_path / "clip.mp4.openpifpaf.json"
    path.write_text(json.dumps({"frame": 1, "predictions": people}))
    assert [(f.frame_index, f.track_ids) for f in frames(read_poses(path))] == [(0, (2, 0))]
    lines = [json.dumps({"frame": n, "predictions": people[1:]}) for n in (5, 7)]
    path.write_text("\n".join(lines))
    assert [(f.frame_index, f.track_ids) for f in frames(read_poses(path))] == [(4, None), (6, None)]


def test_openpifpaf_images(tmp_path: Path) -> None:
    people = [{"keypoints": FLAT, "bbox": [1, 2, 3, 4], "score": 0.5, "category_id": 1}]
    poses = read_poses(write_folder(tmp_path, {"0007.jpg.predictions.json": people, "0008.jpg.predictions.json": []}))
    assert poses.format == "openpifpaf"
    assert [(f.frame_index, f.image_name, len(f)) for f in frames(poses)] == [(7, "0007", 1), (8, "0008", 0)]


# AlphaPose by image, PoseFlow


@pytest.mark.parametrize("key", ["bodies", "people"])
def test_alphapose_by_image_also_comes_as_one_file_an_image(tmp_path: Path, key: str) -> None:
    joints = {"bodies": "joints", "people": "pose_keypoints_2d"}[key]
    files = {f"{n}.json": {"version": "AlphaPose v0.3", key: [{joints: FLAT + FLAT[:3]}]} for n in (4, 12)}
    poses = read_poses(write_folder(tmp_path, files))
    assert [f.frame_index for f in frames(poses)] == [12, 4]
    assert poses.sequences[0].keypoint_set.name == "coco18"


def test_entries_by_image_that_are_no_people_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'1.jpg': expected an object with 'bodies' or 'people'"):
        read_json(tmp_path, {"0.jpg": {"bodies": []}, "1.jpg": 3})
    with pytest.raises(InputError, match=r"'1.jpg'\[0\]: 'keypoints' is missing"):
        read_json(tmp_path, {"0.jpg": [{"keypoints": FLAT, "idx": 1}], "1.jpg": [{}]})


# Pose2Sim


def test_pose2sim_fills_empty_slots_with_nan(tmp_path: Path) -> None:
    people = [
        {"person_id": [-1], "pose_keypoints_2d": values} for values in ([5.25, 6.5, 0.75] * 26, [float("nan")] * 78)
    ]
    folder = write_folder(tmp_path / "in", {f"cam1_{n:06d}.json": {"version": 1.3, "people": people} for n in (0, 1)})
    poses = read_poses(folder)
    assert (poses.format, poses.sequences[0].keypoint_set) == ("openpose", HALPE_26)
    assert [(f.frame_index, f.present.sum(axis=1).tolist()) for f in frames(poses)] == [(0, [26, 0]), (1, [26, 0])]
    poses.write(tmp_path / "out", poses.sequences)
    assert all((tmp_path / "out" / text.path.name).read_bytes() == text.data for text in poses.texts)


# MediaPipe

POSE = [{"x": 0.25, "y": 0.5, "z": -0.1, "visibility": 0.9} for _ in MEDIAPIPE_33.joints]


@pytest.mark.parametrize(
    ("content", "counts"),
    [
        (POSE, {0: 1}),
        ([POSE, None, POSE], {0: 1, 1: 0, 2: 1}),
        ([[], [POSE, POSE]], {0: 0, 1: 2}),
        ([{"frame": 4, "pose_landmarks": [POSE]}, {"frame": 9, "pose_landmarks": []}], {4: 1, 9: 0}),
        ({"landmarks": POSE}, {0: 1}),
    ],
)
def test_mediapipe_as_users_nest_it(tmp_path: Path, content: Any, counts: dict[int, int]) -> None:
    poses = read_json(tmp_path, content, frame_size=(200, 100))
    assert (poses.format, {f.frame_index: len(f) for f in frames(poses)}) == ("mediapipe", counts)
    found = [f.keypoints[i, 0].tolist() for f in frames(poses) for i in range(len(f))]
    assert found == [[25, 100]] * sum(counts.values())


def test_mediapipe_visibility_before_the_sigmoid_is_no_score(tmp_path: Path) -> None:
    poses = read_json(tmp_path, [[[{**landmark, "visibility": -2} for landmark in POSE]]], frame_size=(200, 100))
    assert frames(poses)[0].scores is None
    assert frames(poses)[0].present.all()


def test_mediapipe_needs_the_frame_size_and_all_landmarks(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="frame size"):
        read_json(tmp_path, [POSE])
    with pytest.raises(InputError, match=r"\[1\]\[0\]\[3\]: 'y' is missing"):
        read_json(tmp_path, [POSE, [*POSE[:3], {"x": 1}]], frame_size=(9, 9))


# MMPose images, Ultralytics lists


def test_mmpose_image_takes_its_name_from_the_file(tmp_path: Path) -> None:
    people = [{"keypoints": PAIRS, "keypoint_scores": [0.5] * 17}]
    poses = read_poses(write_folder(tmp_path, {"shot_12.json": people}) / "shot_12.json")
    assert [(f.frame_index, f.image_name) for f in frames(poses)] == [(12, "shot_12")]


def ultralytics_person(scale: float = 1) -> dict[str, Any]:
    return {"confidence": 0.9, "keypoints": {"x": [x * scale for x, _ in PAIRS], "y": [y * scale for _, y in PAIRS]}}


def test_ultralytics_lists_as_lines_and_as_images(tmp_path: Path) -> None:
    (tmp_path / "all.jsonl").write_text("[]\n" + json.dumps([ultralytics_person()]) + "\n")
    assert [(f.frame_index, len(f)) for f in frames(read_poses(tmp_path / "all.jsonl"))] == [(0, 0), (1, 1)]
    poses = read_poses(write_folder(tmp_path / "images", {"clip_7.json": [ultralytics_person()]}))
    assert (poses.format, [f.frame_index for f in frames(poses)]) == ("ultralytics_json", [7])


def test_ultralytics_lists_may_be_divided_by_the_frame_size(tmp_path: Path) -> None:
    content = [[ultralytics_person(1 / 1000)]]
    np.testing.assert_allclose(frames(read_json(tmp_path, content, frame_size=(1000, 1000)))[0].keypoints[0], PAIRS)
    with pytest.raises(UsageError, match="frame size"):
        read_json(tmp_path, content)


def test_ultralytics_columns_must_be_equally_long(tmp_path: Path) -> None:
    person = {"keypoints": {"x": [1, 2], "y": [1]}}
    with pytest.raises(InputError, match=r"\[0\]\[0\].keypoints: x, y and visible must be equally long"):
        read_json(tmp_path, [[person]])


# Boxes


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("mot.txt", "1,1,10.5,20,30,40,0.9,-1,-1,-1\n2,1,11,20,30,40,0.9,-1,-1,-1\n"),
        ("labels.txt", "0 0.5 0.5 0.1 0.2\n"),
        ("sink.json", json.dumps([{"x_min": 1, "y_min": 2, "x_max": 3, "y_max": 4, "tracker_id": 1}])),
        ("sink.csv", "x_min,y_min,x_max,y_max,class_id,confidence,tracker_id\n1,2,3,4,0,0.9,1\n"),
        ("detections.json", json.dumps([{"image_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}])),
    ],
)
def test_boxes_are_refused_for_what_they_are(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match="boxes only, no keypoints"):
        read_poses(tmp_path / name)


def test_jsonl_is_told_by_its_lines_whatever_its_suffix(tmp_path: Path) -> None:
    (text,) = sample_of("openpifpaf").files.values()
    (tmp_path / "poses").write_text("\ufeff" + text)
    assert read_poses(tmp_path / "poses").format == "openpifpaf"
