"""Frames from image files: one after the other, or by the name that a pose file gives them."""

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from posefix_track.errors import InputError
from posefix_track.frames import Frame, FrameSource, Image
from posefix_track.image_header import check_image_size

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
_DIGITS = re.compile(r"(\d+)")


def read_image(path: Path) -> Image:
    """Read one image as uint8 [H, W, 3] BGR.

    The EXIF orientation is ignored, as the annotations of COCO, PoseTrack and MPII take it: coordinates belong to the
    stored pixels. Grey, 16-bit and transparent images become 8-bit colour.

    Raises:
        InputError: unreadable, not an image, or more than 178 million pixels.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read image {path}: {error.strerror}") from error
    check_image_size(data, str(path))
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise InputError(f"{path} cannot be decoded as an image; it may be cut short")
    return np.asarray(image, np.uint8)


class ImageFolder(FrameSource):
    """Images of a folder in natural order (frame2 before frame10), or a single image file.

    The images lying directly in the folder are its frames; where there are none, those of all folders below it.

    Raises:
        InputError: no JPEG, PNG, BMP or WebP image there.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.kind = path, "images"
        self.root = path if path.is_dir() else path.parent
        self.names = _listed(path) if path.is_dir() else [path.name]
        if not self.names:
            raise InputError(f"no image ({', '.join(sorted(IMAGE_SUFFIXES))}) in the folder {path}")
        self.height, self.width = read_image(self.root / self.names[0]).shape[:2]
        self.frame_count_hint = len(self.names)

    def __iter__(self) -> Iterator[Frame]:
        for index, name in enumerate(self.names):
            yield Frame(index, 0.0, read_image(self.root / name), name)

    def close(self) -> None:
        """Nothing is held open between two images."""

    def read(self, name: str) -> Frame:
        """The image that a pose file calls ``name``: a path below the folder, or a longer one that ends in such a path.

        ``images/val/a/000001.jpg`` is found in ``images``, ``images/val`` and ``images/val/a``. The frame's index is
        its place in ``names``, -1 for an image not listed there.

        Raises:
            InputError: an absolute name, one that leads out of the folder (also by a link), one that is meant to lie in
                the folder beside, a missing or broken image.
        """
        relative = self.find(name)
        if relative is None:
            raise InputError(
                f"image {name!r} is not in {self.root}; give the folder that the names in the pose file start from"
            )
        path = self.root / relative
        self._check_inside(path, name)
        return Frame(self._index.get(relative, -1), 0.0, read_image(path), relative)

    def find(self, name: str) -> str | None:
        """Path below the folder of the image that a pose file calls ``name``, or None.

        Raises:
            InputError: an absolute name, one that leads out of the folder, or one that is meant to lie beside it.
        """
        parts = _checked_parts(name)
        candidates = ((first, str(PurePosixPath(*parts[first:]))) for first in range(len(parts)))
        found = next(((first, relative) for first, relative in candidates if (self.root / relative).is_file()), None)
        if found is None:
            return None
        first, relative = found
        if first > 0:
            self._check_not_beside(name, parts[first - 1], relative)
        return relative

    def _check_not_beside(self, name: str, folder: str, relative: str) -> None:
        """Frames of all videos have the same names: those of another one are not to be taken for those asked for."""
        meant = self._place.parent / folder
        if meant != self._place and (meant / relative).is_file():
            raise InputError(f"image {name!r} lies in {meant}, not in {self.root}; give that folder, or {meant.parent}")

    @cached_property
    def _place(self) -> Path:
        return self.root.resolve()

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.names)}

    def _check_inside(self, path: Path, name: str) -> None:
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise InputError(f"image {name!r} is a link that leads out of {self.root}; copy the image into the folder")


def _listed(folder: Path) -> list[str]:
    found = (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    direct = sorted((path.name for path in found), key=_natural)
    if direct:
        return direct
    below = (path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    return sorted((path.relative_to(folder).as_posix() for path in below), key=_natural)


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in _DIGITS.split(name)]


def _checked_parts(name: str) -> tuple[str, ...]:
    """Path parts of a name from an untrusted pose file."""
    plain = name.replace("\\", "/")
    parts = PurePosixPath(plain).parts
    if not parts or plain.startswith("/") or ".." in parts or "\0" in plain or re.match(r"[A-Za-z]:", plain):
        raise InputError(f"image name {name!r} leads out of the image folder; names must be relative and without '..'")
    return parts
