"""New text tables in the formats of other tools, see new_files.py: CSV of DeepLabCut and SLEAP, Ultralytics labels."""

import csv
import io
from collections.abc import Hashable, Iterable, Mapping

import numpy as np
import numpy.typing as npt

from posefix_track.errors import InputError
from posefix_track.formats.rounding import rounded_joints
from posefix_track.new_files import frame_number, numbered, person_score, track_id
from posefix_track.new_lists import box_of
from posefix_track.poses import FramePoses, PoseSequence

SCORER = "posefix_track"


def sleap(sequence: PoseSequence, name: str) -> dict[str, bytes]:
    """SLEAP's analysis CSV, a line a person; an absent joint has empty cells."""
    cells = [f"{node}.{part}" for node in sequence.keypoint_set.joints for part in ("x", "y", "score")]
    header = ["track", "frame_idx", "instance.score", *cells]
    rows = [
        [_text(track_id(frame, i)), frame_number(frame, "SLEAP"), person_score(frame, i, joints), *_cells(joints)]
        for frame in sequence.frames
        for i, joints in enumerate(rounded_joints(frame))
    ]
    return {name: _csv([header, *rows])}


def _text(value: Hashable) -> str:
    return "" if value is None else str(value)


def _cells(joints: npt.NDArray[np.float64]) -> list[float | str]:
    return [number for joint in joints.tolist() for number in (joint if joint[2] else ["", "", ""])]


def _csv(rows: Iterable[Iterable[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", "surrogatepass")


def individuals(sequence: PoseSequence) -> list[str]:
    """The names that DeepLabCut's columns get: the track ids, or the places in the frame where there are none."""
    return list(dict.fromkeys(_individual(frame, i) for frame in sequence.frames for i in range(len(frame))))


def _individual(frame: FramePoses, i: int) -> str:
    found = track_id(frame, i)
    return f"individual{i + 1}" if found is None else str(found)


def by_individual(frames: Iterable[FramePoses]) -> Mapping[tuple[int, str], npt.NDArray[np.float64]]:
    """(frame number, name) -> joints [K, 3]. Raises InputError where a frame has somebody twice."""
    found: dict[tuple[int, str], npt.NDArray[np.float64]] = {}
    for frame in frames:
        for i, joints in enumerate(rounded_joints(frame)):
            key = frame_number(frame, "DeepLabCut"), _individual(frame, i)
            if key in found:
                raise InputError(f"frame {key[0]} has two people {key[1]!r}, but DeepLabCut has one column for each")
            found[key] = joints
    return found


def deeplabcut(sequence: PoseSequence, name: str) -> dict[str, bytes]:
    """DeepLabCut's CSV of several animals: a line a frame from frame 0 on, columns for each person."""
    people, parts = individuals(sequence), sequence.keypoint_set.joints
    columns = [(person, part, coord) for person in people for part in parts for coord in ("x", "y", "likelihood")]
    titles = enumerate(("individuals", "bodyparts", "coords"))
    header = [["scorer", *[SCORER] * len(columns)], *([title, *(c[i] for c in columns)] for i, title in titles)]
    found, absent = by_individual(sequence.frames), np.zeros((len(parts), 3))
    last = max((frame_number(frame, "DeepLabCut") for frame in sequence.frames), default=-1)
    lines = (
        [number, *(cell for person in people for cell in _cells(found.get((number, person), absent)))]
        for number in range(last + 1)
    )
    return {name: _csv([*header, *lines])}


def ultralytics(sequence: PoseSequence, name: str, size: tuple[int, int]) -> dict[str, bytes]:
    """Ultralytics labels, a file a frame with people; ``size`` is (height, width)."""
    files: dict[str, bytes] = {}
    for frame in numbered(sequence).frames:
        rows = [_label(frame, i, joints, size) for i, joints in enumerate(rounded_joints(frame))]
        file = f"{name}_{frame_number(frame, 'Ultralytics') + 1}.txt"
        if rows:
            files[file] = files.get(file, b"") + "".join(f"{row}\n" for row in rows).encode()
    return files


def _label(frame: FramePoses, i: int, joints: npt.NDArray[np.float64], size: tuple[int, int]) -> str:
    height, width = size
    x1, y1, x2, y2 = box_of(joints)
    box = [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height]
    found = track_id(frame, i)
    extra = [] if found is None else [person_score(frame, i, joints), found]
    return " ".join(f"{value:g}" for value in [0, *box, *(joints / (width, height, 1)).ravel().tolist(), *extra])
