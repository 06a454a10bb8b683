"""DeepLabCut's HDF5: one pandas table with a row a frame and the columns of all individuals.

File format: DeepLabCut's create_df_from_prediction, stored by pandas in its "table" form: the rows are the data set
``df_with_missing/table``, and the columns' names an attribute of it, see pickled_names.py.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from posefix_track.errors import InputError
from posefix_track.formats.hdf5 import Hdf5PoseFile, changed_values, values_of
from posefix_track.formats.joint_names import human_set
from posefix_track.formats.number_text import NumberText
from posefix_track.formats.pickled_names import pickled_names
from posefix_track.formats.pose_file import PoseFile
from posefix_track.formats.source import Format, Options, Source
from posefix_track.keypoints import keypoint_set
from posefix_track.poses import FramePoses, PoseSequence

_GROUP, _VALUES = "df_with_missing", "values_block_0"
_TABLE = f"{_GROUP}/table"
_COORDS = ("x", "y", "likelihood")


def _matches(source: Source) -> bool:
    return source.kind == "hdf5" and _GROUP in source.trees[0]


def _read(source: Source, options: Options) -> PoseFile:
    text = source.texts[0]
    table, columns = _table(text)
    people, parts = _individuals(text, columns)
    known = keypoint_set(options.keypoints) if options.keypoints else human_set(text.path, parts)
    if len(known) != len(parts):
        raise InputError(f"{text.path}: there are {len(parts)} body parts, but {known.name} has {len(known)} joints")
    # float64 [frames, individuals, joints, x y likelihood]
    values = table[_VALUES][:, np.array([*people.values()], np.int64)]
    found = ~np.isnan(values[..., :2]).all((2, 3))
    rows = [int(row) for row in np.flatnonzero(found.any(1))]
    frames = tuple(_frame(values[row], found[row], int(table["index"][row]), [*people]) for row in rows)
    place = partial(_place, rows, np.array([*people.values()], np.int64), found)
    sequences = (PoseSequence(known, frames),)
    return Hdf5PoseFile("deeplabcut_h5", source.path, sequences, source.texts, (), arrays={_TABLE: table}, place=place)


def _table(text: NumberText) -> tuple[Any, list[tuple[str, ...]]]:
    """Rows, and for each column its names."""
    values, stated = values_of(text, {_TABLE: 1}, (_TABLE, f"{_VALUES}_kind"))
    table = values[_TABLE]
    fields = getattr(table, "dtype", np.dtype(float)).fields or {}
    kinds = {_VALUES: np.floating, "index": np.integer}
    if not all(name in fields and np.issubdtype(table[name].dtype, kind) for name, kind in kinds.items()):
        raise InputError(f"{text.path}: expected a table of numbers with a line a frame")
    columns = pickled_names(text.path, stated)
    shapes = table[_VALUES].shape, table["index"].shape
    if shapes != ((len(table), len(columns)), (len(table),)):
        raise InputError(f"{text.path}: expected {len(columns)} columns, got shape {list(table[_VALUES].shape)}")
    if (table["index"] < 0).any():
        raise InputError(f"{text.path}: expected rows that count frames from 0, got row {table['index'].min()}")
    return table, columns


def _individuals(text: NumberText, columns: list[tuple[str, ...]]) -> tuple[dict[str, list[list[int]]], list[str]]:
    """Columns of x, y and likelihood of each joint by individual, "" where there is just one; and the joints' names."""
    found: dict[str, dict[str, dict[str, int]]] = {}
    for column, names in enumerate(columns):
        if len(names) not in (3, 4):
            raise InputError(
                f"{text.path}: expected scorer, individual, body part and coordinate, got {len(names)} names"
            )
        person = names[1] if len(names) == 4 else ""
        found.setdefault(person, {}).setdefault(names[-2], {})[names[-1]] = column
    parts = [*next(iter(found.values()), {})]
    # Parts that belong to nobody are an individual of their own with other joints than the people.
    alike = {person: joints for person, joints in found.items() if [*joints] == parts}
    if not parts or any({*part} != {*_COORDS} for joints in alike.values() for part in joints.values()):
        raise InputError(f"{text.path}: expected columns x, y and likelihood for each body part")
    people = {person: [[part[c] for c in _COORDS] for part in joints.values()] for person, joints in alike.items()}
    return people, parts


def _frame(values: Any, found: Any, number: int, names: list[str]) -> FramePoses:
    with np.errstate(over="ignore"):
        joints = values[found].astype(np.float32)
    ids = tuple(name for name, there in zip(names, found, strict=True) if there) if names != [""] else None
    return FramePoses(joints[..., :2], frame_index=number, scores=joints[..., 2], track_ids=ids)


def _place(
    rows: list[int], columns: Any, found: Any, arrays: Mapping[str, Any], position: int, poses: FramePoses
) -> None:
    row = rows[position]
    line, own = arrays[_TABLE][_VALUES][row], columns[found[row]]
    gone = (poses.keypoints == 0).all(-1)
    line[own[..., :2]] = changed_values(line[own[..., :2]], poses.keypoints, gone[..., None])
    if poses.scores is not None:
        line[own[..., 2]] = changed_values(line[own[..., 2]], poses.scores, gone)
    arrays[_TABLE][_VALUES][row] = line


FORMAT = Format("deeplabcut_h5", "DeepLabCut HDF5 (needs h5py)", "hdf5", _matches, _read)
