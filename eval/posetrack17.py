"""PoseTrack 2017: `annolist`, where every scalar is a list of one and a missing joint has no point."""

from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from eval.posetrack_columns import Row, integers, numbers, rows_of, shortened
from eval.posetrack_frames import JOINTS, MISSING_SCORE, Bool, Float, Int, People, PoseFile, head_size
from posefix_track.errors import InputError


@dataclass(frozen=True)
class _Person:
    frame: int
    rect: Row
    points: list[Row]
    place: str


def parse_posetrack17(document: Row, where: str, is_truth: bool) -> PoseFile:
    """Columns of one file. Raises InputError that names file and frame."""
    frames = rows_of(document, "annolist", where)
    names = tuple(_image_name(frame, f"{where}: frame {i}") for i, frame in enumerate(frames))
    places = [f"{where}: frame {name!r}" for name in names]
    rects = [_rows(frame.get("annorect"), place) for frame, place in zip(frames, places, strict=True)]
    people = [
        _Person(i, rect, points, places[i])
        for i, rows in enumerate(rects)
        for rect in rows
        if (points := _points(rect, places[i])) is not None
    ]
    annotated = np.array([bool(rows) for rows in rects], dtype=bool)
    marked = [bool(_first(frame.get("is_labeled", [0]))) for frame in frames]
    return PoseFile(
        where=where,
        image_ids=None,
        image_names=names,
        labelled=annotated | np.array(marked, dtype=bool),
        annotated=annotated,
        ignore_regions=tuple(_ignore_regions(frame, place) for frame, place in zip(frames, places, strict=True)),
        people=_people(people, is_truth),
        unscored=0 if is_truth else sum(_is_unscored(person) for person in people),
    )


def _is_unscored(person: _Person) -> bool:
    return any("score" not in point for point in person.points)


def _first(value: Any) -> Any:
    """The scalar in a list of one; a bare scalar as it is."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _rows(value: Any, place: str) -> list[Row]:
    """A list of dictionaries; files that come from Matlab write a list of one without its brackets."""
    rows = [value] if isinstance(value, dict) else (value or [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{place}: expected a list of dictionaries, got {shortened(value)}")
    return rows


def _image_name(frame: Row, place: str) -> str:
    images = _rows(frame.get("image"), place)
    name = _first(images[0].get("name")) if len(images) == 1 else None
    if not isinstance(name, str):
        raise InputError(f"{place}: needs one image with a name, got {shortened(frame.get('image'))}")
    return name


def _points(rect: Row, place: str) -> list[Row] | None:
    """The person's points; None for a rectangle that is not a pose at all (the official evaluator drops those)."""
    annopoints = _rows(rect.get("annopoints"), place)
    if not annopoints or "point" not in annopoints[0]:
        return None
    return _rows(annopoints[0]["point"], place)


def _people(people: list[_Person], is_truth: bool) -> People:
    places = [person.place for person in people]
    present, keypoints, scores = _joints(people)
    return People(
        frame=np.array([person.frame for person in people], dtype=np.int64),
        track_ids=integers([_first(person.rect.get("track_id")) for person in people], "track_id", places),
        keypoints=keypoints,
        present=present,
        scores=np.zeros_like(scores) if is_truth else scores,
        head_sizes=_head_sizes(people, places) if is_truth else np.full(len(people), np.nan),
    )


def _joints(people: list[_Person]) -> tuple[Bool, Float, Float]:
    """Presence [N, J], coordinates [N, J, 2] and scores [N, J] of people whose points come one by one."""
    points = list(chain.from_iterable(person.points for person in people))
    places = [person.place for person in people for _ in person.points]
    owner = np.repeat(np.arange(len(people)), [len(person.points) for person in people])
    joint = _joint_numbers(points, owner, places)
    values = numbers([_values(point) for point in points], 3, "a point's x, y and score", places)
    present = np.zeros((len(people), len(JOINTS)), dtype=bool)
    columns = np.zeros((len(people), len(JOINTS), 3))
    present[owner, joint], columns[owner, joint] = True, values
    return present, columns[..., :2], columns[..., 2]


def _values(point: Row) -> list[Any]:
    return [_first(point.get("x")), _first(point.get("y")), _first(point.get("score", MISSING_SCORE))]


def _joint_numbers(points: list[Row], owner: Int, places: list[str]) -> Int:
    joint = integers([_first(point.get("id")) for point in points], "id of a point", places)
    seen: set[tuple[int, int]] = set()
    for key, place in zip(zip(owner.tolist(), joint.tolist(), strict=True), places, strict=True):
        if not 0 <= key[1] < len(JOINTS) or key in seen:
            raise InputError(f"{place}: point ids must be 0 to {len(JOINTS) - 1}, each once a person, got {key[1]}")
        seen.add(key)
    return joint


def _head_sizes(people: list[_Person], places: list[str]) -> Float:
    corners = [[_first(person.rect.get(key)) for key in ("x1", "y1", "x2", "y2")] for person in people]
    x1, y1, x2, y2 = numbers(corners, 4, "its head box x1, y1, x2, y2", places).T
    return head_size(x2 - x1, y2 - y1)


def _ignore_regions(frame: Row, place: str) -> tuple[Float, ...]:
    regions = (_rows(region.get("point"), place) for region in _rows(frame.get("ignore_regions"), place))
    return tuple(
        numbers(
            [[_first(p.get("x")), _first(p.get("y"))] for p in points], 2, "an ignore region", [place] * len(points)
        )
        for points in regions
    )
