"""Converted files hold the same people, as far as the target has a place for them."""

import json
import tempfile
from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posefix_track.convert import convert, known_targets
from posefix_track.convert_cli import run_convert
from posefix_track.errors import InputError, ResourceError, UsageError
from posefix_track.formats import PoseFile, read_poses, write_native
from posefix_track.keypoints import BODY_25, COCO_17, HALPE_26, KeypointSet
from posefix_track.poses import FramePoses, PoseSequence
from tests.format_samples import FLAT, read_json, sample_of, write_folder

every_target = pytest.mark.parametrize("to", sorted(known_targets()))


@st.composite
def frame_poses(draw: st.DrawFn, index: int, with_scores: bool) -> FramePoses:
    """People whose coordinates may be anything in float32, with ids that are unique in the frame."""
    people, joints = draw(st.integers(0, 2)), len(COCO_17)
    seed = draw(st.integers(0, 2**32))
    rng = np.random.default_rng(seed)
    keypoints = (rng.uniform(0, 2000, (people, joints, 2)) * (rng.random((people, joints, 1)) > 0.2)).astype(np.float32)
    keypoints[rng.random((people, joints)) < 0.1] = np.nan
    scores = rng.uniform(0, 1, (people, joints)).astype(np.float32) ** 4
    ids = draw(st.lists(st.integers(0, 99), min_size=people, max_size=people, unique=True))
    return FramePoses(
        keypoints,
        frame_index=index,
        scores=scores if with_scores else None,
        person_scores=rng.uniform(0, 1, people).astype(np.float32),
        track_ids=tuple(ids),
    )


@st.composite
def sequences(draw: st.DrawFn) -> PoseSequence:
    indices = draw(st.lists(st.integers(0, 500), min_size=1, max_size=3, unique=True).map(sorted))
    with_scores = draw(st.booleans())
    return PoseSequence(COCO_17, tuple(draw(frame_poses(index, with_scores)) for index in indices))


def as_file(sequence: PoseSequence, folder: Path) -> PoseFile:
    return PoseFile("test", folder / "clip.json", (sequence,), (), ())


SIZE = (1080, 1920)


def converted(sequence: PoseSequence, to: str, folder: Path) -> PoseSequence:
    target = known_targets()[to]
    output = folder / f"out{target.suffix}"
    convert(as_file(sequence, folder), output, to, frame_size=SIZE)
    (found,) = read_poses(output, format=target.reader or to, frame_size=SIZE).sequences
    # What is written is also what it is taken for.
    assert len(found.frames) == 0 or read_poses(output, frame_size=SIZE).format == (target.reader or to)
    return found


@every_target
@settings(max_examples=4, deadline=None)
@given(sequence=sequences())
def test_what_both_formats_hold_is_the_same(to: str, sequence: PoseSequence) -> None:
    with tempfile.TemporaryDirectory() as folder:
        # A file without joint sets has no people, and a folder without people no files.
        if not any(len(frame) for frame in sequence.frames):
            return
        found, target = converted(sequence, to, Path(folder)), known_targets()[to]
        places = found.keypoint_set.map_from(COCO_17)
        after = {frame.frame_index: frame for frame in found.frames if frame.present.any()}
        before = {frame.frame_index: frame for frame in sequence.frames if frame.present[:, places[places >= 0]].any()}
        assert after.keys() == before.keys()
        for index, frame in before.items():
            assert_same_people(after[index], frame, places, has_ids=target.ids != "none")
            if target.person_scores != "none":
                np.testing.assert_allclose(after[index].person_scores, frame.person_scores, rtol=0, atol=1e-4)


def assert_same_people(after: FramePoses, before: FramePoses, places: np.ndarray, has_ids: bool) -> None:
    # HDF5 has names of tracks, so that numbers come back as text.
    ids = None if after.track_ids is None else [str(track_id) for track_id in after.track_ids]
    assert ids == ([str(track_id) for track_id in before.track_ids or ()] if has_ids else None)
    shared, present = places >= 0, before.present[:, places] & (places >= 0)
    # AlphaPose's neck is made up of the shoulders.
    np.testing.assert_array_equal(after.present[:, shared], present[:, shared])
    # 2 decimals for coordinates, 4 for scores; float32 has a step of 1.2e-4 at 2000. Shares of the frame size have 6
    # digits: half a millionth of 1920 px is another 0.001, and of values above 1 ten times that.
    np.testing.assert_allclose(after.keypoints[present], before.keypoints[:, places][present], rtol=0, atol=0.0152)
    if before.scores is not None:
        np.testing.assert_allclose(after.scores[present], before.scores[:, places][present], rtol=0, atol=1e-4)


