"""DeepLabCut's CSV: three or four header lines, then one line a frame with the columns of all individuals.

File format: DeepLabCut's create_df_from_prediction. The header's lines are ``scorer``, ``individuals`` (not in
single-animal projects), ``bodyparts`` and ``coords``; an empty cell is a joint that was not found.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from posefix_track.formats.csv_text import cell_text
from posefix_track.formats.file_names import image_number
from posefix_track.formats.joint_names import human_set
from posefix_track.formats.number_text import NumberText
from posefix_track.formats.pose_file import PoseFile
from posefix_track.formats.rows import FrameRows, JointNames, Person, pose_file
from posefix_track.formats.source import Format, Options, Source

_MOST_HEADER_LINES = 4
_COORDS = ("x", "y", "likelihood")

Row = Sequence[int | str]


@dataclass(frozen=True)
class _Individual:
    """One individual's name and columns: (x, y) of each joint, and likelihood where the file has it."""

    track_id: Hashable
    keypoints: list[tuple[int, int]]
    scores: list[int] | None


@dataclass(frozen=True)
class _Table:
    """How many columns name the frame, how many there are, what the joints are called, and the individuals."""

    index_columns: int
    columns: int
    joints: tuple[str, ...]
    individuals: list[_Individual]


def _matches(source: Source) -> bool:
    if source.kind != "csv" or not source.trees[0]:
        return False
    names = [row[0] for _, row in source.trees[0][:_MOST_HEADER_LINES]]
    return names[0] == "scorer" and "coords" in names


def _read(source: Source, options: Options) -> PoseFile:
    text = source.texts[0]
    header = _header(text)
    table = _table(text, header)
    frames = [_frame(text, table, row, f"line {line}") for line, row in islice(text.tree, len(header), None)]
    usual = None if options.keypoints else human_set(text.path, table.joints)
    return pose_file("deeplabcut", source.path, [text], {"": frames}, JointNames(options.keypoints, usual=usual))


def _header(text: NumberText) -> dict[str, Row]:
    """Header line by its name, up to ``coords``."""
    header = {}
    for _, row in text.tree[:_MOST_HEADER_LINES]:
        header[cell_text(text, row[0])] = row
        if row[0] == "coords":
            break
    if not {"bodyparts", "coords"} <= header.keys() or len({len(row) for row in header.values()}) > 1:
        raise text.error("", "expected DeepLabCut's header lines scorer, bodyparts and coords, all equally long")
    return header


def _table(text: NumberText, header: dict[str, Row]) -> _Table:
    coords = [cell_text(text, cell) for cell in header["coords"]]
    first = next((column for column, coord in enumerate(coords) if coord in _COORDS), len(coords))
    individuals = header.get("individuals")
    people: dict[Hashable, dict[str, dict[str, int]]] = {}
    for column in range(first, len(coords)):
        person = text.scalar(individuals[column], "individuals") if individuals else None
        joint = cell_text(text, header["bodyparts"][column])
        people.setdefault(person, {}).setdefault(joint, {})[coords[column]] = column
    if not people or not all({"x", "y"} <= part.keys() for parts in people.values() for part in parts.values()):
        raise text.error("", "expected columns x and y for each body part")
    joints = tuple(next(iter(people.values())))
    # Parts that belong to nobody are an individual of their own, called "single", with other joints than the people.
    alike = {person: parts for person, parts in people.items() if tuple(parts) == joints}
    return _Table(first, len(coords), joints, [_individual(name, [*parts.values()]) for name, parts in alike.items()])


def _individual(track_id: Hashable, parts: list[dict[str, int]]) -> _Individual:
    has_scores = all("likelihood" in part for part in parts)
    scores = [part["likelihood"] for part in parts] if has_scores else None
    return _Individual(track_id, [(part["x"], part["y"]) for part in parts], scores)


def _frame(text: NumberText, table: _Table, row: Row, where: str) -> FrameRows:
    if len(row) != table.columns:
        raise text.error(where, f"expected {table.columns} cells as in the header, got {len(row)}")
    frame = _named_frame(text, row[: table.index_columns], where)
    for individual in table.individuals:
        cells = [row[column] for xy in individual.keypoints for column in xy]
        keypoints = text.ordinals(cells, where).reshape(-1, 2)
        # An individual without a single joint is not in this frame.
        if np.isnan(text.values[keypoints]).all():
            continue
        scores = None if individual.scores is None else text.ordinals([row[c] for c in individual.scores], where)
        frame.add(Person(f"{where} {individual.track_id or ''}", keypoints, scores, track_id=individual.track_id))
    return frame


def _named_frame(text: NumberText, cells: Row, where: str) -> FrameRows:
    """Lines are frame numbers, or the folder, video and image name of labelled images."""
    if len(cells) == 1 and not isinstance(cells[0], str):
        return FrameRows(frame_index=text.index(cells[0], where))
    name = "/".join(cell_text(text, cell) for cell in cells)
    return FrameRows(frame_index=image_number(name), image_name=name)


FORMAT = Format("deeplabcut", "DeepLabCut CSV", "csv", _matches, _read)
