"""Ultralytics ``save_txt`` label folders: one text file a frame, one row a person, coordinates divided by frame size.

A row is ``class x y w h``, then ``x y [confidence]`` for each joint, then the box confidence (with save_conf) and the
track id (when tracking). Nothing says which of these are there, so the number of columns has to. Files are numbered
from 1; frames without people have none.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from posefix_track.errors import InputError
from posefix_track.formats.file_names import split_number
from posefix_track.formats.number_text import NumberText
from posefix_track.formats.pose_file import PoseFile
from posefix_track.formats.rows import FrameRows, JointNames, Person, pose_file
from posefix_track.formats.source import Format, Options, Source
from posefix_track.keypoints import COCO_17, KEYPOINT_SETS, keypoint_set

_BOX_COLUMNS = 5
_MAX_EXTRA_COLUMNS = 2
_NORMALISED_LIMIT = 2.0


@dataclass(frozen=True)
class _Layout:
    """Joint count, numbers a joint (2 or 3), and which columns follow the joints in the folder's rows."""

    joints: int
    width: int
    has_confidence: bool = False
    has_id: bool = False

    @property
    def end(self) -> int:
        """The first column after the joints."""
        return _BOX_COLUMNS + self.joints * self.width


def _matches(source: Source) -> bool:
    rows = _rows(source) if source.kind == "number_lines" else []
    return bool(rows) and _joints_and_width(rows, _known_counts()) is not None


def _rows(source: Source) -> list[Sequence[int]]:
    return [row for text in source.texts for _, row in text.tree]


def _read(source: Source, options: Options) -> PoseFile:
    scale = options.normalised_scale(source.path, "Ultralytics labels")
    frames = _frames(source, _layout(source, options))
    _refuse_pixels(source, frames)
    videos: dict[str, list[FrameRows]] = {}
    for prefix, frame in sorted(frames, key=lambda found: (found[0], found[1].frame_index or 0)):
        videos.setdefault(prefix, []).append(frame)
    joints = JointNames(options.keypoints)
    return pose_file("ultralytics", source.path, source.texts, videos, joints, scale)


def _frames(source: Source, layout: _Layout) -> list[tuple[str, FrameRows]]:
    """(video name, frame) of each file. ``clip_12`` is the clip's 12th frame, other names are those of images."""
    named = [split_number(text.path.stem) for text in source.texts]
    first = min([1, *(number for _, number in named if number is not None)])
    found = []
    for i, (text, (prefix, number)) in enumerate(zip(source.texts, named, strict=True)):
        frame_index = None if number is None else number - first
        found.append(("" if number is None else prefix.rstrip("_"), _frame(i, text, layout, frame_index)))
    return found


def _frame(index: int, text: NumberText, layout: _Layout, frame_index: int | None) -> FrameRows:
    frame = FrameRows(index, frame_index, text.path.stem)
    for line, row in text.tree:
        frame.add(_person(text, row, layout, f"{text.path.name} line {line}"))
    return frame


def _person(text: NumberText, row: Sequence[int], layout: _Layout, where: str) -> Person:
    joints = np.array(row[_BOX_COLUMNS : layout.end], dtype=np.int32).reshape(layout.joints, layout.width)
    extra = list(row[layout.end :])
    confidence = extra.pop(0) if layout.has_confidence and extra else None
    track_id = text.scalar(extra[0], where) if layout.has_id and extra else None
    return Person(where, joints[:, :2], joints[:, 2] if layout.width == 3 else None, confidence, track_id)


def _refuse_pixels(source: Source, frames: Sequence[tuple[str, FrameRows]]) -> None:
    found = [source.texts[frame.text].values[p.keypoints].ravel() for _, frame in frames for p in frame.people]
    # Single joints may lie anywhere, but not half of them.
    if found and np.median(np.nan_to_num(np.abs(np.concatenate(found)))) > _NORMALISED_LIMIT:
        raise InputError(f"{source.path}: expected coordinates divided by the frame size, these look like pixels")


def _layout(source: Source, options: Options) -> _Layout:
    rows = _rows(source)
    counts = [len(keypoint_set(options.keypoints))] if options.keypoints else _known_counts()
    if not rows:
        return _Layout(counts[0], 3)
    shape = _joints_and_width(rows, counts)
    if shape is None:
        lengths = ", ".join(str(n) for n in sorted({len(row) for row in rows})[:5])
        raise InputError(
            f"{source.path}: rows of {lengths} numbers are no pose labels of {', '.join(map(str, counts))} joints;"
            " expected class x y w h, then x y confidence for each joint"
        )
    return _with_extra_columns(source, _Layout(*shape))


def _known_counts() -> list[int]:
    """Joint counts to try: Ultralytics' own models have COCO's 17."""
    return sorted({len(known) for known in KEYPOINT_SETS.values()}, key=lambda count: (count != len(COCO_17), count))


def _joints_and_width(rows: Sequence[Sequence[int]], counts: Sequence[int]) -> tuple[int, int] | None:
    """The first joint count and numbers a joint that all rows can have."""
    lengths = {len(row) - _BOX_COLUMNS for row in rows}
    for joints in counts:
        for width in (3, 2):
            if all(0 <= length - joints * width <= _MAX_EXTRA_COLUMNS for length in lengths):
                return joints, width
    return None


def _with_extra_columns(source: Source, layout: _Layout) -> _Layout:
    """Confidence is written for all rows or for none; ids are missing in frames where the tracker had none."""
    extra = {len(row) - layout.end for row in _rows(source)}
    if max(extra) == 1:
        last = [text.values[row[-1]] for text in source.texts for _, row in text.tree if len(row) > layout.end]
        is_id = 0 in extra or all(value >= 1 and value == int(value) for value in last if np.isfinite(value))
        return replace(layout, has_confidence=not is_id, has_id=is_id)
    return replace(layout, has_confidence=max(extra) == 2, has_id=max(extra) == 2)


FORMAT = Format("ultralytics", "Ultralytics save_txt label folder", "number_lines", _matches, _read)
