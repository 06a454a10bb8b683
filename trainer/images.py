"""Training pictures from folders or tar shards, read when they are needed."""

import stat
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from posefix_track.errors import InputError

Image = npt.NDArray[np.uint8]

_REDUCED = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}


class Pictures(Protocol):
    """Pictures by name."""

    def read(self, name: str, shrink: int = 1) -> tuple[Image, int]:
        """The picture, uint8 BGR [H, W, 3], and by how much it was really shrunk (1 or ``shrink``)."""
        ...


class _Member(NamedTuple):
    """Where a file lies within an uncompressed tar archive."""

    shard: Path
    offset: int
    size: int


class Images:
    """Picture files in folders or tar shards, by path within them or by file name.

    Of a shard only the index is kept: 20 GB of it cost no memory, and loader processes share nothing but the file.

    Raises:
        InputError: a shard that is compressed, cut off or no tar archive.
    """

    def __init__(self, sources: Iterable[Path]) -> None:
        self._folders: list[Path] = []
        self._members: dict[str, _Member] = {}
        # By file name alone; None where several members have it (every PoseTrack sequence has a 000000.jpg).
        self._by_name: dict[str, _Member | None] = {}
        for source in sources:
            if source.is_dir():
                self._folders.append(source)
            else:
                self._add_shard(source)

    def _add_shard(self, shard: Path) -> None:
        for name, member in _index(shard):
            path = PurePosixPath(name)
            self._members[str(path)] = member
            self._by_name[path.name] = None if path.name in self._by_name else member

    def __contains__(self, name: str) -> bool:
        return self._member(name) is not None or self._path(name) is not None

    def read(self, name: str, shrink: int = 1) -> tuple[Image, int]:
        """The picture as uint8 BGR [H, W, 3], and by how much it was really shrunk.

        Args:
            name: path within a source, or file name.
            shrink: 1, 2, 4 or 8; JPEG files then decode to means of so many pixels, which is several times as fast.

        Raises:
            InputError: naming a file that is missing or does not decode.
        """
        data = self._bytes(name)
        if shrink not in _REDUCED or data[:2] != b"\xff\xd8":
            shrink = 1
        flags = _REDUCED.get(shrink, cv2.IMREAD_COLOR) | cv2.IMREAD_IGNORE_ORIENTATION
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
        if image is None:
            raise InputError(f"{name}: does not decode as an image")
        return image.astype(np.uint8, copy=False), shrink

    def _bytes(self, name: str) -> bytes:
        if member := self._member(name):
            # Opened anew: a file position would be shared with the other loader processes.
            with member.shard.open("rb", buffering=0) as file:
                file.seek(member.offset)
                return file.read(member.size)
        path = self._path(name)
        if path is None:
            raise InputError(f"{name}: no such image in the data set")
        return path.read_bytes()

    def _member(self, name: str) -> _Member | None:
        return self._members.get(name) or self._by_name.get(PurePosixPath(name).name)

    def _path(self, name: str) -> Path | None:
        candidates = (folder / part for part in (name, PurePosixPath(name).name) for folder in self._folders)
        return next((path for path in candidates if _has_content(path)), None)


def _has_content(path: Path) -> bool:
    """Whether this is a file that is not empty, as copies are that ran out of disk."""
    try:
        status = path.stat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size > 0


def _index(shard: Path) -> Iterator[tuple[str, _Member]]:
    name = "its first member"
    try:
        total = shard.stat().st_size
        with tarfile.open(shard, "r:") as archive:
            while (entry := archive.next()) is not None:
                # The archive would keep all entries.
                archive.members = []  # type: ignore[attr-defined]
                name = entry.name
                if entry.offset_data + entry.size > total:
                    raise tarfile.ReadError("unexpected end of data")
                if entry.isfile() and entry.size:
                    yield name, _Member(shard, entry.offset_data, entry.size)
    except (OSError, tarfile.TarError) as error:
        advice = "shards must be whole, uncompressed tar archives"
        raise InputError(f"{shard}: not a readable tar shard at {name}: {error}; {advice}") from error
