"""SLEAP's analysis CSV: one line an instance.

File format: sleap-io's sleap_io/io/csv.py, ``track,frame_idx,instance.score,<node>.x,<node>.y,<node>.score,...`` with
nodes in any order; an empty cell is a node that was not found.
"""

from dataclasses import dataclass
from itertools import islice

from posefix_track.formats.csv_text import cell_text
from posefix_track.formats.joint_names import human_set
from posefix_track.formats.number_text import NumberText
from posefix_track.formats.pose_file import PoseFile
from posefix_track.formats.rows import FrameRows, JointNames, Person, pose_file
from posefix_track.formats.source import Format, Options, Source

_REQUIRED = {"frame_idx", "instance.score"}


@dataclass(frozen=True)
class _Columns:
    """Column by name, and the nodes that have x and y, in the order of the file."""

    index: dict[str, int]
    nodes: tuple[str, ...]
    has_scores: bool


def _matches(source: Source) -> bool:
    return source.kind == "csv" and bool(source.trees[0]) and {*source.trees[0][0][1]} >= _REQUIRED


def _read(source: Source, options: Options) -> PoseFile:
    text = source.texts[0]
    columns = _columns(text)
    frames: dict[int, FrameRows] = {}
    for line, row in islice(text.tree, 1, None):
        where = f"line {line}"
        if len(row) != len(columns.index):
            raise text.error(where, f"expected {len(columns.index)} cells as in the header, got {len(row)}")
        cells = {name: row[column] for name, column in columns.index.items()}
        number = text.index(cells["frame_idx"], f"{where}: frame_idx")
        frames.setdefault(number, FrameRows(frame_index=number)).add(_person(text, columns, cells, where))
    usual = None if options.keypoints else human_set(text.path, columns.nodes)
    return pose_file("sleap", source.path, [text], {"": [*frames.values()]}, JointNames(options.keypoints, usual=usual))


def _columns(text: NumberText) -> _Columns:
    header = [cell_text(text, cell) for cell in text.tree[0][1]] if text.tree else []
    if not {*header} >= _REQUIRED or len({*header}) < len(header):
        raise text.error("line 1", "expected SLEAP's header: track,frame_idx,instance.score and the nodes, each once")
    nodes = tuple(name.removesuffix(".x") for name in header if name.endswith(".x"))
    if not all(f"{node}.y" in header for node in nodes):
        raise text.error("line 1", "expected a column .y for each column .x")
    has_scores = all(f"{node}.score" in header for node in nodes)
    return _Columns({name: column for column, name in enumerate(header)}, nodes, has_scores)


def _person(text: NumberText, columns: _Columns, cells: dict[str, int | str], where: str) -> Person:
    xy = [cells[f"{node}.{axis}"] for node in columns.nodes for axis in ("x", "y")]
    scores = [cells[f"{node}.score"] for node in columns.nodes] if columns.has_scores else None
    return Person(
        where,
        text.ordinals(xy, where).reshape(-1, 2),
        None if scores is None else text.ordinals(scores, where),
        text.number(cells["instance.score"], f"{where}: instance.score"),
        text.scalar(cells["track"], where) if "track" in cells else None,
    )


FORMAT = Format("sleap", "SLEAP analysis CSV", "csv", _matches, _read)
