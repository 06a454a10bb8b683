"""New HDF5 files: SLEAP's analysis file, which nothing but h5py can write."""

import io
from collections.abc import Hashable

import numpy as np

from posefix_track.formats.hdf5 import library
from posefix_track.formats.rounding import rounded_joints
from posefix_track.new_files import frame_number, person_score, track_id
from posefix_track.poses import FramePoses, PoseSequence


def sleap_h5(sequence: PoseSequence, name: str) -> dict[str, bytes]:
    """SLEAP's analysis HDF5 in its usual axes, [tracks, 2, nodes, frames]; who has no id is a track by place."""
    keys = dict.fromkeys(_key(frame, i) for frame in sequence.frames for i in range(len(frame)))
    tracks = {key: number for number, key in enumerate(keys)}
    length = max((frame_number(frame, "SLEAP") for frame in sequence.frames), default=-1) + 1
    nodes = len(sequence.keypoint_set)
    points = np.full((len(tracks), 3, nodes, length), np.nan)
    persons, occupancy = np.full((len(tracks), length), np.nan), np.zeros((length, len(tracks)), np.uint8)
    for frame in sequence.frames:
        number = frame_number(frame, "SLEAP")
        for i, joints in enumerate(rounded_joints(frame)):
            track = tracks[_key(frame, i)]
            points[track, :, :, number] = np.where(joints[:, 2:] > 0, joints, np.nan).T
            persons[track, number], occupancy[number, track] = person_score(frame, i, joints), 1
    buffer = io.BytesIO()
    with library(name).File(buffer, "w") as file:
        file["tracks"], file["point_scores"] = points[:, :2], points[:, 2]
        file["instance_scores"], file["track_occupancy"] = persons, occupancy
        file["node_names"] = [joint.encode() for joint in sequence.keypoint_set.joints]
        file["track_names"] = np.array([str(key).encode("utf-8", "surrogatepass") for key in tracks], dtype="S")
    return {name: buffer.getvalue()}


def _key(frame: FramePoses, i: int) -> Hashable:
    found = track_id(frame, i)
    return f"track_{i}" if found is None else found
