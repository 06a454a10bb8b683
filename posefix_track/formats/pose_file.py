"""What every reader returns: pose columns, and for each of their numbers the place in the file it came from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from posefix_track.errors import InputError, ResourceError, UsageError
from posefix_track.formats.atomic import write_file, write_folder
from posefix_track.formats.number_text import NumberText, Ordinals
from posefix_track.poses import FramePoses, PoseSequence

Column = Literal["keypoints", "scores"]

# Whole pixels are too coarse for refined joints, whatever the file has used so far; scores are mostly within [0, 1].
_LEAST_DECIMALS: dict[Column, int] = {"keypoints": 2, "scores": 4}
# All that float64 can hold.
_MOST_DECIMALS = 15


@dataclass(frozen=True)
class Cells:
    """Where the numbers of one FramePoses stand.

    Attributes:
        text: which of the pose file's texts holds them.
        keypoints: ordinals [N, K, 2], -1 for a joint that the file leaves out.
        scores: ordinals [N, K], -1 for a joint or person that has none; None where the file has none.
    """

    text: int
    keypoints: Ordinals
    scores: Ordinals | None


@dataclass(frozen=True)
class _Change:
    """Numbers of one text that get other values: ordinals [n] and values [n], in the file's units."""

    text: int
    ordinals: Ordinals
    values: npt.NDArray[np.float64]


@dataclass(frozen=True)
class PoseFile:
    """Poses that were read from a file or a folder, and how to write others in their place.

    Attributes:
        format: name of the file format, such as "coco".
        path: the file or folder.
        sequences: its poses.
        texts: its text files; just one unless ``path`` is a folder.
        cells: for each sequence and frame the places of the numbers.
        scale: (x, y) pixels per unit of the file; None where the file's unit is the pixel.
    """

    format: str
    path: Path
    sequences: tuple[PoseSequence, ...]
    texts: tuple[NumberText, ...]
    cells: tuple[tuple[Cells, ...], ...]
    scale: tuple[float, float] | None = None

    def __repr__(self) -> str:
        frames = [frame for sequence in self.sequences for frame in sequence.frames]
        counts = f"sequences={len(self.sequences)}, frames={len(frames)}, people={sum(map(len, frames))}"
        return f"PoseFile({self.format!r}, {str(self.path)!r}, {counts})"

    @property
    def is_folder(self) -> bool:
        """Whether ``path`` is a folder, so that ``write`` makes one."""
        return [text.path for text in self.texts] != [self.path]

    def write(self, output: Path, refined: Sequence[PoseSequence]) -> None:
        """Writes the same file or folder with the coordinates and joint scores of ``refined``.

        Numbers whose float32 value is as it was read keep their bytes, as does everything else. Changed coordinates
        have as many decimals as the file uses, at least 2 (6 significant digits where it is normalised). A joint
        that the file leaves out has no place there and stays out. A folder comes out with the same file names. The
        output is either complete or not there: a file that stands at ``output`` is replaced in one step, a folder must
        be new or empty.

        Raises:
            UsageError: ``output`` is the input itself, or a file where a folder is to be written.
            InputError: ``refined`` has other sequences, frames, people or joints than ``sequences``.
            ResourceError: the disk does not take it.
        """
        tokens = self._tokens(refined)
        contents = [text.replaced(changed) for text, changed in zip(self.texts, tokens, strict=True)]
        try:
            self._check_output(output)
            if self.is_folder:
                write_folder(output, {text.path.name: data for text, data in zip(self.texts, contents, strict=True)})
            else:
                write_file(output, contents[0])
        except OSError as error:
            raise ResourceError(f"cannot write {output}: {error.strerror or error}") from error

    def _check_output(self, output: Path) -> None:
        if output.resolve() in {self.path.resolve(), *(text.path.resolve() for text in self.texts)}:
            raise UsageError(f"{output} is the input itself; choose another output")
        if self.is_folder and output.exists() and not output.is_dir():
            raise UsageError(f"{output} is a file, but {self.path} is a folder; choose another output")

    def _tokens(self, refined: Sequence[PoseSequence]) -> list[dict[int, bytes]]:
        """New bytes for the changed numbers (ordinal -> bytes) of each text."""
        frames = list(_frame_pairs(self.sequences, refined))
        tokens: list[dict[int, bytes]] = [{} for _ in self.texts]
        columns: tuple[Column, ...] = ("keypoints", "scores")
        for column in columns:
            changes = [change for pair, cells in zip(frames, self._all_cells(), strict=True)
                       if (change := self._change(column, *pair, cells))]  # fmt: skip
            decimals = self._decimals(column) if changes else 0
            for change in changes:
                new = self._written(change.values, decimals)
                tokens[change.text].update(zip(change.ordinals.tolist(), new, strict=True))
        return tokens

    def _all_cells(self) -> list[Cells]:
        return [cells for sequence in self.cells for cells in sequence]

    def _change(self, column: Column, before: FramePoses, after: FramePoses, cells: Cells) -> _Change | None:
        old, new, ordinals = getattr(before, column), getattr(after, column), getattr(cells, column)
        if new is None or new is old:
            return None
        if old is None:
            raise InputError(f"{self.path}: the refined poses have joint scores, but the file has no place for them")
        changed = (old != new) & ~(np.isnan(old) & np.isnan(new))
        if column == "keypoints":
            changed &= ordinals >= 0
        if not changed.any():
            return None
        units = new / np.array(self.scale) if self.scale and column == "keypoints" else new.astype(np.float64)
        if not np.isfinite(units[changed]).all() or (ordinals[changed] < 0).any():
            raise InputError(f"{self.path}: {before!r}: refined {column} must be finite and have a place in the file")
        return _Change(cells.text, ordinals[changed], units[changed])

    def _decimals(self, column: Column) -> int:
        """The most decimals that any number of ``column`` has in the file."""
        ordinals: list[list[Ordinals]] = [[] for _ in self.texts]
        for cells in self._all_cells():
            places = getattr(cells, column)
            ordinals[cells.text].append(places[places >= 0])
        found = [text.decimals(np.concatenate(own)) for text, own in zip(self.texts, ordinals, strict=True) if own]
        return min(max([_LEAST_DECIMALS[column], *found]), _MOST_DECIMALS)

    def _written(self, values: npt.NDArray[np.float64], decimals: int) -> list[bytes]:
        if self.scale:
            return [b"%.6g" % value for value in values.tolist()]
        # Adding zero turns -0.0 into 0.0.
        return [repr(value).encode() for value in (values.round(decimals) + 0.0).tolist()]


def _frame_pairs(
    sequences: Sequence[PoseSequence], refined: Sequence[PoseSequence]
) -> Iterator[tuple[FramePoses, FramePoses]]:
    """(read, refined) frames. Raises InputError where the two differ in anything but values."""
    if len(sequences) != len(refined):
        raise InputError(f"refined poses have {len(refined)} sequences, the file has {len(sequences)}")
    for before, after in zip(sequences, refined, strict=True):
        if len(before.frames) != len(after.frames):
            raise InputError(
                f"refined sequence {before.name!r} has {len(after.frames)} frames, the file has {len(before.frames)}"
            )
        for old, new in zip(before.frames, after.frames, strict=True):
            if old.keypoints.shape != new.keypoints.shape:
                raise InputError(f"refined {new!r} does not have the people and joints of {old!r} in the file")
            yield old, new