def one_frame(**columns: Any) -> FramePoses:
    return FramePoses(np.array(FLAT, np.float32).reshape(1, 17, 3)[..., :2], **{"frame_index": 4, **columns})


def notes_of(frame: FramePoses, to: str, folder: Path, joints: KeypointSet = COCO_17) -> list[str]:
    return convert(as_file(PoseSequence(joints, (frame,)), folder), folder / "out", to)


@pytest.mark.parametrize(
    ("to", "columns", "notes"),
    [
        ("posefix", {}, []),
        ("coco", {}, ["person scores are the mean", "joint scores are 1"]),
        ("openpose", {"person_scores": np.ones(1, np.float32)}, ["joint scores are 1", "person scores left out"]),
        ("openpose", {"scores": np.ones((1, 17), np.float32), "track_ids": ("ann",)}, ["track ids that are no whole"]),
        ("posetrack18", {"track_ids": (3,)}, ["joints left out: left_eye, right_eye, left_ear, right_ear"]),
        ("posetrack18", {}, ["joints left out", "there are no track ids"]),
    ],
)
def test_what_is_lost_is_named(tmp_path: Path, to: str, columns: dict[str, Any], notes: list[str]) -> None:
    found = notes_of(one_frame(**columns), to, tmp_path)
    assert len(found) == len(notes)
    assert all(note.startswith(start) for note, start in zip(found, notes, strict=True))


def test_frames_without_people_are_left_out_by_lists_and_named(tmp_path: Path) -> None:
    empty = FramePoses(np.zeros((0, 17, 2), np.float32), frame_index=5, scores=np.zeros((0, 17), np.float32))
    assert notes_of(empty, "coco", tmp_path) == ["1 frames without people left out"]
    assert json.loads((tmp_path / "out").read_text()) == []


@pytest.mark.parametrize(("to", "ids"), [("openpose", (0, 1)), ("posetrack18", (0, 1)), ("coco", ("ann", "2.5"))])
def test_ids_of_any_kind_stay_apart(tmp_path: Path, to: str, ids: tuple[Hashable, ...]) -> None:
    frame = one_frame()
    frame = replace(frame, keypoints=np.repeat(frame.keypoints, 2, axis=0), track_ids=("ann", 2.5))
    assert converted(PoseSequence(COCO_17, (frame,)), to, tmp_path).frames[0].track_ids == ids


@pytest.mark.parametrize(("given", "found"), [(COCO_17, BODY_25), (HALPE_26, HALPE_26)])
def test_openpose_keeps_the_sets_it_is_known_for(tmp_path: Path, given: KeypointSet, found: KeypointSet) -> None:
    frame = FramePoses(np.full((1, len(given), 2), 7, np.float32), frame_index=0)
    assert converted(PoseSequence(given, (frame,)), "openpose", tmp_path).keypoint_set == found


def test_what_is_present_is_not_rounded_away(tmp_path: Path) -> None:
    tiny = FramePoses(np.full((1, 17, 2), 1e-4, np.float32), frame_index=0, scores=np.full((1, 17), 1e-6, np.float32))
    for to in ("posefix", "coco"):
        assert converted(PoseSequence(COCO_17, (tiny,)), to, tmp_path).frames[0].present.all()


def test_several_sequences_become_files_of_a_folder(tmp_path: Path) -> None:
    names = ("val/a", "../b")
    source = replace(
        as_file(PoseSequence(COCO_17, ()), tmp_path),
        sequences=tuple(PoseSequence(COCO_17, (one_frame(track_ids=(1,)),), name) for name in names),
    )
    convert(source, tmp_path / "out", "posetrack18")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [".._b.json", "val_a.json"]
    twice = replace(source, sequences=(source.sequences[0],) * 2)
    with pytest.raises(InputError, match=r"two sequences .* val_a.json"):
        convert(twice, tmp_path / "twice", "coco")


