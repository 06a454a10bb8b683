"""SLEAP's analysis HDF5: one array of all tracks.

File format: sleap-io's sleap_io/io/analysis_h5.py. ``tracks`` is [tracks, 2, nodes, frames], or, written for Python,
[frames, nodes, 2, tracks] or [frames, tracks, nodes, 2]; new files name their axes in the attribute ``dims``. A node
that was not found is NaN. ``point_scores`` and ``instance_scores`` go the same way.
"""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from posefix_track.errors import InputError
from posefix_track.formats.hdf5 import Hdf5PoseFile, changed_values, values_of
from posefix_track.formats.joint_names import human_set
from posefix_track.formats.number_text import NumberText
from posefix_track.formats.pose_file import PoseFile
from posefix_track.formats.source import Format, Options, Source
from posefix_track.keypoints import keypoint_set
from posefix_track.poses import FramePoses, PoseSequence

_SCORES = ("point_scores", "instance_scores")
_OPTIONAL = (*_SCORES, "track_names")
_DIMENSIONS = {"tracks": 4, "point_scores": 3, "instance_scores": 2, "node_names": 1, "track_names": 1}
# What SLEAP's own project files have at their root.
_PROJECT = {"metadata", "frames", "instances"}
# The axes as they are used here, and in files that do not name theirs.
_AXES = ("track", "xy", "node", "frame")
_ORDERS = (_AXES, _AXES[::-1], ("frame", "track", "node", "xy"))
_LACKS = {"tracks": (), "point_scores": ("xy",), "instance_scores": ("xy", "node")}


def _matches(source: Source) -> bool:
    return source.kind == "hdf5" and any(names <= source.trees[0] for names in ({"tracks", "node_names"}, _PROJECT))


def _read(source: Source, options: Options) -> PoseFile:
    text = source.texts[0]
    if text.tree >= _PROJECT:
        raise InputError(
            f"{text.path} is a SLEAP project, which is not read; export its poses by File > Export Analysis HDF5 in"
            f" SLEAP, or by: sio convert {text.path.name} -o poses.h5 --to analysis_h5 (pip install sleap-io)"
        )
    arrays, nodes, names, dims = _arrays(text)
    known = keypoint_set(options.keypoints) if options.keypoints else human_set(text.path, nodes)
    if len(known) != len(nodes):
        raise InputError(f"{text.path}: there are {len(nodes)} nodes, but {known.name} has {len(known)} joints")
    order = _order(text.path, arrays["tracks"].shape, len(nodes), dims)
    tracks = _in_order(arrays, order)
    _check_shapes(text.path, {name: array.shape for name, array in tracks.items()})
    # [tracks, 2, nodes, frames] -> frames that have somebody.
    found = ~np.isnan(tracks["tracks"]).all(axis=(1, 2))
    numbers = np.flatnonzero(found.any(0)).tolist()
    frames = tuple(_frame(tracks, names, number, np.flatnonzero(found[:, number])) for number in numbers)
    rows = [(np.flatnonzero(found[:, number]), number) for number in numbers]
    sequences, place = (PoseSequence(known, frames),), partial(_place, rows, order)
    return Hdf5PoseFile("sleap_h5", source.path, sequences, source.texts, (), arrays=arrays, place=place)


def _arrays(text: NumberText) -> tuple[dict[str, Any], list[str], list[str], str | None]:
    """Arrays by name, node names, track names, and what the file says about the axes of its tracks."""
    wanted = {name: n for name, n in _DIMENSIONS.items() if name in text.tree or name not in _OPTIONAL}
    found, dims = values_of(text, wanted, ("tracks", "dims"))
    nodes, names = [*map(str, found.pop("node_names"))], [*map(str, found.pop("track_names", []))]
    if any(not np.issubdtype(array.dtype, np.floating) for array in found.values()):
        raise InputError(f"{text.path}: expected tracks and scores to be floating-point numbers")
    return found, nodes, names, dims


def _check_shapes(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises InputError where the scores are not those of the tracks."""
    tracks, _, nodes, frames = shapes["tracks"]
    for name, expected in zip(_SCORES, ((tracks, nodes, frames), (tracks, frames)), strict=True):
        if shapes.get(name, expected) != expected:
            raise InputError(f"{path}: expected {name} of shape {list(expected)}, got {list(shapes[name])}")


def _order(path: Path, shape: tuple[int, ...], nodes: int, dims: str | None) -> tuple[str, ...]:
    """The names of the axes of the tracks, in the file's order."""
    stated = tuple(re.findall(r"\w+", dims or ""))
    orders = (stated,) if sorted(stated) == sorted(_AXES) else _ORDERS
    for order in orders:
        if (shape[order.index("xy")], shape[order.index("node")]) == (2, nodes):
            return order
    raise InputError(f"{path}: expected tracks of {nodes} nodes with 2 numbers, got shape {list(shape)}")


def _in_order(arrays: Mapping[str, Any], order: tuple[str, ...]) -> dict[str, Any]:
    """Views of the arrays with their axes as in ``_AXES``."""
    found = {}
    for name, array in arrays.items():
        own, wanted = ([axis for axis in axes if axis not in _LACKS[name]] for axes in (order, _AXES))
        found[name] = array.transpose([own.index(axis) for axis in wanted])
    return found


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
    rows: list[tuple[Any, int]], order: tuple[str, ...], arrays: Mapping[str, Any], position: int, poses: FramePoses
) -> None:
    people, number = rows[position]
    views = _in_order(arrays, order)
    tracks = views["tracks"]
    gone = (poses.keypoints == 0).all(-1)
    stored = tracks[people, :, :, number].swapaxes(1, 2)
    tracks[people, :, :, number] = changed_values(stored, poses.keypoints, gone[..., None]).swapaxes(1, 2)
    if poses.scores is not None and "point_scores" in views:
        scores = views["point_scores"]
        scores[people, :, number] = changed_values(scores[people, :, number], poses.scores, gone)
    if poses.person_scores is not None and "instance_scores" in views:
        persons = views["instance_scores"]
        persons[people, number] = changed_values(
            persons[people, number], poses.person_scores, np.zeros(len(poses), bool)
        )


FORMAT = Format("sleap_h5", "SLEAP analysis HDF5 (needs h5py)", "hdf5", _matches, _read)
