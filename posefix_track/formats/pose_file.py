"""What every reader returns: pose columns, and for each of their numbers the place in the file it came from."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from posefix_track.errors import InputError, ResourceError, UsageError
from posefix_track.formats.atomic import Content, write_file, write_folder
from posefix_track.formats.number_text import NumberText
from posefix_track.formats.splice import Cells, Entry, Style, most_decimals, spliced
from posefix_track.poses import FramePoses, PoseSequence

__all__ = ["Cells", "PoseFile"]

# Formats whose joints are absent where their cells are empty; elsewhere zeros say so.
_EMPTY_ABSENT = ("deeplabcut", "sleap")
# Formats whose evaluation takes a joint for absent only where its flag is 0, too (poseval's convert.py).
_FLAGGED = ("posetrack18", "posetrack21")
# Formats that list the joints that are there, so that an absent one has no entry at all.
_LISTS_JOINTS = ("posetrack17",)
_BYTES_PER_MB = 1e6


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
    cells: tuple[Sequence[Cells], ...]
    scale: tuple[float, float] | None = None

    def __repr__(self) -> str:
        frames = [frame for sequence in self.sequences for frame in sequence.frames]
        counts = f"sequences={len(self.sequences)}, frames={len(frames)}, people={sum(map(len, frames))}"
        return f"PoseFile({self.format!r}, {str(self.path)!r}, {counts})"

    @property
    def is_folder(self) -> bool:
        """Whether ``path`` is a folder, so that ``write`` makes one."""
        return [text.path for text in self.texts] != [self.path]

    @property
    def can_drop_joints(self) -> bool:
        """Whether a joint can be written as absent where it stands."""
        return self.format not in _LISTS_JOINTS

    @property
    def byte_count(self) -> int:
        """Bytes of all its texts."""
        return sum(len(text.data) for text in self.texts)

    @cached_property
    def sha256(self) -> str:
        """Of the file as it was read; of a folder, of what ``sha256sum`` prints for its pose files by name."""
        digests = [hashlib.sha256(text.data).hexdigest() for text in self.texts]
        if not self.is_folder:
            return digests[0]
        lines = (f"{digest}  {text.path.name}\n" for digest, text in zip(digests, self.texts, strict=True))
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()

    def write(self, output: Path, refined: Sequence[PoseSequence]) -> None:
        """Writes the same file or folder with the coordinates and scores of ``refined``.

        Numbers whose float32 value is as it was read keep their bytes, as does everything else. Changed coordinates
        have as many decimals as the file uses, at least 2 (6 significant digits where it is normalised). A joint
        that the file leaves out has no place there and stays out. A folder comes out with the same file names. The
        output is either complete or not there: a file that stands at ``output`` is replaced in one step, a folder must
        be new or empty.

        Raises:
            UsageError: ``output`` is the input itself, or a file where a folder is to be written, or the reverse.
            InputError: ``refined`` has other sequences, frames, people or joints than ``sequences``.
            ResourceError: the disk does not take it.
        """
        self._check_structure(refined)
        self.write_frames(output, lambda sequence, position: refined[sequence].frames[position])

    def write_frames(
        self,
        output: Path,
        refined: Callable[[int, int], FramePoses],
        edit: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """As ``write``, with refined(sequence, position) called for one frame after the other.

        ``edit`` gets the bytes of each finished file and returns those to write; the file is then made in memory.
        """
        self.check_output(output)
        contents = self._contents(refined)
        files: list[Content] = [edit(b"".join(pieces)) for pieces in contents] if edit else [*contents]
        try:
            if self.is_folder:
                write_folder(output, {text.path.name: file for text, file in zip(self.texts, files, strict=True)})
            else:
                write_file(output, files[0])
        except OSError as error:
            size = f"about {self.byte_count / _BYTES_PER_MB:.1f} MB"
            raise ResourceError(f"cannot write {output} ({size}): {error.strerror or error}") from error

    def check_output(self, output: Path) -> None:
        """Raises UsageError where this cannot be written to ``output`` whatever the poses are."""
        inputs = {self.path.resolve(), *(text.path.resolve() for text in self.texts)}
        if output.resolve() in inputs or (output.is_file() and any(output.samefile(path) for path in inputs)):
            raise UsageError(f"{output} is the input itself; choose another output")
        if self.is_folder and output.exists() and not output.is_dir():
            raise UsageError(f"{output} is a file, but {self.path} is a folder; choose another output")
        if not self.is_folder and output.is_dir():
            raise UsageError(f"{output} is a folder, but {self.path} is a file; choose another output")

    def _check_structure(self, refined: Sequence[PoseSequence]) -> None:
        if len(self.sequences) != len(refined):
            raise InputError(f"refined poses have {len(refined)} sequences, the file has {len(self.sequences)}")
        for before, after in zip(self.sequences, refined, strict=True):
            counts = len(after.frames), len(before.frames)
            if counts[0] != counts[1]:
                raise InputError(f"refined sequence {before.name!r} has {counts[0]} frames, the file has {counts[1]}")

    def _contents(self, refined: Callable[[int, int], FramePoses]) -> list[Iterable[bytes]]:
        """The new content of each text, in pieces."""
        entries: list[list[Entry]] = [[] for _ in self.texts]
        for number, (sequence, cells) in enumerate(zip(self.sequences, self.cells, strict=True)):
            for position, (before, own) in enumerate(zip(sequence.frames, cells, strict=True)):
                if len(before):
                    entries[own.text].append(Entry(before, own, partial(refined, number, position)))
        for own_entries in entries:
            own_entries.sort(key=lambda entry: entry.cells.first)
        decimals = most_decimals(self.texts, entries)
        style = Style(decimals, self.scale, self.format in _EMPTY_ABSENT, self.format in _FLAGGED)
        return [spliced(text, own, style) for text, own in zip(self.texts, entries, strict=True)]
