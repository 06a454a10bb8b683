"""The drawn benchmark's truth and trackers, made of figures without pictures."""

import dataclasses

import numpy as np
import pytest

from eval.benchmark_files import labelled_frames, truth_document
from eval.benchmark_tracker import TRACKERS, Quality, track
from posefix_track.figures import FigureFrame
from posefix_track.keypoints import POSETRACK_18, UNION_19

PERFECT = Quality(errors=0, spread=0, missed=0, ghosts=0, switches=0, score_noise=0)


def walk(frames: int = 40, people: int = 3) -> list[FigureFrame]:
    """Figures without pictures: joints of one random body each, moving to the right."""
    rng = np.random.default_rng(0)
    body = rng.uniform((0, 0), (60, 200), (people, len(UNION_19), 2)).astype(np.float32)
    start = np.float32([[[80 + 70 * person, 60]] for person in range(people)])
    moving = [body + start + np.float32([2 * i, 0]) for i in range(frames)]
    visible = np.ones((people, len(UNION_19)), bool)
    image = np.broadcast_to(np.uint8(0), (360, 640, 3))
    boxes = [np.concatenate([points.min(1), points.max(1)], 1) for points in moving]
    return [
        FigureFrame(image, points, visible, tuple(range(people)), box)
        for points, box in zip(moving, boxes, strict=True)
    ]


def test_labelled_frames_are_every_fourth_and_the_middle() -> None:
    expected = sorted({*range(0, 40, 4), *range(15, 25)})
    assert np.flatnonzero(labelled_frames(40)).tolist() == expected
    assert labelled_frames(1).tolist() == [True]


def test_half_of_the_hidden_joints_are_labelled() -> None:
    frames = [dataclasses.replace(f, visible=np.arange(19) % 2 == np.ones((3, 1))) for f in walk(160)]
    document = truth_document("000001_mpii_test", frames, 0, np.random.default_rng(0))
    flags = np.array([row["keypoints"][2::3] for row in document["annotations"]])
    hidden = [i for i, name in enumerate(POSETRACK_18.joints) if UNION_19.index[name] % 2 == 0 and i not in (3, 4)]
    seen = [i for i, name in enumerate(POSETRACK_18.joints) if UNION_19.index[name] % 2 and i not in (3, 4)]
    assert flags[:, seen].all()
    # About 1400 draws: four standard deviations are 0.053.
    assert flags[:, hidden].mean() == pytest.approx(0.5, abs=0.06)


def test_ignore_regions_cover_the_figure_that_nobody_annotates() -> None:
    frames = walk(4)
    document = truth_document("000001_mpii_test", frames, 1, np.random.default_rng(0))
    for image, frame in zip(document["images"], frames, strict=True):
        ((x,), (y,)) = image["ignore_regions_x"], image["ignore_regions_y"]
        low, high = frame.keypoints[0].min(0), frame.keypoints[0].max(0)
        assert min(x) < low[0] and max(x) > high[0] and min(y) < low[1] and max(y) > high[1]
    assert {row["track_id"] for row in document["annotations"]} == {0, 1}


def test_tracker_without_errors_reports_the_truth() -> None:
    frames = walk()
    for frame, found in zip(frames, track(frames, PERFECT, np.random.default_rng(0)), strict=True):
        # Without spread every good joint lies on its truth.
        np.testing.assert_array_equal(found.keypoints, frame.keypoints)
        assert found.track_ids == (0, 1, 2)
        assert (found.scores > 0).all()


def test_tracker_changes_ids_but_gives_each_once() -> None:
    quality = dataclasses.replace(PERFECT, switches=0.1, ghosts=0.5)
    ids = [found.track_ids for found in track(walk(), quality, np.random.default_rng(0))]
    assert all(len(set(row)) == len(row) for row in ids)
    assert len({row[:3] for row in ids}) > 3


def test_tracker_misses_hidden_people_more_often() -> None:
    frames = walk(200)
    frames = [dataclasses.replace(f, visible=f.visible & (np.arange(19) < [[19], [10], [0]])) for f in frames]
    found = [
        set(d.track_ids) for d in track(frames, dataclasses.replace(PERFECT, missed=0.1), np.random.default_rng(0))
    ]
    first, second, third = (sum(person in ids for ids in found) for person in range(3))
    assert 200 > first > second > third == 0


def test_scores_tell_right_from_wrong_in_part_and_never_tie() -> None:
    frames = walk(60)
    found = list(track(frames, TRACKERS["medium"], np.random.default_rng(0)))
    scores = np.concatenate([d.scores.ravel() for d in found])
    reported = scores[scores > 0]
    assert len(np.unique(reported)) == len(reported)
    assert reported.min() >= 0.3 and reported.max() < 1
    pairs = [(d, f) for d, f in zip(found, frames, strict=True) if d.track_ids == (0, 1, 2)]
    errors = np.concatenate([np.linalg.norm(d.keypoints - f.keypoints, axis=-1).ravel() for d, f in pairs])
    scores = np.concatenate([d.scores.ravel() for d, _ in pairs])
    correlation = np.corrcoef(errors[scores > 0], scores[scores > 0])[0, 1]
    assert -0.8 < correlation < -0.2
