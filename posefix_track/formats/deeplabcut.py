"""DeepLabCut's CSV: three or four header lines, then one line a frame with the columns of all individuals.

File format: DeepLabCut's create_df_from_prediction. The header's lines are ``scorer``, ``individuals`` (not in
single-animal projects), ``bodyparts`` and ``coords``; an empty cell is a joint that was not found.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from posefix_track.formats.csv_text import Table, cell_text
from posefix_track.formats.file_names import image_number
from posefix_track.formats.joint_names import human_set
from posefix_track.formats.number_text import NumberText
from posefix_track.formats.pose_file import PoseFile
from posefix_track.formats.rows import JointNames
from posefix_track.formats.source import Format, Options, Source
from posefix_track.formats.table_people import TablePeople

_MOST_HEADER_LINES = 4
_COORDS = ("x", "y", "likelihood")

Row = Sequence[int | str]


@dataclass(frozen=True)
class _Individual:
    """One individual's name and columns: x and y of each joint in turn, and likelihood where the file has it."""

    track_id: Hashable
    keypoints: list[int]
    scores: list[int] | None


@dataclass(frozen=True)
class _Layout:
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
    layout = _layout(text, header)
    people = TablePeople(len(layout.joints))
    for table in text.tree.tables(text, layout.columns, len(header)):
        _add(people, table, layout)
    usual = None if options.keypoints else human_set(text.path, layout.joints)
    return people.pose_file("deeplabcut", source.path, text, JointNames(options.keypoints, usual=usual))


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


def _layout(text: NumberText, header: dict[str, Row]) -> _Layout:
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
    return _Layout(first, len(coords), joints, [_individual(name, [*parts.values()]) for name, parts in alike.items()])


def _individual(track_id: Hashable, parts: list[dict[str, int]]) -> _Individual:
    has_scores = all("likelihood" in part for part in parts)
    scores = [part["likelihood"] for part in parts] if has_scores else None
    return _Individual(track_id, [part[axis] for part in parts for axis in ("x", "y")], scores)


def _add(people: TablePeople, table: Table, layout: _Layout) -> None:
    first, count, joints = len(people.frames), len(table.lines), len(layout.joints)
    people.frames.extend(_frame(table, row, layout.index_columns) for row in range(count))
    keypoints = [table.numbers(individual.keypoints).reshape(count, joints, 2) for individual in layout.individuals]
    nothing = np.full((count, joints), -1, np.int32)
    scores = [nothing if one.scores is None else table.numbers(one.scores) for one in layout.individuals]
    places = np.stack(keypoints, axis=1)
    # An individual without a single joint is not in this frame.
    found = ~np.isnan(table.text.values[places]).all((2, 3))
    rows, individuals = np.nonzero(found)
    names = [layout.individuals[individual].track_id for individual in individuals.tolist()]
    people.add(rows + first, places[found], np.stack(scores, axis=1)[found], None, names)


def _frame(table: Table, row: int, index_columns: int) -> tuple[int | None, str | None]:
    """Lines are frame numbers, or the folder, video and image name of labelled images."""
    cells = [table.cell(row, column) for column in range(index_columns)]
    if len(cells) == 1 and not isinstance(cells[0], str):
        return table.text.index(cells[0], table.where(row)), None
    name = "/".join(cell_text(table.text, cell) for cell in cells)
    return image_number(name), name


FORMAT = Format("deeplabcut", "DeepLabCut CSV", "csv", _matches, _read)
