"""What every format owes: the scene that was written is the one that is read, and only changed numbers change."""

import random
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posefix_track.errors import InputError
from posefix_track.formats import PoseFile, read_poses
from posefix_track.poses import FramePoses, PoseSequence
from tests.format_samples import (
    BUILDERS,
    JOINTS,
    NORMALISED,
    WITHOUT_IDS,
    Human,
    Sample,
    Scene,
    Token,
    plain_dump,
    sample_of,
)

# These, the ones without a place for it, and those whose samples leave it out, have no score of a person.
WITHOUT_PERSON_SCORES = {
    "openpose", "alphapose_cmu", "alphapose_open", "mediapipe", "deeplabcut", "mmpose_image", "posetrack21",
}  # fmt: skip
# DeepLabCut has a column for each individual, so it cannot hold any scene.
EXACT_FORMATS = sorted(set(BUILDERS) - NORMALISED - {"deeplabcut"})

plain_numbers = st.decimals(0, 4000, places=3, allow_nan=False).map(lambda d: Token(str(d)))
odd_numbers = st.sampled_from(
    [
        "0",
        "12",
        "-0.0",
        "7.50",
        "1.25e2",
        "4E-2",
        "1e999",
        "NaN",
        "-Infinity",
        "null",
        "9" * 400,
        "0.123456789012345678",
    ]
).map(Token)
numbers = st.one_of(plain_numbers, plain_numbers, odd_numbers)
confidences = st.sampled_from(["1", "0.5", "0.123456", "1e-3", "0.90"]).map(Token)
joints = st.tuples(numbers, numbers, confidences)


def scenes(count: int) -> st.SearchStrategy[Scene]:
    """Scenes of people with ``count`` joints."""
    humans = st.builds(Human, st.integers(0, 10**6), confidences, st.lists(joints, min_size=count, max_size=count))
    frames = st.dictionaries(st.integers(0, 300), st.lists(humans, max_size=3), max_size=3)
    return frames.map(lambda found: Scene(dict(sorted(found.items()))))


def messy_dump(seed: int) -> Callable[[Any], str]:
    """JSON with random white space, and with unknown keys in random objects."""
    rng = random.Random(seed)

    def with_unknown_keys(value: Any) -> Any:
        if isinstance(value, dict):
            known = {key: with_unknown_keys(item) for key, item in value.items()}
            extra = {f'{{née}} "{len(known)}': ["-1.5", -1.5, None, True, {"a": []}]} if rng.random() < 0.3 else {}
            return {**extra, **known} if rng.random() < 0.5 else {**known, **extra}
        return [with_unknown_keys(item) for item in value] if isinstance(value, list) else value

    return lambda value: plain_dump(with_unknown_keys(value), lambda: rng.choice(["", "", " ", "\n\t", "\r\n"]))


def as_float32(tokens: list[Token]) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.array([np.nan if t.text == "null" else float(t) for t in tokens], dtype=np.float64).astype(np.float32)


def frames_of(poses: PoseFile) -> Iterator[FramePoses]:
    return (frame for sequence in poses.sequences for frame in sequence.frames)


def written(poses: PoseFile, output: Path) -> dict[str, bytes]:
    files = sorted(output.iterdir()) if output.is_dir() else [output]
    return {text.path.name: file.read_bytes() for text, file in zip(poses.texts, files, strict=True)}


def read_back(sample: Sample, folder: Path) -> PoseFile:
    return read_poses(sample.place(folder), format=sample.format, **sample.options)


