"""posefix_track's own JSON lines."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from posefix_track.errors import InputError
from posefix_track.formats import read_poses, write_native
from posefix_track.keypoints import COCO_17, KeypointSet
from posefix_track.poses import FramePoses, PoseSequence
from tests.format_samples import (
    frames,
)

# posefix_track's own


def test_native_without_known_names_is_a_set_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "poses.jsonl"
    header = {"format": "posefix_track", "version": 1, "keypoints": ["left_thing", "right_thing"]}
    frame = {"frame": 7, "pts": 0.28, "poses": [{"id": "a", "keypoints": [[1.5, 2.5], [3, 4]]}]}
    path.write_text("\n".join(map(json.dumps, (header, frame))))
    poses = read_poses(path)
    assert poses.sequences[0].keypoint_set == KeypointSet("custom", ("left_thing", "right_thing"))
    assert frames(poses)[0].frame_index == 7
    assert frames(poses)[0].keypoints.tolist() == [[[1.5, 2.5], [3.0, 4.0]]]
    assert frames(poses)[0].scores is None


@pytest.mark.parametrize("has_scores", [True, False])
def test_written_native_files_read_back(tmp_path: Path, has_scores: bool) -> None:
    keypoints = np.arange(68, dtype=np.float32).reshape(2, 17, 2) + np.float32(0.25)
    scores = np.full((2, 17), 0.5, np.float32)
    keypoints[0, 3] = np.nan
    scores[0, 3] = np.nan
    frame = FramePoses(keypoints, 5, scores=scores if has_scores else None, track_ids=("a", np.int64(3)))
    empty = replace(
        frame, keypoints=keypoints[:0], scores=scores[:0] if has_scores else None, track_ids=(), frame_index=6
    )
    write_native(tmp_path / "p.jsonl", PoseSequence(COCO_17, (frame, empty)), {"path": "v.mp4", "width": 640})
    read, nobody = frames(read_poses(tmp_path / "p.jsonl"))
    np.testing.assert_array_equal(read.keypoints, np.nan_to_num(keypoints))
    np.testing.assert_array_equal(read.present, frame.present)
    assert (read.frame_index, read.track_ids, len(nobody)) == (5, ("a", 3), 0)


def test_native_needs_frame_numbers(tmp_path: Path) -> None:
    sequence = PoseSequence(COCO_17, (FramePoses(np.zeros((0, 17, 2), np.float32), image_name="a.jpg"),))
    with pytest.raises(InputError, match="no frame_index"):
        write_native(tmp_path / "p.jsonl", sequence, {})
