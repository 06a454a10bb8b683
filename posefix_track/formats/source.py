"""What stands at a path, read and parsed once, whichever format it turns out to be."""

import codecs
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from posefix_track.errors import InputError, UsageError
from posefix_track.formats.csv_text import parse_csv
from posefix_track.formats.hdf5 import MAGIC, parse_hdf5
from posefix_track.formats.json_blocks import parse_json, parse_json_lines
from posefix_track.formats.number_lines import parse_number_lines
from posefix_track.formats.number_text import NumberText
from posefix_track.formats.pose_file import PoseFile

Kind = Literal["json", "json_lines", "number_lines", "csv", "hdf5"]

_PARSERS: dict[Kind, Callable[[Path, bytes], NumberText]] = {
    "json": parse_json,
    "json_lines": parse_json_lines,
    "number_lines": parse_number_lines,
    "csv": parse_csv,
    "hdf5": parse_hdf5,
}
# Places in a file are 32-bit numbers.
_MOST_BYTES = 2**31 - 1
# What people have beside their poses, or have them in: at byte 0, but for a video.
_OTHER_KINDS = (
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"PK\x03\x04", "a ZIP archive (.npz, .zip, .xlsx)"),
    (0, b"\x80", "a Python pickle"),
    (0, b"\x1a\x45\xdf\xa3", "a video"),
    (4, b"ftyp", "a video"),
)
_FOLDER_SUFFIXES: dict[Kind, str] = {"json": ".json", "number_lines": ".txt", "csv": ".csv", "hdf5": ".h5"}


@dataclass(frozen=True)
class Source:
    """A file, or the pose files of a folder in the order of their names."""

    path: Path
    kind: Kind
    texts: tuple[NumberText, ...]

    @property
    def trees(self) -> list[Any]:
        """The parsed content of each text."""
        return [text.tree for text in self.texts]


@dataclass(frozen=True)
class Options:
    """What the user says about a pose file beyond its path. ``frame_size`` is (height, width)."""

    keypoints: str | None = None
    annotations: Path | None = None
    frame_size: tuple[int, int] | None = None

    def size(self, path: Path, what: str) -> tuple[int, int]:
        """(height, width) of the frames. Raises UsageError where it is not known."""
        if self.frame_size is None or min(self.frame_size) < 1:
            raise UsageError(
                f"{path}: {what} are divided by the frame size; give it (posefix-track convert --size WxH)"
            )
        return self.frame_size

    def normalised_scale(self, path: Path, what: str) -> tuple[float, float]:
        """(x, y) pixels per unit of coordinates divided by the frame size. Raises UsageError where it is not known."""
        height, width = self.size(path, what)
        return float(width), float(height)


@dataclass(frozen=True)
class Format:
    """One pose file format.

    Attributes:
        name: what users type, such as "coco".
        description: one line for the help text.
        kind: how its text is parsed; None where it may be JSON or JSON lines.
        matches: whether a parsed source is of this format.
        read: the poses of a source; raises InputError when it is not of this format, or damaged.
    """

    name: str
    description: str
    kind: Kind | None
    matches: Callable[[Source], bool]
    read: Callable[[Source, Options], PoseFile]


def load_source(path: Path, kind: Kind | None = None) -> Source:
    """Reads ``path``; ``kind`` None tells the kind of text from names and first bytes.

    Raises InputError when nothing can be read there, or its text is not valid.
    """
    try:
        files = _folder_files(path, kind) if path.is_dir() else [path]
        contents = [_content(file) for file in files]
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    kind = kind or _kind(files[0], contents[0])
    return Source(path, kind, tuple(_PARSERS[kind](file, data) for file, data in zip(files, contents, strict=True)))


def _content(file: Path) -> bytes:
    if file.stat().st_size >= _MOST_BYTES:
        raise InputError(
            f"{file}: the file has {file.stat().st_size} bytes, but at most {_MOST_BYTES} are read; split it"
        )
    return file.read_bytes()


def _folder_files(folder: Path, kind: Kind | None) -> list[Path]:
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and not file.name.startswith(".")]
    suffixes = [_FOLDER_SUFFIXES.get(kind, ".json")] if kind else list(_FOLDER_SUFFIXES.values())
    for suffix in suffixes:
        found = [file for file in files if file.suffix.lower() == suffix]
        if found:
            return found
    raise InputError(f"{folder}: expected pose files, but the folder has no {' or '.join(suffixes)} file")


def _kind(file: Path, data: bytes) -> Kind:
    if data.startswith(MAGIC):
        return "hdf5"
    for start, magic, what in _OTHER_KINDS:
        if data.startswith(magic, start):
            raise InputError(f"{file} is {what}; give poses in one of the formats that posefix-track --help lists")
    first_line, _, rest = data.removeprefix(codecs.BOM_UTF8).lstrip().partition(b"\n")
    suffix = file.suffix.lower()
    if suffix in (".txt", ".csv") and first_line[:1] not in (b"[", b"{"):
        return "csv" if suffix == ".csv" or b"," in first_line else "number_lines"
    # Within one JSON document no opening bracket can follow a closing one.
    lines = first_line.rstrip()[-1:] in (b"]", b"}") and rest.lstrip()[:1] in (b"[", b"{")
    lines = lines or suffix in (".jsonl", ".ndjson") or b'"posefix_track"' in first_line
    return "json_lines" if lines else "json"
