"""What every source of pictures yields, and what such a source promises."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Frame:
    """One picture.

    Attributes:
        index: 0-based position in the video as it was before any damage, or among the listed images of a folder.
        time_seconds: presentation time counted from the first frame; index / fps where the file carries no times, and
            0 for images.
        image: uint8 [H, W, 3], BGR, upright as a player shows it.
        name: path of an image below its folder, with forward slashes; None for videos.
    """

    index: int
    time_seconds: float
    image: Image
    name: str | None = None

    def __repr__(self) -> str:
        return f"Frame({self.name or self.index!r}, {self.time_seconds:.3f} s, image={list(self.image.shape)})"


class FrameSource(ABC):
    """A sequence of pictures that is read from front to back; iterating again starts again.

    Attributes:
        path: the file or folder.
        kind: "video" or "images".
        width, height: of the first frame in pixels; images of one folder may differ.
        fps: frames per second, None for images and where a video does not tell.
        frame_count_hint: what the container claims; never to be relied upon.
        damage: None, or after iterating a sentence on what could not be decoded.
        uncounted: frames before the latest one that gave no picture, in a damaged video: a reader that only counts
            pictures gives it a number that is lower by as much.
    """

    path: Path
    kind: Literal["video", "images"]
    width: int
    height: int
    fps: Fraction | None = None
    frame_count_hint: int | None = None
    damage: str | None = None
    uncounted: int = 0

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]: ...

    def read_from(self, first: int) -> Iterator[Frame]:
        """The frames from index ``first`` on. Those before are decoded all the same: only so is the index certain."""
        return (frame for frame in self if frame.index >= first)

    @abstractmethod
    def close(self) -> None:
        """Release the file; a running iteration ends."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
