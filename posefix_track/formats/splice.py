"""A text file with other numbers in it, made piece by piece: an hour of poses is written in little memory."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from posefix_track.errors import InputError
from posefix_track.formats.number_text import NumberText, Ordinals
from posefix_track.poses import FramePoses

ScoreColumn = Literal["scores", "person_scores"]
Column = Literal["keypoints"] | ScoreColumn

# Whole pixels are too coarse for refined joints, whatever the file has used so far; scores are mostly within [0, 1].
_LEAST_DECIMALS: dict[Column, int] = {"keypoints": 2, "scores": 4, "person_scores": 4}
_SCORE_NAMES: dict[ScoreColumn, str] = {"scores": "joint scores", "person_scores": "person scores"}
# All that float64 can hold.
_MOST_DECIMALS = 15
# Frames whose numbers are looked up, or written, together.
_FRAMES = 256
# Above all ordinals.
_NO_ORDINAL = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Cells:
    """Where the numbers of one FramePoses stand.

    Attributes:
        text: which of the pose file's texts holds them.
        keypoints: ordinals [N, K, 2], -1 for a joint that the file leaves out.
        scores: ordinals [N, K], -1 for a joint or person that has none; None where the file has none.
        person_scores: ordinals [N], -1 for a person that has none; None where the file has none.
    """

    text: int
    keypoints: Ordinals
    scores: Ordinals | None
    person_scores: Ordinals | None = None

    @property
    def first(self) -> int:
        """The lowest of the ordinals; -1 where there are none."""
        columns = (places for places in (self.keypoints, self.scores, self.person_scores) if places is not None)
        return int(min(places.min(where=places >= 0, initial=_NO_ORDINAL) for places in columns))


@dataclass(frozen=True)
class Entry:
    """One frame of a text: its poses as they were read, where their numbers stand, and what gives the new poses."""

    before: FramePoses
    cells: Cells
    after: Callable[[], FramePoses]


@dataclass(frozen=True)
class Style:
    """How a file writes numbers.

    Attributes:
        decimals: digits after the point of each column.
        scale: (x, y) pixels per unit of the file; None where the file's unit is the pixel.
        empty_absent: absent joints are empty cells, not zeros.
        flagged: the third number of each joint is a flag that says whether it is there.
    """

    decimals: dict[Column, int]
    scale: tuple[float, float] | None = None
    empty_absent: bool = False
    flagged: bool = False


def most_decimals(texts: Sequence[NumberText], entries: Sequence[Sequence[Entry]]) -> dict[Column, int]:
    """The most decimals that any number of a column has in the files; ``entries`` has those of each text, in order."""
    found = dict(_LEAST_DECIMALS)
    for text, own in zip(texts, entries, strict=True):
        for first in range(0, len(own), _FRAMES):
            cells = [entry.cells for entry in own[first : first + _FRAMES]]
            for column in found:
                places = [places.ravel() for c in cells if (places := getattr(c, column)) is not None]
                ordinals = np.concatenate([np.zeros(0, np.int32), *places])
                found[column] = max(found[column], text.decimals(ordinals[ordinals >= 0]))
    return {column: min(decimals, _MOST_DECIMALS) for column, decimals in found.items()}


def spliced(text: NumberText, entries: Sequence[Entry], style: Style) -> Iterator[bytes]:
    """The bytes of ``text`` with the numbers of ``entries``, which are sorted by their first ordinal.

    Raises InputError where new poses do not have the people and joints of the old, or numbers without a place.
    """
    waiting: dict[int, bytes] = {}
    groups = [entries[first : first + _FRAMES] for first in range(0, len(entries), _FRAMES)]
    done = 0
    for group, following in pairwise([*groups, []]):
        for entry in group:
            waiting |= _tokens(text, entry, style)
        # What lies beyond the first number of the entries to come has to wait for them.
        limit = following[0].cells.first if following else len(text.spans)
        ready = sorted(ordinal for ordinal in waiting if ordinal < limit)
        piece, done = _piece(text, done, ready, waiting)
        yield piece
    yield text.data[done:]


def _piece(text: NumberText, start: int, ordinals: list[int], tokens: dict[int, bytes]) -> tuple[bytes, int]:
    """The bytes from ``start`` to the end of the last of ``ordinals``, whose tokens are taken out, and that end."""
    pieces = []
    for ordinal, (first, end) in zip(ordinals, text.spans[ordinals].tolist(), strict=True):
        pieces += [text.data[start:first], tokens.pop(ordinal)]
        start = end
    return b"".join(pieces), start


def _tokens(text: NumberText, entry: Entry, style: Style) -> dict[int, bytes]:
    """New bytes for the changed numbers (ordinal -> bytes) of one frame."""
    before, after = entry.before, entry.after()
    if after is before:
        return {}
    if before.keypoints.shape != after.keypoints.shape:
        raise InputError(f"refined {after!r} does not have the people and joints of {before!r} in the file")
    moved = _changed(before.keypoints, after.keypoints) & (entry.cells.keypoints >= 0)
    gone = (after.keypoints == 0).all(-1)
    units = after.keypoints / np.array(style.scale) if style.scale else after.keypoints.astype(np.float64)
    tokens = dict(_written("keypoints", entry, units, moved, gone[..., None], style))
    tokens |= _score_tokens("scores", text, entry, after, gone, style)
    tokens |= _score_tokens("person_scores", text, entry, after, np.zeros(len(after), bool), style)
    if style.flagged:
        flags = entry.cells.keypoints[..., 1][gone & moved.any(-1)] + 1
        tokens |= {ordinal: b"0" for ordinal in flags.tolist() if text.values[ordinal] != 0}
    return tokens


def _score_tokens(
    column: ScoreColumn, text: NumberText, entry: Entry, after: FramePoses, gone: npt.NDArray[np.bool_], style: Style
) -> dict[int, bytes]:
    old, new, places = (getattr(poses, column) for poses in (entry.before, after, entry.cells))
    if new is None or new is old:
        return {}
    if old is None or places is None:
        what = _SCORE_NAMES[column]
        raise InputError(f"{text.path}: the refined poses have {what}, but the file has no place for them")
    changed = _changed(old, new) & (places >= 0)
    return dict(_written(column, entry, new.astype(np.float64), changed, gone, style))


def _changed(old: npt.NDArray[np.float32], new: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    return np.asarray((old != new) & ~(np.isnan(old) & np.isnan(new)))


def _written(
    column: Column,
    entry: Entry,
    values: npt.NDArray[np.float64],
    changed: npt.NDArray[np.bool_],
    gone: npt.NDArray[np.bool_],
    style: Style,
) -> Iterator[tuple[int, bytes]]:
    ordinals, new = getattr(entry.cells, column)[changed].tolist(), values[changed]
    if not np.isfinite(new).all():
        raise InputError(f"{entry.before!r}: refined {column} must be finite")
    if style.scale:
        tokens = [b"%.6g" % value for value in new.tolist()]
    else:
        # Adding zero turns -0.0 into 0.0.
        tokens = [repr(value).encode() for value in (new.round(style.decimals[column]) + 0.0).tolist()]
    if style.empty_absent:
        empty = np.broadcast_to(gone, changed.shape)[changed].tolist()
        tokens = [b"" if none else token for none, token in zip(empty, tokens, strict=True)]
    return zip(ordinals, tokens, strict=True)
