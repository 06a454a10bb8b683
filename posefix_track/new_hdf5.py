"""New HDF5 files of SLEAP (its analysis file) and DeepLabCut, which nothing but h5py can write."""

import io
from collections.abc import Hashable, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from posefix_track.errors import InputError
from posefix_track.formats.hdf5_process import check_installed
from posefix_track.formats.pickled_names import pickled
from posefix_track.formats.rounding import rounded_joints
from posefix_track.new_files import frame_number, person_score, track_id
from posefix_track.new_tables import SCORER, by_individual, individuals
from posefix_track.poses import FramePoses, PoseSequence

_COORDS = ("x", "y", "likelihood")


def _library(name: str) -> ModuleType:
    """h5py. Raises UsageError that says how to install it for the file ``name``."""
    check_installed(name)
    import h5py

    module: ModuleType = h5py
    return module


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
    with _library(name).File(buffer, "w") as file:
        file["tracks"], file["point_scores"] = points[:, :2], points[:, 2]
        file["instance_scores"], file["track_occupancy"] = persons, occupancy
        # sleap-io opens no file without them, and what they were is not known.
        file["tracking_scores"] = np.full_like(persons, np.nan)
        file["node_names"] = [joint.encode() for joint in sequence.keypoint_set.joints]
        file["track_names"] = np.array([str(key).encode("utf-8", "surrogatepass") for key in tracks], dtype="S")
    return {name: buffer.getvalue()}


def _key(frame: FramePoses, i: int) -> Hashable:
    found = track_id(frame, i)
    return f"track_{i}" if found is None else found


def deeplabcut_h5(sequence: PoseSequence, name: str) -> dict[str, bytes]:
    """DeepLabCut's HDF5 of several animals: the table that ``pandas.read_hdf`` reads, from frame 0 on.

    Raises InputError where nobody is in it: a table needs columns.
    """
    people, parts = individuals(sequence), sequence.keypoint_set.joints
    if not people:
        raise InputError(f"{name}: a DeepLabCut table has a column for each person, but there is nobody")
    found = by_individual(sequence.frames)
    length = max(number for number, _ in found) + 1
    points = np.full((length, len(people), len(parts), 3), np.nan)
    for (number, person), joints in found.items():
        points[number, people.index(person)] = np.where(joints[:, 2:] > 0, joints, np.nan)
    columns = [(SCORER, person, part, coord) for person in people for part in parts for coord in _COORDS]
    buffer = io.BytesIO()
    # Files as HDF5 1.8 and later write them may have attributes of more than 64 KB: the names of many people.
    with _library(name).File(buffer, "w", libver=("v108", "latest")) as file:
        _write_table(file, points.reshape(length, -1), columns)
    return {name: buffer.getvalue()}


def _write_table(file: Any, points: npt.NDArray[np.float64], columns: Sequence[tuple[str, ...]]) -> None:
    """What pandas writes for a table with these columns, as PyTables stores it."""
    rows = np.zeros(len(points), [("index", "<i8"), ("values_block_0", "<f8", (len(columns),))])
    rows["index"], rows["values_block_0"] = np.arange(len(points)), points
    group = file.create_group("df_with_missing")
    table = group.create_dataset("table", data=rows, chunks=True, maxshape=(None,))
    names = {"names": ["scorer", "individuals", "bodyparts", "coords"], "type": "MultiIndex"}
    _describe(file, {"CLASS": "GROUP", "PYTABLES_FORMAT_VERSION": "2.1", "TITLE": "", "VERSION": "1.0"})
    _describe(group, {
        "CLASS": "GROUP", "TITLE": "", "VERSION": "1.0", "encoding": "UTF-8", "errors": "strict",
        "pandas_type": "frame_table", "pandas_version": "0.15.2", "table_type": "appendable_frame",
    })  # fmt: skip
    _describe(group, {
        "data_columns": pickled([]), "index_cols": pickled([(0, "index")]), "levels": np.int64(1),
        "info": pickled({1: names, "index": {}, "values_block_0": {}}), "metadata": pickled([]), "nan_rep": "nan",
        "non_index_axes": pickled([(1, columns)]), "values_cols": pickled(["values_block_0"]),
    })  # fmt: skip
    _describe(table, {
        "CLASS": "TABLE", "TITLE": "", "VERSION": "2.7", "NROWS": np.int64(len(rows)), "FIELD_0_NAME": "index",
        "FIELD_0_FILL": np.int64(0), "FIELD_1_NAME": "values_block_0", "FIELD_1_FILL": np.float64(0),
        "index_kind": "integer", "values_block_0_kind": pickled(columns), "values_block_0_dtype": "float64",
        "values_block_0_meta": pickled(None),
    })  # fmt: skip


def _describe(item: Any, attributes: Mapping[str, str | bytes | np.generic]) -> None:
    """Attributes as PyTables writes them: names in UTF-8, pickles as plain bytes."""
    h5py = _library(item.file.name)
    for name, value in attributes.items():
        if isinstance(value, np.generic):
            item.attrs[name] = value
        else:
            data, encoding = (value.encode(), "utf-8") if isinstance(value, str) else (value, "ascii")
            kind = h5py.string_dtype(encoding, max(1, len(data)))
            item.attrs.create(name, data if data else h5py.Empty(kind), dtype=kind)
