"""SLEAP's analysis HDF5: one array of all tracks.

File format: sleap-io's sleap_io/io/analysis_h5.py. ``tracks`` is [tracks, 2, nodes, frames], or, written for Python,
[frames, nodes, 2, tracks]; a node that was not found is NaN. ``point_scores`` and ``instance_scores`` go the same way.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from posefix_track.errors import InputError
from posefix_track.formats.hdf5 import Hdf5PoseFile, array_of, changed_values, opened, texts_of
from posefix_track.formats.joint_names import human_set
from posefix_track.formats.number_text import NumberText
from posefix_track.formats.pose_file import PoseFile
from posefix_track.formats.source import Format, Options, Source
from posefix_track.keypoints import keypoint_set
from posefix_track.poses import FramePoses, PoseSequence

_SCORES = ("point_scores", "instance_scores")


def _matches(source: Source) -> bool:
    return source.kind == "hdf5" and {"tracks", "node_names"} <= source.trees[0]


def _read(source: Source, options: Options) -> PoseFile:
    text = source.texts[0]
    arrays, nodes, names = _arrays(text)
    known = keypoint_set(options.keypoints) if options.keypoints else human_set(text.path, nodes)
    if len(known) != len(nodes):
        raise InputError(f"{text.path}: there are {len(nodes)} nodes, but {known.name} has {len(known)} joints")
    is_python = _is_python(text.path, arrays["tracks"], len(nodes))
    tracks = {name: array.T if is_python else array for name, array in arrays.items()}
    # [tracks, 2, nodes, frames] -> frames that have somebody.
    found = ~np.isnan(tracks["tracks"]).all(axis=(1, 2))
    numbers = np.flatnonzero(found.any(0)).tolist()
    frames = tuple(_frame(tracks, names, number, np.flatnonzero(found[:, number])) for number in numbers)
    rows = [(np.flatnonzero(found[:, number]), number) for number in numbers]
    datasets = tuple(name for name in ("tracks", "point_scores") if name in arrays)
    place = partial(_place, rows, is_python)
    return Hdf5PoseFile(
        "sleap_h5", source.path, (PoseSequence(known, frames),), source.texts, (), datasets=datasets, place=place
    )


def _arrays(text: NumberText) -> tuple[dict[str, Any], list[str], list[str]]:
    """Arrays by name, node names and track names."""
    with opened(text.path, text.data) as file:
        arrays = {"tracks": array_of(text.path, file, "tracks", 4)}
        arrays |= {name: array_of(text.path, file, name, 3 - i) for i, name in enumerate(_SCORES) if name in file}
        nodes = texts_of(array_of(text.path, file, "node_names", 1))
        names = texts_of(array_of(text.path, file, "track_names", 1)) if "track_names" in file else []
    if any(not np.issubdtype(array.dtype, np.floating) for array in arrays.values()):
        raise InputError(f"{text.path}: expected tracks and scores to be floating-point numbers")
    return arrays, nodes, names


def _is_python(path: Path, tracks: Any, nodes: int) -> bool:
    if tracks.shape[1:3] == (2, nodes):
        return False
    if tracks.shape[1:3] != (nodes, 2):
        raise InputError(f"{path}: expected tracks of {nodes} nodes with 2 numbers, got shape {list(tracks.shape)}")
    return True


def _frame(arrays: Mapping[str, Any], names: list[str], number: int, people: Any) -> FramePoses:
    scores, persons = (arrays[name][people, ..., number] if name in arrays else None for name in _SCORES)
    with np.errstate(over="ignore"):
        return FramePoses(
            arrays["tracks"][people, :, :, number].swapaxes(1, 2).astype(np.float32),
            frame_index=number,
            scores=None if scores is None else scores.astype(np.float32),
            person_scores=None if persons is None else persons.astype(np.float32),
            track_ids=tuple(names[i] if i < len(names) else int(i) for i in people),
        )


def _place(
    rows: list[tuple[Any, int]], is_python: bool, arrays: Mapping[str, Any], position: int, poses: FramePoses
) -> None:
    people, number = rows[position]
    tracks = arrays["tracks"].T if is_python else arrays["tracks"]
    gone = (poses.keypoints == 0).all(-1)
    stored = tracks[people, :, :, number].swapaxes(1, 2)
    tracks[people, :, :, number] = changed_values(stored, poses.keypoints, gone[..., None]).swapaxes(1, 2)
    if poses.scores is not None and "point_scores" in arrays:
        scores = arrays["point_scores"].T if is_python else arrays["point_scores"]
        scores[people, :, number] = changed_values(scores[people, :, number], poses.scores, gone)


FORMAT = Format("sleap_h5", "SLEAP analysis HDF5 (needs h5py)", "hdf5", _matches, _read)