def test_pictures_keep_their_names_where_they_say_the_number(tmp_path: Path) -> None:
    frames = tuple(
        one_frame(frame_index=i, image_name=name) for i, name in ((12, "a/0012.png"), (3, "clip_3"), (None, "x.jpg"))
    )
    convert(as_file(PoseSequence(COCO_17, frames), tmp_path), tmp_path / "out.json", "alphapose")
    assert [row["image_id"] for row in json.loads((tmp_path / "out.json").read_text())] == [
        "a/0012.png",
        "3.jpg",
        "x.jpg",
    ]
    with pytest.raises(InputError, match="has no number"):
        notes_of(frames[2], "coco", tmp_path)
    notes_of(frames[2], "openpose", tmp_path)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["x_keypoints.json"]


def test_two_frames_in_one_openpose_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two frames"):
        convert(as_file(PoseSequence(COCO_17, (one_frame(), one_frame())), tmp_path), tmp_path / "out", "openpose")


def test_bad_requests(tmp_path: Path) -> None:
    source = as_file(PoseSequence(COCO_17, (one_frame(),)), tmp_path)
    with pytest.raises(UsageError, match="cannot write the format 'trc'; known are posefix, coco"):
        convert(source, tmp_path / "out", "trc")
    with pytest.raises(UsageError, match="input itself"):
        convert(source, source.path, "coco")
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="cannot write"):
        convert(source, tmp_path / "file" / "out.json", "coco")


@pytest.mark.parametrize("to", ["coco", "openpose"])
def test_the_folder_of_the_output_is_made(tmp_path: Path, to: str) -> None:
    source = as_file(PoseSequence(COCO_17, (one_frame(),)), tmp_path)
    convert(source, tmp_path / "new" / "folder" / "out.json", to)
    assert len(read_poses(tmp_path / "new" / "folder" / "out.json").sequences[0].frames) == 1


def test_native_header_describes_the_video(tmp_path: Path) -> None:
    source = as_file(PoseSequence(COCO_17, (one_frame(),)), tmp_path)
    convert(source, tmp_path / "out.jsonl", "posefix", {"path": "v.mp4"})
    write_native(tmp_path / "own.jsonl", source.sequences[0], {"path": "v.mp4"})
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "own.jsonl").read_bytes()


# Command line


def test_command_converts_beside_the_input_and_says_what_is_lost(tmp_path: Path) -> None:
    path = sample_of("sleap").place(tmp_path)
    text = run_convert([str(path), "--to", "posetrack18"])
    output = tmp_path / "clip.analysis.posetrack18.json"
    assert text.splitlines() == [
        f"{output}: 3 people of 2 frames from sleap to posetrack18",
        "note: joints left out: left_eye, right_eye, left_ear, right_ear",
    ]
    assert read_poses(output).sequences[0].frames[1].track_ids == (3,)
    with pytest.raises(UsageError, match="already exists"):
        run_convert([str(path), "--to", "posetrack18"])
    run_convert([str(path), "--to", "posetrack18", "--overwrite"])


def test_command_needs_the_size_of_normalised_coordinates(tmp_path: Path) -> None:
    path = sample_of("ultralytics").place(tmp_path)
    with pytest.raises(UsageError, match="frame size"):
        run_convert([str(path), "--to", "coco"])
    run_convert([str(path), "--to", "coco", "--size", "640x480", "-o", str(tmp_path / "out.json")])
    np.testing.assert_allclose(json.loads((tmp_path / "out.json").read_text())[0]["keypoints"][:2], FLAT[:2], atol=0.01)
    with pytest.raises(SystemExit):
        run_convert([str(path), "--to", "coco", "--size", "640"])


def test_cli_dispatches_to_convert(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from posefix_track.cli import main

    write_folder(tmp_path, {})
    read_json(tmp_path, [{"image_id": 1, "keypoints": FLAT}])
    assert main(["convert", str(tmp_path / "poses.json"), "--to", "alphapose"]) == 0
    assert "1 people of 1 frames from coco to alphapose" in capsys.readouterr().out
    assert main(["convert", str(tmp_path / "nothing.json"), "--to", "coco"]) == 3
    assert "cannot read" in capsys.readouterr().err
