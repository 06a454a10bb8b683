"""HDF5 files: read in a process of their own, never followed to other files, and changed in nothing but their poses."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from posefix_track.errors import InputError
from posefix_track.formats.hdf5_process import ask
from posefix_track.formats.number_text import NumberText
from posefix_track.formats.pose_file import PoseFile
from posefix_track.poses import FramePoses

MAGIC = b"\x89HDF\r\n\x1a\n"
Floats = npt.NDArray[np.floating[Any]]
# What places one frame's new numbers into the arrays of the data sets: (arrays, position, poses).
Place = Callable[[Mapping[str, Any], int, FramePoses], None]


def parse_hdf5(path: Path, data: bytes) -> NumberText:
    """The file as a text without numbers; its tree is the names at the root.

    Raises:
        UsageError: h5py is not installed.
        InputError: this is no HDF5 file, or a damaged one.
    """
    message, _ = ask(path, data, {"datasets": {}, "attribute": None}, {})
    return NumberText(path, data, frozenset(message["names"]), np.zeros(0, np.float32), np.zeros((0, 2), np.int32))


def values_of(
    text: NumberText, datasets: Mapping[str, int], attribute: tuple[str, str]
) -> tuple[dict[str, Any], str | None]:
    """Arrays of ``datasets`` (name -> dimensions), lists where they are names; and a data set's attribute of text.

    Raises InputError where one is missing, lies in another file, has another shape, or claims to be huge.
    """
    request = {"datasets": dict(datasets), "attribute": attribute}
    message, arrays = ask(text.path, text.data, request, {})
    return arrays | message["texts"], message["attribute"]


@dataclass(frozen=True, repr=False)
class Hdf5PoseFile(PoseFile):
    """A pose file whose numbers stand in data sets.

    Attributes:
        arrays: values of the data sets that may change, by name.
        place: puts one frame's new poses into copies of them.
    """

    arrays: Mapping[str, Any] = field(default_factory=dict, repr=False)
    place: Place = field(default=lambda arrays, position, poses: None, repr=False)

    def _contents(self, refined: Callable[[int, int], FramePoses]) -> list[Iterable[bytes]]:
        (text,), (sequence,) = self.texts, self.sequences
        arrays = {name: array.copy() for name, array in self.arrays.items()}
        for position, old in enumerate(sequence.frames):
            new = refined(0, position)
            self._check(old, new)
            if new is not old:
                self.place(arrays, position, new)
        # Compared as bytes: NaN is not equal to itself.
        changed = {name: new for name, new in arrays.items() if new.tobytes() != self.arrays[name].tobytes()}
        if not changed:
            return [[text.data]]
        return [[ask(text.path, text.data, {"write": True}, changed)[1]["data"].tobytes()]]

    def _check(self, old: FramePoses, new: FramePoses) -> None:
        if old.keypoints.shape != new.keypoints.shape:
            raise InputError(f"refined {new!r} does not have the people and joints of {old!r} in the file")
        if old.scores is None and new.scores is not None:
            raise InputError(f"{self.path}: the refined poses have joint scores, but the file has no place for them")
        if old.person_scores is None and new.person_scores is not None:
            raise InputError(f"{self.path}: the refined poses have person scores, but the file has no place for them")


def changed_values(stored: Floats, new: npt.NDArray[np.float32], gone: npt.NDArray[np.bool_]) -> Floats:
    """``new`` where it differs from ``stored`` in float32, NaN where such a joint is gone, else ``stored``."""
    with np.errstate(over="ignore"):
        old = stored.astype(np.float32)
    same = (old == new) | (np.isnan(old) & np.isnan(new))
    return np.where(same, stored, np.where(gone, np.nan, new.astype(np.float64))).astype(stored.dtype)
