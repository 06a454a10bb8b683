"""HDF5 files: opened in memory, never followed to other files, and changed in nothing but their poses."""

import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from posefix_track.errors import InputError, UsageError
from posefix_track.formats.number_text import NumberText
from posefix_track.formats.pose_file import PoseFile
from posefix_track.poses import FramePoses

MAGIC = b"\x89HDF\r\n\x1a\n"
Floats = npt.NDArray[np.floating[Any]]
# What places one frame's new numbers into the arrays of the data sets: (arrays, sequence, position, poses).
Place = Callable[[Mapping[str, Any], int, FramePoses], None]


def parse_hdf5(path: Path, data: bytes) -> NumberText:
    """The file as a text without numbers; its tree is the names at the root.

    Raises:
        UsageError: h5py is not installed.
        InputError: this is no HDF5 file, or a damaged one.
    """
    with opened(path, data) as file:
        names = frozenset(file)
    return NumberText(path, data, names, np.zeros(0, np.float32), np.zeros((0, 2), np.int32))


def library(name: Path | str) -> ModuleType:
    """h5py. Raises UsageError that says how to install it for the file ``name``."""
    try:
        import h5py
    except ImportError:
        raise UsageError(f"{name}: HDF5 files need h5py; install it with: pip install 'posefix_track[hdf5]'") from None
    module: ModuleType = h5py
    return module


@contextmanager
def opened(path: Path, data: bytes, buffer: io.BytesIO | None = None) -> Iterator[Any]:
    """The open file; with ``buffer``, a copy of ``data``, for changes. Raises InputError where it is damaged."""
    h5py = library(path)
    try:
        with h5py.File(buffer or io.BytesIO(data), "r" if buffer is None else "r+") as file:
            yield file
    # h5py has no error of its own; these are what it makes of the library's.
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise InputError(f"{path}: not a valid HDF5 file ({str(error)[:100]})") from error


def array_of(path: Path, file: Any, name: str, dimensions: int) -> Any:
    """The values of a data set; strings of varying length come as a list.

    Raises InputError where it is missing, lies in another file, has another shape, or claims to be huge.
    """
    dataset = file
    for part in name.split("/"):
        link = dataset.get(part, getlink=True) if hasattr(dataset, "keys") else None
        dataset = dataset[part] if type(link).__name__ == "HardLink" else None
    if type(dataset).__name__ != "Dataset" or dataset.external or dataset.is_virtual:
        raise InputError(f"{path}: expected a data set {name!r} within the file")
    if dataset.ndim != dimensions:
        raise InputError(f"{path}: {name} must have {dimensions} dimensions, got shape {list(dataset.shape)}")
    # A small file may claim to hold the world: what is not written counts as zeros, and chunks are read whole.
    stored = dataset.id.get_storage_size()
    claimed = max(dataset.nbytes, math.prod(dataset.chunks or ()) * dataset.dtype.itemsize)
    if claimed > max(_LEAST_LIMIT, _MOST_EXPANSION * stored):
        raise InputError(f"{path}: {name} claims {claimed} bytes, but {stored} are stored")
    return _strings(path, name, dataset) if dataset.dtype.hasobject else dataset[()]


def _strings(path: Path, name: str, dataset: Any) -> list[Any]:
    """Strings of varying length, one by one: many may share the same long one in the file."""
    if "vlen" not in (dataset.dtype.metadata or {}) or dataset.dtype.metadata["vlen"] not in (str, bytes):
        raise InputError(f"{path}: expected {name} to hold numbers or names, got {dataset.dtype}")
    found, length = [], 0
    for text in (dataset[place] for place in range(len(dataset))):
        found.append(text)
        length += len(text)
        if length > _MOST_TEXT:
            raise InputError(f"{path}: {name} has more than {_MOST_TEXT} bytes of names")
    return found


_LEAST_LIMIT = 1 << 24
# Poses compress well, most of all absent ones.
_MOST_EXPANSION = 200
_MOST_TEXT = 1 << 20


def texts_of(values: Any) -> list[str]:
    """Strings of a data set of strings."""
    return [v.decode("utf-8", "surrogateescape") if isinstance(v, bytes) else str(v) for v in np.ravel(values).tolist()]


@dataclass(frozen=True, repr=False)
class Hdf5PoseFile(PoseFile):
    """A pose file whose numbers stand in data sets.

    Attributes:
        datasets: names of those that change.
        place: puts one frame's new poses into their arrays: (name -> array, position of the frame, poses).
    """

    datasets: tuple[str, ...] = ()
    place: Place = field(default=lambda arrays, position, poses: None, repr=False)

    def _contents(self, refined: Callable[[int, int], FramePoses]) -> list[Iterable[bytes]]:
        (text,), (sequence,) = self.texts, self.sequences
        buffer, changed = io.BytesIO(text.data), False
        with opened(text.path, text.data, buffer) as file:
            arrays = {name: file[name][()] for name in self.datasets}
            before = {name: array.copy() for name, array in arrays.items()}
            for position, old in enumerate(sequence.frames):
                new = refined(0, position)
                self._check(old, new)
                if new is not old:
                    self.place(arrays, position, new)
            for name, array in arrays.items():
                # Compared as bytes: NaN is not equal to itself.
                if array.tobytes() != before[name].tobytes():
                    file[name][...] = array
                    changed = True
        return [[buffer.getvalue() if changed else text.data]]

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
