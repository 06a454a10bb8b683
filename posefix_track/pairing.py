"""Which poses belong to which picture: by frame index or by image name, never by position in a list."""

from collections import defaultdict
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

import numpy as np

from posefix_track.errors import InputError
from posefix_track.frames import Frame, FrameSource
from posefix_track.image_folder import ImageFolder
from posefix_track.poses import FramePoses, PoseSequence

# Frames that are looked at, and the share of people in them that may lie outside, before somebody is to check.
_LOOKED_AT = 1000
_MAX_OUTSIDE = 0.1


def people_outside(source: FrameSource, sequence: PoseSequence) -> str | None:
    """A sentence for the user where many people lie outside a video, as poses of another size of it do.

    Wholly outside: trackers that guess what the picture cuts off place most of a close-up's joints below it.
    """
    if source.kind != "video":
        return None
    frames = sequence.frames[:: max(len(sequence.frames) // _LOOKED_AT, 1)]
    size = np.array([source.width, source.height])
    outside = people = 0
    for poses in frames:
        inside = ((poses.keypoints >= 0) & (poses.keypoints < size)).all(-1) & poses.present
        people += int(poses.present.any(1).sum())
        outside += int((poses.present.any(1) & ~inside.any(1)).sum())
    if outside <= _MAX_OUTSIDE * people:
        return None
    return (
        f"{outside} of {people} people lie outside the {source.width}x{source.height} pixels of {source.path};"
        " check that the poses were made on this video, and in this size"
    )


@dataclass(frozen=True)
class Pair:
    """One picture and the positions, within the sequence's frames, of the poses that were made on it."""

    frame: Frame
    positions: tuple[int, ...]


class Pairing:
    """Iterates over a source and hands each picture its poses.

    Videos are read once from front to back; from a folder only the pictures that the poses name are read, unless
    ``every_frame``.

    Args:
        source: the pictures.
        sequence: the poses.
        every_frame: also yield pictures that no poses belong to.
        first: first frame of a video that matters; poses before it are not waited for.
        start: first frame of a video to yield: what is missing before it is known to be missing.
        done: positions of poses that are not waited for.
        numbered_from: number that the poses give to the first frame.

    Attributes:
        unmatched: after iterating, sequence positions whose picture does not exist or does not decode, with the reason.
    """

    def __init__(
        self,
        source: FrameSource,
        sequence: PoseSequence,
        every_frame: bool = False,
        first: int = 0,
        start: int = 0,
        done: Container[int] = (),
        numbered_from: int = 0,
    ) -> None:
        self._source, self._every_frame, self._done, self._numbered_from = source, every_frame, done, numbered_from
        self._first, self._start = first, max(first, start)
        # PoseTrack lists pictures without people, and may not ship them: nobody waits for those.
        self._waiting = [(i, poses) for i, poses in enumerate(sequence.frames) if len(poses)]
        self._last_index = max((self._index(poses) or 0 for poses in sequence.frames), default=0)
        self.unmatched: dict[int, str] = {}

    def surely_missing(self) -> list[str]:
        """Names of frames with people that the source cannot have, as far as is known before reading it."""
        if isinstance(self._source, ImageFolder):
            folder = self._source
            names = (self._name_in(folder, poses) for _, poses in self._waiting)
            return [name for name in names if folder.find(name) is None]
        count = self._source.frame_count_hint
        indices = (self._index(poses) or 0 for _, poses in self._waiting)
        missing = (index for index in indices if index < 0 or (count is not None and index >= count))
        return [f"frame {index + self._numbered_from}" for index in missing]

    def starts_early(self) -> bool:
        """Whether there are poses before the first frame, which hints at a wrong ``numbered_from``."""
        return any((self._index(poses) or 0) < 0 for _, poses in self._waiting)

    def __iter__(self) -> Iterator[Pair]:
        if isinstance(self._source, ImageFolder):
            return self._from_folder(self._source)
        return self._from_video()

    def _from_video(self) -> Iterator[Pair]:
        waiting = self._by_frame_index()
        before = {index: waiting.pop(index) for index in [*waiting] if index < 0}
        self._miss(before, f"the first frame is said to be {self._numbered_from}")
        if not waiting and not self._every_frame:
            return
        decoded = self._start
        for frame in self._source.read_from(self._start):
            decoded = frame.index + 1
            positions = waiting.pop(frame.index, []) if self._counts_all() else []
            yield Pair(frame, tuple(positions))
            if not waiting and not self._every_frame:
                return
        self._miss(waiting, self._source.damage or f"the video has {decoded} frames{self._advice(waiting, decoded)}")

    def _miss(self, waiting: Mapping[int, list[int]], reason: str) -> None:
        for index, positions in sorted(waiting.items()):
            named = f"frame {index + self._numbered_from}: {reason}"
            self.unmatched.update(dict.fromkeys(positions, named))

    def _advice(self, waiting: Mapping[int, list[int]], decoded: int) -> str:
        """What to do where all numbers look as if they were one too high."""
        indices = {self._index(poses) for _, poses in self._waiting}
        if self._numbered_from or 0 in indices or [*waiting] != [decoded]:
            return ""
        return ", none of the poses is of frame 0; if they count from 1, refine them again with --first-frame 1"

    def _counts_all(self) -> bool:
        """Whether the poses' numbers count frames that give no picture.

        A tracker that ran on the damaged video itself has most likely counted pictures; one that got this far has not.
        """
        uncounted, count = self._source.uncounted, self._source.frame_count_hint
        return uncounted == 0 or (count is not None and self._last_index >= count - uncounted)

    def _by_frame_index(self) -> dict[int, list[int]]:
        waiting = defaultdict(list)
        for position, poses in self._waiting:
            index = self._index(poses)
            if index is None:
                raise InputError(
                    f"poses name the image {poses.image_name!r}, but {self._source.path} is a video;"
                    " give the folder with the images"
                )
            if (index < 0 or index >= self._first) and position not in self._done:
                waiting[index].append(position)
        return waiting

    def _index(self, poses: FramePoses) -> int | None:
        """0-based place of the poses' frame, negative where it lies before the first one."""
        return None if poses.frame_index is None else poses.frame_index - self._numbered_from

    def _from_folder(self, folder: ImageFolder) -> Iterator[Pair]:
        waiting = defaultdict(list)
        for position, poses in self._waiting:
            if position not in self._done:
                waiting[self._name_in(folder, poses)].append(position)
        names = [*waiting]
        if self._every_frame:
            listed = set(folder.names)
            names = [*folder.names, *(name for name in names if name not in listed)]
        for name in names:
            positions = tuple(waiting.get(name, ()))
            try:
                frame = folder.read(name)
            except InputError as error:
                self.unmatched.update(dict.fromkeys(positions, str(error)))
                continue
            yield Pair(frame, positions)

    def _name_in(self, folder: ImageFolder, poses: FramePoses) -> str:
        """The folder's name for the picture: as stated, by its stem (OpenPose drops the suffix), or by position."""
        stated = poses.image_name
        if stated is not None:
            if PurePosixPath(stated).suffix.lower() in {PurePosixPath(n).suffix.lower() for n in folder.names[:1]}:
                return stated
            if stated in self._by_stem:
                return self._by_stem[stated]
        index = self._index(poses)
        if index is not None and 0 <= index < len(folder.names):
            return folder.names[index]
        return stated if stated is not None else f"frame {poses.frame_index}"

    @cached_property
    def _by_stem(self) -> dict[str, str]:
        names = self._source.names if isinstance(self._source, ImageFolder) else ()
        return {PurePosixPath(name).stem: name for name in names}
