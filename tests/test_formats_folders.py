"""OpenPose and Ultralytics: one file a frame."""

from pathlib import Path
from typing import Any

import pytest

from posefix_track.errors import InputError, UsageError
from posefix_track.formats import read_poses
from posefix_track.keypoints import BODY_25, COCO_17, HALPE_26
from tests.format_samples import FLAT, HEIGHT, WIDTH, Scene, frames, openpose, simple_scene, ultralytics, write_folder

# OpenPose


def test_openpose_reads_only_bodies_and_keeps_the_rest(tmp_path: Path) -> None:
    people = [
        {"pose_keypoints_2d": [], "hand_left_keypoints_2d": [1, 2, 0.5]},
        {"person_id": [4], "pose_keypoints_2d": FLAT},
        {"hand_left_keypoints_2d": []},
    ]
    (frame,) = frames(read_poses(write_folder(tmp_path, {"a_000001_keypoints.json": {"people": people}})))
    assert frame.track_ids == (4,)


@pytest.mark.parametrize(
    ("name", "key", "frame_index", "image_name"),
    [
        ("clip_000000000012_keypoints.json", "pose_keypoints_2d", 12, "clip_000000000012"),
        ("clip_000000000012_keypoints.json", "pose_keypoints", 12, "clip_000000000012"),  # old OpenPose
        ("clip_000012.json", "pose_keypoints_2d", 12, "clip_000012"),  # Pose2Sim
        ("street_keypoints.json", "pose_keypoints_2d", None, "street"),  # image folder
    ],
)
def test_openpose_names(tmp_path: Path, name: str, key: str, frame_index: int | None, image_name: str) -> None:
    (frame,) = frames(read_poses(write_folder(tmp_path, {name: {"people": [{"person_id": [-1], key: FLAT}]}})))
    assert (frame.frame_index, frame.image_name, frame.track_ids) == (frame_index, image_name, None)


def test_openpose_joint_counts(tmp_path: Path) -> None:
    for count, expected in ((25, BODY_25), (26, HALPE_26), (17, COCO_17)):
        poses = read_poses(openpose(simple_scene(count)).place(tmp_path))
        assert poses.sequences[0].keypoint_set == expected
    with pytest.raises(InputError, match="MPI model, which is not supported"):
        read_poses(openpose(simple_scene(15)).place(tmp_path))


def test_openpose_empty_folder_of_people(tmp_path: Path) -> None:
    poses = read_poses(openpose(Scene({0: [], 1: []})).place(tmp_path))
    assert poses.sequences[0].keypoint_set == BODY_25
    assert [len(f) for f in frames(poses)] == [0, 0]


def test_openpose_videos_in_one_folder_are_told_apart(tmp_path: Path) -> None:
    content = {"people": [{"pose_keypoints_2d": FLAT}]}
    poses = read_poses(write_folder(tmp_path, {f"{v}_00{n}_keypoints.json": content for v in "ab" for n in (1, 2)}))
    assert [(s.name, [f.frame_index for f in s.frames]) for s in poses.sequences] == [("a", [1, 2]), ("b", [1, 2])]


def test_openpose_normalised_coordinates_are_refused(tmp_path: Path) -> None:
    small = [value / 1000 for value in FLAT]
    with pytest.raises(InputError, match="not in pixels"):
        read_poses(write_folder(tmp_path, {"a_1_keypoints.json": {"people": [{"pose_keypoints_2d": small}]}}))


def test_openpose_other_json_files_are_left_alone_but_damaged_frames_are_not(tmp_path: Path) -> None:
    good = {"people": [{"pose_keypoints_2d": FLAT}]}
    poses = read_poses(write_folder(tmp_path, {"a_1_keypoints.json": good, "camera.json": {"fps": 25}}))
    assert [text.path.name for text in poses.texts] == ["a_1_keypoints.json"]
    with pytest.raises(InputError, match="'people' is missing"):
        read_poses(write_folder(tmp_path, {"a_2_keypoints.json": {}}))


# Ultralytics


def test_ultralytics_needs_the_frame_size(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="frame size"):
        read_poses(ultralytics(simple_scene()).place(tmp_path))


def test_ultralytics_files_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    human = simple_scene().frames[0][0]
    sample = ultralytics(Scene({n: [human] for n in (0, 1, 9, 10)}))
    poses = read_poses(sample.place(tmp_path), **sample.options)
    assert [(f.frame_index, f.image_name) for f in frames(poses)] == [
        (0, "clip_1"), (1, "clip_2"), (9, "clip_10"), (10, "clip_11"),
    ]  # fmt: skip


def label_row(width: int, *extra: str) -> str:
    joints = " ".join("0.25 0.5 0.9"[: 8 if width == 2 else None] for _ in range(17))
    return " ".join(["0 0.5 0.5 0.1 0.1", joints, *extra]) + "\n"


@pytest.mark.parametrize("width", [2, 3])
@pytest.mark.parametrize(
    ("first", "second", "person_scores", "track_ids"),
    [
        ((), (), None, None),
        (("0.9",), ("1",), [0.9], None),
        (("3",), ("1",), None, (3,)),  # whole numbers from 1: ids
        (("3",), (), None, (3,)),  # only some frames have ids
        (("0.9", "3"), ("0.8", "1"), [0.9], (3,)),
        (("0.9", "3"), ("0.8",), [0.9], (3,)),
    ],
)
def test_ultralytics_trailing_columns(
    tmp_path: Path, width: int, first: tuple[str], second: tuple[str], person_scores: Any, track_ids: Any
) -> None:
    folder = write_folder(tmp_path, {"v_1.txt": label_row(width, *first), "v_2.txt": label_row(width, *second)})
    frame, _ = frames(read_poses(folder, frame_size=(HEIGHT, WIDTH)))
    assert frame.keypoints[0].tolist() == [[160.0, 240.0]] * 17
    assert (frame.scores is None) == (width == 2)
    assert frame.track_ids == track_ids
    assert person_scores == (None if frame.person_scores is None else [pytest.approx(frame.person_scores[0])])
