"""What pose files say that no picture can: absent, endless, misplaced, missing and too many people."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posefix_track.convert import convert, known_targets
from posefix_track.formats import read_poses
from posefix_track.keypoints import COCO_17
from posefix_track.poses import FramePoses, PoseSequence
from posefix_track.refine import Options, refine_sequence
from posefix_track.refiner import PoseRefiner
from posefix_track.report import Report
from posefix_track.video import open_source
from tests.format_samples import FLAT
from tests.shift_engine import LOADED, ShiftEngine
from tests.test_refine import IMAGE, image_folder, people

REFINER_BATCH = 64


@dataclass
class FiniteEngine(ShiftEngine):
    """Moves joints, and fails when it is given anything that is no number of a picture."""

    shift: tuple[float, float] = (2.0, 1.0)
    max_batch: int = REFINER_BATCH
    largest: int = 0

    def __call__(
        self, images: npt.NDArray[np.uint8], keypoints: npt.NDArray[np.float32], present: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        assert np.isfinite(keypoints[present]).all()
        self.largest = max(self.largest, len(images))
        return super().__call__(images, keypoints, present)


def refiner(engine: FiniteEngine | None = None) -> PoseRefiner:
    return PoseRefiner(LOADED, engine=engine or FiniteEngine(), flip=False)


ODD_NUMBERS = np.float32([np.nan, np.inf, -np.inf, 0, -0.0, 1e-45, -3.4e38, 3.4e38, 199.5])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), odd=st.floats(0, 1))
def test_joints_that_are_no_numbers_are_absent_and_stay_as_they_are(seed: int, odd: float) -> None:
    rng = np.random.default_rng(seed)
    keypoints = np.where(rng.random((2, 17, 2)) < odd, rng.choice(ODD_NUMBERS, (2, 17, 2)), people(2, seed=seed))
    scores = rng.choice(np.float32([np.nan, np.inf, -1, 0, 0.5]), (2, 17))
    result = refiner()(IMAGE, keypoints, scores)
    absent = ~np.isfinite(keypoints).all(-1) | ~(scores > 0)
    np.testing.assert_array_equal(result.keypoints[absent], keypoints[absent])
    assert np.isfinite(result.keypoints[~absent]).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), reach=st.sampled_from([3e2, 1e4, 4e9, 5e37]))
def test_joints_anywhere_give_finite_joints(seed: int, reach: float) -> None:
    keypoints = np.random.default_rng(seed).uniform(-reach, reach, (3, 17, 2)).astype(np.float32)
    keypoints[2] += np.float32(3 * reach)
    result = refiner()(IMAGE, keypoints)
    assert np.isfinite(result.keypoints).all()
    # The third person is wholly outside of the picture.
    np.testing.assert_array_equal(result.keypoints[2], keypoints[2])


@pytest.mark.parametrize("present", [0, 1, 2])
@pytest.mark.parametrize("place", [(100.0, 100.0), (0.5, 0.5), (199.0, 0.5)])
def test_people_without_extent_are_refined_or_pass_through(present: int, place: tuple[float, float]) -> None:
    keypoints = np.zeros((1, 17, 2), np.float32)
    keypoints[0, :present] = place
    result = refiner()(IMAGE, keypoints)
    assert np.isfinite(result.keypoints).all()
    np.testing.assert_array_equal(result.keypoints[0, present:], keypoints[0, present:])
    assert bool(result.considered.any()) == (present > 0)


@pytest.mark.parametrize("count", [0, 1, 200, 2000])
def test_any_number_of_people_fits(count: int) -> None:
    engine, poses = FiniteEngine(), people(count)
    result = refiner(engine)(IMAGE, poses)
    assert result.keypoints.shape == poses.shape and np.isfinite(result.keypoints).all()
    assert engine.largest <= REFINER_BATCH
    # Somebody in a crowd gets what somebody alone gets.
    if count:
        alone = refiner()(IMAGE, poses[-1:]).keypoints
        np.testing.assert_array_equal(result.keypoints[-1:], alone)


@settings(max_examples=10, deadline=None)
@given(missing=st.sets(st.integers(0, 9), max_size=10))
def test_people_of_missing_pictures_pass_through(missing: set[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = image_folder(tmp_path_factory.mktemp("pictures") / "images", 10)
    for number in sorted(missing)[:9]:
        (folder / f"{number:04}.png").unlink()
    frames = tuple(FramePoses(people(2, seed=i), image_name=f"{i:04}.png") for i in range(10))
    report = Report()
    with open_source(folder) as source:
        before = PoseSequence(COCO_17, frames)
        after = refine_sequence(source, before, refiner(), report, Options(max_missing=1))
    unchanged = {i for i, (a, b) in enumerate(zip(after.frames, frames, strict=True)) if a is b}
    assert unchanged == set(sorted(missing)[:9])
    assert report.missing_frames == len(unchanged)


def strictly_parsed(text: str) -> Any:
    """JSON as every parser takes it, without NaN and Infinity."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


