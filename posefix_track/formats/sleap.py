"""SLEAP's analysis CSV: one line an instance.

File format: sleap-io's sleap_io/io/csv.py, ``track,frame_idx,instance.score,<node>.x,<node>.y,<node>.score,...`` with
nodes in any order; an empty cell is a node that was not found.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from posefix_track.formats.csv_text import Table, cell_text
from posefix_track.formats.joint_names import human_set
from posefix_track.formats.number_text import NumberText
from posefix_track.formats.pose_file import PoseFile
from posefix_track.formats.rows import JointNames
from posefix_track.formats.source import Format, Options, Source
from posefix_track.formats.table_people import TablePeople

_REQUIRED = {"frame_idx", "instance.score"}


@dataclass(frozen=True)
class _Columns:
    """Column by name, and the nodes that have x and y, in the order of the file."""

    index: Mapping[str, int]
    nodes: tuple[str, ...]
    has_scores: bool

    def of_nodes(self, *parts: str) -> list[int]:
        return [self.index[f"{node}.{part}"] for node in self.nodes for part in parts]


def _matches(source: Source) -> bool:
    return source.kind == "csv" and bool(source.trees[0]) and {*source.trees[0][0][1]} >= _REQUIRED


def _read(source: Source, options: Options) -> PoseFile:
    text = source.texts[0]
    columns = _columns(text)
    people, places = TablePeople(len(columns.nodes)), dict[int, int]()
    for table in text.tree.tables(text, len(columns.index), header=1):
        _add(people, places, table, columns)
    people.frames.extend((number, None) for number in places)
    usual = None if options.keypoints else human_set(text.path, columns.nodes)
    return people.pose_file("sleap", source.path, text, JointNames(options.keypoints, usual=usual))


def _columns(text: NumberText) -> _Columns:
    header = [cell_text(text, cell) for cell in text.tree[0][1]] if text.tree else []
    if not {*header} >= _REQUIRED or len({*header}) < len(header):
        raise text.error("line 1", "expected SLEAP's header: track,frame_idx,instance.score and the nodes, each once")
    nodes = tuple(name.removesuffix(".x") for name in header if name.endswith(".x"))
    if not nodes or not all(f"{node}.y" in header for node in nodes):
        raise text.error("line 1", "expected nodes, with a column .y for each column .x")
    has_scores = all(f"{node}.score" in header for node in nodes)
    return _Columns({name: column for column, name in enumerate(header)}, nodes, has_scores)


def _add(people: TablePeople, places: dict[int, int], table: Table, columns: _Columns) -> None:
    """Adds the people of ``table``; ``places`` has the place of each frame number that has been met."""
    count, nodes = len(table.lines), len(columns.nodes)
    numbers = table.frame_numbers(columns.index["frame_idx"], "frame_idx")
    person_scores = table.numbers([columns.index["instance.score"]], "instance.score")[:, 0]
    people.add(
        np.array([places.setdefault(number, len(places)) for number in numbers]),
        table.numbers(columns.of_nodes("x", "y")).reshape(count, nodes, 2),
        table.numbers(columns.of_nodes("score")) if columns.has_scores else np.full((count, nodes), -1, np.int32),
        person_scores,
        table.scalars(columns.index["track"], "track") if "track" in columns.index else [None] * count,
    )


FORMAT = Format("sleap", "SLEAP analysis CSV", "csv", _matches, _read)