@pytest.mark.parametrize("name", EXACT_FORMATS)
@settings(max_examples=12, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_any_scene_is_read_as_written_and_written_as_read(name: str, data: st.DataObject, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        scene = data.draw(scenes(JOINTS.get(name, 17)))
        sample = BUILDERS[name](scene, messy_dump(seed))
        if not sample.files:
            return
        poses = read_back(sample, Path(folder))
        assert_same_people(poses, scene, has_ids=name not in WITHOUT_IDS)
        poses.write(Path(folder) / "out", poses.sequences)
        assert written(poses, Path(folder) / "out") == {t.path.name: t.data for t in poses.texts}
        assert {name: data.decode() for name, data in written(poses, Path(folder) / "out").items()} == sample.files


def assert_same_people(poses: PoseFile, scene: Scene, has_ids: bool) -> None:
    found = {frame.frame_index: frame for frame in frames_of(poses) if len(frame)}
    expected = {number: people for number, people in scene.frames.items() if people}
    assert found.keys() == expected.keys()
    for number, people in expected.items():
        frame = found[number]
        for i, human in enumerate(people):
            xs, ys, scores = (as_float32([joint[c] for joint in human.joints]) for c in range(3))
            np.testing.assert_array_equal(frame.keypoints[i], np.stack([xs, ys], axis=-1))
            np.testing.assert_array_equal(frame.scores[i], scores)
            assert (frame.track_ids[i] if has_ids else frame.track_ids) == (human.track_id if has_ids else None)
            if frame.person_scores is not None:
                assert frame.person_scores[i] == as_float32([human.score])


def with_moved_joint(poses: PoseFile, xy: tuple[float, float]) -> list[PoseSequence]:
    """All sequences, but joint 2 of the first person of the last frame stands at ``xy``."""
    *sequences, last = poses.sequences
    *frames, frame = last.frames
    keypoints = frame.keypoints.copy()
    keypoints[0, 2] = xy
    return [*sequences, replace(last, frames=(*frames, frame.with_keypoints(keypoints)))]


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_identity_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    poses = read_back(sample_of(name), tmp_path)
    copies = [replace(s, frames=tuple(f.with_keypoints(f.keypoints.copy()) for f in s.frames)) for s in poses.sequences]
    poses.write(tmp_path / "out", copies)
    assert written(poses, tmp_path / "out") == {text.path.name: text.data for text in poses.texts}


@pytest.mark.parametrize("name", sorted(BUILDERS))
@settings(max_examples=10, deadline=None)
@given(x=st.floats(0, 4000, width=32), y=st.floats(0, 4000, width=32))
def test_a_moved_joint_is_all_that_changes(name: str, x: float, y: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sample = sample_of(name)
        before = read_back(sample, Path(folder))
        refined = with_moved_joint(before, (x, y))
        out = Path(folder) / "out"
        before.write(out, refined)
        after = read_poses(out, format=sample.format, **sample.options)
        # 2 decimals of a pixel; normalised numbers have 6 digits, that is 4000 px / 1e6 or better.
        for frame, wanted in zip(frames_of(after), (f for s in refined for f in s.frames), strict=True):
            # A joint at (0, 0) is absent, which an empty cell says as well.
            read, meant = np.nan_to_num(frame.keypoints), np.nan_to_num(wanted.keypoints)
            np.testing.assert_allclose(read, meant, rtol=0, atol=0.0051)
            assert (frame.track_ids, frame.frame_index) == (wanted.track_ids, wanted.frame_index)
        # x and y, and PoseTrack's flag of a joint that is now absent.
        assert changed_numbers(before, after) <= 2 + (x == y == 0)


def changed_numbers(before: PoseFile, after: PoseFile) -> int:
    """How many numbers differ as text; everything between the numbers must be equal."""
    changed = 0
    for old, new in zip(before.texts, after.texts, strict=True):
        assert len(old.values) == len(new.values)
        blank = dict.fromkeys(range(len(old.values)), b"#")
        assert old.replaced(blank) == new.replaced(blank)
        changed += sum(old.token(n) != new.token(n) for n in range(len(old.values)))
    return changed


@pytest.mark.parametrize("name", sorted(set(BUILDERS) - NORMALISED))
def test_decimals_are_the_files_own(name: str, tmp_path: Path) -> None:
    sample = sample_of(name)
    poses = read_back(sample, tmp_path)
    poses.write(tmp_path / "out", with_moved_joint(poses, (12.34567, 7.0)))
    text = b"".join(written(poses, tmp_path / "out").values())
    assert re.search(rb"\b12\.35[],]", text)  # the scene has 2 decimals
    assert re.search(rb"\b7\.0[],]", text)


def test_normalised_numbers_have_six_digits(tmp_path: Path) -> None:
    poses = read_back(sample_of("ultralytics"), tmp_path)
    poses.write(tmp_path / "out", with_moved_joint(poses, (213.33333, 7.0)))
    assert b" 0.333333 0.0145833 " in (tmp_path / "out" / "clip_3.txt").read_bytes()


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_changed_joint_scores_are_written(name: str, tmp_path: Path) -> None:
    sample = sample_of(name)
    poses = read_back(sample, tmp_path)
    refined = [
        replace(s, frames=tuple(f.with_keypoints(f.keypoints, f.scores * np.float32(0.5)) for f in s.frames))
        for s in poses.sequences
    ]
    poses.write(tmp_path / "out", refined)
    after = read_poses(tmp_path / "out", format=sample.format, **sample.options)
    for frame, wanted in zip(frames_of(after), (f for s in refined for f in s.frames), strict=True):
        np.testing.assert_array_equal(frame.scores, wanted.scores)
        np.testing.assert_array_equal(frame.keypoints, wanted.keypoints)


def with_person_scores(poses: PoseFile, new: Callable[[np.ndarray], np.ndarray]) -> list[PoseSequence]:
    """All sequences with what ``new`` makes of each frame's person scores."""
    return [
        replace(s, frames=tuple(f.with_keypoints(f.keypoints, person_scores=new(f.person_scores)) for f in s.frames))
        for s in poses.sequences
    ]


@pytest.mark.parametrize("name", sorted(WITHOUT_PERSON_SCORES))
def test_person_scores_need_a_place_in_the_file(name: str, tmp_path: Path) -> None:
    poses = read_back(sample_of(name), tmp_path)
    assert all(frame.person_scores is None for frame in frames_of(poses))
    scored = [replace(s, frames=tuple(replace(f, person_scores=np.ones(len(f), np.float32)) for f in s.frames))
              for s in poses.sequences]  # fmt: skip
    with pytest.raises(InputError, match="the refined poses have person scores, but the file has no place for them"):
        poses.write(tmp_path / "out", scored)


@pytest.mark.parametrize("name", sorted(set(BUILDERS) - WITHOUT_PERSON_SCORES))
@settings(max_examples=8, deadline=None)
@given(score=st.integers(0, 10**4).map(lambda share: share / 10**4))
def test_a_changed_person_score_is_all_that_changes(name: str, score: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sample = sample_of(name)
        before = read_back(sample, Path(folder))
        refined = with_person_scores(before, lambda old: np.append(old[:-1], np.float32(score))[: len(old)])
        before.write(Path(folder) / "out", refined)
        after = read_poses(Path(folder) / "out", format=sample.format, **sample.options)
        for frame, wanted in zip(frames_of(after), (f for s in refined for f in s.frames), strict=True):
            # Scores have 4 decimals, so nothing is lost.
            np.testing.assert_array_equal(frame.person_scores, wanted.person_scores)
        frames = sum(len(frame) > 0 for frame in frames_of(before))
        assert changed_numbers(before, after) == (0 if score == 0.5 else frames)


@pytest.mark.parametrize("name", sorted(set(EXACT_FORMATS) - WITHOUT_PERSON_SCORES))
@settings(max_examples=10, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32), new=st.sampled_from([0.25, 0.5, 0.0625, 7.0]))
def test_person_scores_are_written_in_their_place_of_any_scene(
    name: str, data: st.DataObject, seed: int, new: float
) -> None:
    """Splicing compared with replacing the numbers one by one; the new ones need no rounding."""
    with tempfile.TemporaryDirectory() as folder:
        sample = BUILDERS[name](data.draw(scenes(JOINTS.get(name, 17))), messy_dump(seed))
        if not sample.files:
            return
        poses = read_back(sample, Path(folder))
        if any(frame.person_scores is None for frame in frames_of(poses)):
            return
        changed: list[dict[int, bytes]] = [{} for _ in poses.texts]
        for cells in (cells for sequence in poses.cells for cells in sequence):
            found = [] if cells.person_scores is None else cells.person_scores.tolist()
            changed[cells.text] |= {n: repr(new).encode() for n in found if poses.texts[cells.text].values[n] != new}
        poses.write(Path(folder) / "out", with_person_scores(poses, lambda scores: np.full_like(scores, new)))
        expected = {text.path.name: text.replaced(own) for text, own in zip(poses.texts, changed, strict=True)}
        assert written(poses, Path(folder) / "out") == expected
