"""Damaged and hostile files end in one error that names the file and the place, never in another exception."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from posefix_track.errors import InputError, PosefixError, UsageError
from posefix_track.formats import read_poses
from tests.format_samples import BUILDERS, FLAT, HEIGHT, PAIRS, WIDTH, coco, simple_scene, write_folder

PERSON = {"image_id": 1, "keypoints": FLAT}
HEADER = '{"format":"posefix_track","version":1,"keypoints":["nose"]}\n'


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (pickle.dumps([PERSON]), "a Python pickle"),
        (b"\x93NUMPY\x01\x00v", "a NumPy array"),
        (b"PK\x03\x04\x14\x00", "a ZIP archive"),
        (b"\0\0\0\x20ftypisom", "a video"),
        (b"\x1a\x45\xdf\xa3", "a video"),
    ],
)
def test_other_kinds_of_files_are_named(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "poses.json").write_bytes(content)
    with pytest.raises(InputError, match=f"is {what}.*; give poses in one of the formats"):
        read_poses(tmp_path / "poses.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ("\x01\x02PNG", "not valid JSON"),
        (json.dumps([PERSON])[:-30], "not valid JSON .* cut short"),
        ('{"people": [}', "line 1, column 13"),
        ("[" * 100 + "]" * 100, "nested deeper than 64"),
        ("[" * 100_000, "nested deeper than 64"),
        ('[{"image_id": 1, "image_id": 2, "keypoints": []}]', "'image_id' stands twice"),
        ("{}", "no known pose format.*--format NAME"),
        ('[{"boxes": []}]', "no known pose format"),
        ("3", "no known pose format"),
        ('{"annorect": []}', "no known pose format"),
        (json.dumps([PERSON, 3]), r"\[1\]: expected an object, got a number"),
        (json.dumps([PERSON, {"image_id": 1}]), r"\[1\]: 'keypoints' is missing"),
        (json.dumps([{**PERSON, "keypoints": FLAT[:-1]}]), r"\[0\].keypoints: expected x, y, score .* got 50"),
        (json.dumps([{**PERSON, "keypoints": "x"}]), "expected a list of numbers, got a string"),
        (json.dumps([{**PERSON, "keypoints": [*FLAT[:-1], True]}]), "it holds true or false"),
        (json.dumps([{**PERSON, "keypoints": [*FLAT[:-1], [1]]}]), "it holds a list"),
        (json.dumps([{**PERSON, "score": "high"}]), r"\[0\].score: expected a number"),
        (json.dumps([{**PERSON, "image_id": 1.5}]), "image_id: expected a number that is not negative"),
        (json.dumps([{**PERSON, "image_id": {}}]), "image_id: expected a number or a string"),
        (json.dumps([{**PERSON, "track_id": []}]), "track_id: expected a number or a string"),
        (json.dumps([PERSON, {**PERSON, "keypoints": FLAT[:-3]}]), r"17 \(\[0\]\), 16 \(\[1\]\)"),
        (json.dumps([{**PERSON, "keypoints": FLAT[:6]}]), "2 joints a person match no known"),
        (json.dumps({"people": [{"pose_keypoints_2d": [1, 2]}]}), r"people\[0\].pose_keypoints_2d"),
        (json.dumps({"people": [{"pose_keypoints_2d": FLAT, "person_id": "a"}]}), "person_id: .* holds a string"),
        (json.dumps({"images": [{"id": 1}], "annotations": []}), r"images\[0\]: 'file_name' is missing"),
        (json.dumps({"images": [{"id": 1, "file_name": 2}], "annotations": []}), "expected a file name"),
        (json.dumps({"images": [], "annotations": [PERSON]}), "no image of this file has the id 1"),
        (json.dumps({"images": [], "annotations": [], "categories": 1}), "categories: expected a list"),
        (json.dumps([{"frame_id": -1, "instances": []}]), "expected a frame number .* got -1"),
        (json.dumps([{"frame_id": 0.5, "instances": []}]), "expected a frame number"),
        ('[{"frame_id": 1e999, "instances": []}]', "expected a frame number"),
        (json.dumps([{"frame_id": 0, "instances": [{"keypoints": [[1, 2, 3]]}]}]), r"expected a list of \[x, y\]"),
        (json.dumps([{"frame_id": 0, "instances": [{"keypoints": PAIRS, "keypoint_scores": []}]}]), "17 scores, got 0"),
        (HEADER + '{"frame": 0}', "line 2: 'poses' is missing"),
        (HEADER + '\n{"frame": 0, "poses": [{"keypoints": [[1, 2], [1]]}]}', r"line 3: poses\[0\].keypoints"),
        (HEADER + '{"frame": 0, "poses": [', "line 2, column 24"),
        (HEADER.replace("1,", "2,"), "version 2 is not known"),
        (HEADER.replace('"nose"', '"nose","nose"'), "joint names must be unique"),
        (HEADER.replace('["nose"]', "[3]"), "list of joint names"),
    ],
)  # fmt: skip
def test_bad_json_is_refused_with_the_place(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "poses.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read_poses(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0 0.5 0.5", "rows of 3 numbers are no pose labels"),
        ("0 0.5 0.5 0.1 0.1" + " 0.5" * 51 + "\n0 0.5 x", "line 2: 'x' is not a number"),
        ("0 0.5 0.5 0.1 0.1" + " 0.5" * 50 + " 1_0", "'1_0' is not a number"),
        ("0 100 200 50 80" + " 150 200 0.9" * 17, "look like pixels"),
    ],
)
def test_bad_labels_are_refused_with_the_place(tmp_path: Path, content: str, message: str) -> None:
    folder = write_folder(tmp_path, {"v_1.txt": content})
    with pytest.raises(InputError, match=message):
        read_poses(folder, format="ultralytics", frame_size=(HEIGHT, WIDTH))


def test_missing_paths_empty_folders_and_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_poses(tmp_path / "nothing.json")
    with pytest.raises(InputError, match=r"no \.json or \.txt or \.csv or \.h5 file"):
        read_poses(tmp_path)
    path = coco(simple_scene()).place(tmp_path)
    with pytest.raises(UsageError, match="unknown format 'cocoa'; known formats: posefix, "):
        read_poses(path, format="cocoa")
    with pytest.raises(InputError, match="unknown keypoint set"):
        read_poses(path, keypoints="coco18000")
    with pytest.raises(InputError, match="cannot read"):
        read_poses(path, annotations=tmp_path / "nothing.json")
    with pytest.raises(InputError, match="expected COCO annotations"):
        read_poses(path, annotations=path)


def test_outputs_are_never_the_input(tmp_path: Path) -> None:
    for name in ("coco", "openpose"):
        path = BUILDERS[name](simple_scene()).place(tmp_path)
        poses = read_poses(path)
        with pytest.raises(UsageError, match="is the input itself"):
            poses.write(path.parent / "x" / ".." / path.name, poses.sequences)
    with pytest.raises(UsageError, match="is a file, but"):
        poses.write(tmp_path / "results.json", poses.sequences)


def test_a_folder_output_may_hold_other_files(tmp_path: Path) -> None:
    poses = read_poses(BUILDERS["openpose"](simple_scene()).place(tmp_path))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "other.json").write_text("{}")
    poses.write(tmp_path / "out", poses.sequences)
    names = {text.path.name for text in poses.texts} | {"other.json"}
    assert {file.name for file in (tmp_path / "out").iterdir()} == names


def test_failed_writes_leave_nothing_behind(tmp_path: Path) -> None:
    poses = read_poses(coco(simple_scene()).place(tmp_path))
    (tmp_path / "taken").mkdir()
    with pytest.raises(UsageError, match=r"taken is a folder, but"):
        poses.write(tmp_path / "taken", poses.sequences)
    with pytest.raises(PosefixError, match=r"cannot write .*No such file"):
        poses.write(tmp_path / "missing" / "out.json", poses.sequences)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["results.json", "taken"]


def test_other_structure_is_refused(tmp_path: Path) -> None:
    poses = read_poses(coco(simple_scene()).place(tmp_path))
    (sequence,) = poses.sequences
    frame = sequence.frames[0]
    no_people = replace(frame, keypoints=frame.keypoints[:0], scores=None, person_scores=None, track_ids=None)
    not_finite = frame.with_keypoints(np.full_like(frame.keypoints, np.nan))
    with pytest.raises(InputError, match="0 sequences"):
        poses.write(tmp_path / "out.json", [])
    for changed, message in (
        (sequence.frames[:1], "1 frames"),
        ((no_people, *sequence.frames[1:]), "does not have the people"),
        ((not_finite, *sequence.frames[1:]), "must be finite"),
    ):
        with pytest.raises(InputError, match=message):
            poses.write(tmp_path / "out.json", [replace(sequence, frames=changed)])
    assert not (tmp_path / "out.json").exists()


def test_scores_need_a_place_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "poses.json"
    path.write_text(json.dumps([{"frame_id": 0, "instances": [{"keypoints": PAIRS}]}]))
    poses = read_poses(path)
    (frame,) = poses.sequences[0].frames
    scored = frame.with_keypoints(frame.keypoints, np.ones((1, 17), np.float32))
    with pytest.raises(InputError, match="no place for them"):
        poses.write(tmp_path / "out.json", [replace(poses.sequences[0], frames=(scored,))])