ODD = "[1e999, -1e999, null, NaN, -0, Infinity, 4e38, 12.5, 7]"


@pytest.mark.parametrize("to", sorted(t for t, target in known_targets().items() if target.suffix == ".json"))
def test_converted_json_has_no_nan(to: str, tmp_path: Path) -> None:
    keypoints = [*json.loads(ODD), *FLAT[9:]]
    row = json.dumps({"image_id": 1, "keypoints": keypoints, "score": float("nan"), "track_id": 3})
    (tmp_path / "poses.json").write_text(f"[{row}]")
    convert(read_poses(tmp_path / "poses.json"), tmp_path / "out.json", to, frame_size=(480, 640))
    strictly_parsed((tmp_path / "out.json").read_text().splitlines()[0])


def test_a_written_file_has_no_nan_that_the_input_had_not(tmp_path: Path) -> None:
    text = f'[{{"image_id": 0, "keypoints": {ODD[:-1]}, {json.dumps(FLAT[9:])[1:]}, "score": null, "x": [NaN, 1e999]}}]'
    (tmp_path / "poses.json").write_text(text)
    poses = read_poses(tmp_path / "poses.json")
    (sequence,) = poses.sequences
    result = refiner()(IMAGE, sequence.frames[0].keypoints, sequence.frames[0].scores)
    moved = sequence.frames[0].with_keypoints(result.keypoints)
    poses.write(tmp_path / "out.json", [replace(sequence, frames=(moved,))])
    before, after = text.split(), (tmp_path / "out.json").read_text().split()
    odd = {"[1e999,", "-1e999,", "null,", "NaN,", "Infinity,", "[NaN,", "1e999]}]"}
    assert [word for word in after if word in odd] == [word for word in before if word in odd]
    assert before != after


IDS = ["3", "0", '"ann"', "true", "null", "2.5", "-1", "9" * 400, "1e3", '"\\ud800"', '""']


@pytest.mark.parametrize("track_id", IDS)
def test_ids_of_any_kind_are_read_kept_and_converted(track_id: str, tmp_path: Path) -> None:
    mine = f'{{"a": [1, {track_id}]}}'
    text = f'[{{"image_id": 0, "keypoints": {json.dumps(FLAT)}, "track_id": {track_id}, "mine": {mine}}}]'
    (tmp_path / "poses.json").write_text(text)
    poses = read_poses(tmp_path / "poses.json")
    (sequence,) = poses.sequences
    frame = sequence.frames[0]
    poses.write(tmp_path / "out.json", [replace(sequence, frames=(frame.with_keypoints(frame.keypoints + 1),))])
    written = json.loads((tmp_path / "out.json").read_text())[0]
    given = json.loads(text)[0]
    assert [repr(written[key]) for key in ("track_id", "mine")] == [repr(given[key]) for key in ("track_id", "mine")]
    for to in ("posefix", "posetrack18", "sleap"):
        suffix = known_targets()[to].suffix
        convert(poses, tmp_path / f"out{suffix}", to)
        assert len(read_poses(tmp_path / f"out{suffix}").sequences[0].frames[0]) == 1
