"""From the people of a table to the columns of a PoseFile: what rows.py does person by person, for all together."""

from array import array
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from posefix_track.formats.number_text import NumberText, Ordinals
from posefix_track.formats.pose_file import Cells, PoseFile
from posefix_track.formats.rows import JointNames, chosen_set
from posefix_track.poses import Float, FramePoses, PoseSequence

_Columns = tuple[Ordinals, Ordinals, Ordinals | None, list[Hashable], npt.NDArray[np.int64]]


@dataclass(frozen=True)
class TablePeople:
    """The people of a table, as they are found in one part of it after the other.

    Attributes:
        joints: K, how many each of them has.
        frames: (frame index, image name) of each frame.
    """

    joints: int
    frames: list[tuple[int | None, str | None]] = field(default_factory=list)
    # Numbers of all people, one after the other: numpy would have to copy them to add more.
    _frame_of: "array[int]" = field(default_factory=lambda: array("q"))
    _keypoints: "array[int]" = field(default_factory=lambda: array("i"))
    _scores: "array[int]" = field(default_factory=lambda: array("i"))
    _person_scores: "array[int]" = field(default_factory=lambda: array("i"))
    _track_ids: list[Hashable] = field(default_factory=list)

    def add(
        self,
        frame_of: npt.NDArray[np.int64],
        keypoints: Ordinals,
        scores: Ordinals,
        person_scores: Ordinals | None,
        track_ids: Sequence[Hashable],
    ) -> None:
        """P people: places in ``frames`` [P], ordinals [P, K, 2], [P, K] (-1 for no score) and [P], and ids."""
        self._frame_of.frombytes(frame_of.astype(np.int64).tobytes())
        self._keypoints.frombytes(keypoints.tobytes())
        self._scores.frombytes(scores.tobytes())
        self._person_scores.frombytes(b"" if person_scores is None else person_scores.tobytes())
        self._track_ids.extend(track_ids)

    def pose_file(self, name: str, path: Path, text: NumberText, joints: JointNames) -> PoseFile:
        """A PoseFile of one sequence. Raises InputError when no keypoint set has as many joints."""
        chosen = chosen_set(path, self.joints if self._frame_of else None, joints)
        places, score_places, person_places, ids, frame_of = self._by_frame(len(chosen))
        bounds = np.searchsorted(frame_of, np.arange(len(self.frames) + 1)).tolist()
        scores = _scores(text, score_places)
        persons = None if person_places is None else text.values[person_places]
        cells = TableCells(bounds, places, None if scores is None else score_places, person_places)
        columns = scores, persons, ids if any(i is not None for i in ids) else None
        sequence = PoseSequence(chosen, tuple(self._framed(text.values[places], columns, bounds)))
        return PoseFile(name, path, (sequence,), (text,), (cells,))

    def _framed(self, keypoints: Float, columns: tuple[Any, ...], bounds: list[int]) -> Iterator[FramePoses]:
        for (index, image), start, end in zip(self.frames, bounds, bounds[1:], strict=False):
            scores, persons, ids = (None if column is None else column[start:end] for column in columns)
            own_ids = None if ids is None else tuple(ids)
            yield FramePoses(keypoints[start:end], index, image, scores, persons, own_ids)

    def _by_frame(self, joints: int) -> _Columns:
        """The columns with the people of a frame together, in the order of the table."""
        frame_of = np.frombuffer(self._frame_of, np.int64)
        keypoints = np.frombuffer(self._keypoints, np.int32).reshape(-1, joints, 2)
        scores = np.frombuffer(self._scores, np.int32).reshape(-1, joints)
        persons = np.frombuffer(self._person_scores, np.int32) if self._person_scores else None
        if (np.diff(frame_of) >= 0).all():
            return keypoints, scores, persons, self._track_ids, frame_of
        order = np.argsort(frame_of, kind="stable")
        ids = [self._track_ids[person] for person in order.tolist()]
        return keypoints[order], scores[order], None if persons is None else persons[order], ids, frame_of[order]


class TableCells(Sequence[Cells]):
    """The cells of each frame, made when they are asked for: all at once they would take as much room as the file.

    ``bounds`` are the first people of the frames, and their number; see Cells for the rest.
    """

    def __init__(
        self, bounds: list[int], keypoints: Ordinals, scores: Ordinals | None, person_scores: Ordinals | None
    ) -> None:
        self._bounds, self._keypoints, self._scores = bounds, keypoints, (scores, person_scores)

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        part = slice(self._bounds[index], self._bounds[index + 1])
        scores, person_scores = (None if column is None else column[part] for column in self._scores)
        return Cells(0, self._keypoints[part], scores, person_scores)


def _scores(text: NumberText, places: Ordinals) -> Float | None:
    """The joint scores; None where there are none, or only zeros: a flag that nobody has filled in."""
    if not (text.values[places[places >= 0]] > 0).any():
        return None
    # A person without joint scores among others that have them: nothing speaks against its joints.
    scores: Float = np.where(places < 0, np.float32(1), text.values[places])
    return scores
