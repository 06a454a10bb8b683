"""AlphaPose's default JSON: one list of people, each naming its image by file name.

File format: AlphaPose's docs/output.md. Frames without people have no rows.
"""

from collections.abc import Hashable, Mapping
from typing import Any

from posefix_track.formats import coco
from posefix_track.formats.number_text import NumberText, is_list
from posefix_track.formats.pose_file import PoseFile
from posefix_track.formats.source import Format, Options, Source


def _matches(source: Source) -> bool:
    row = coco.first_row(source)
    if row is None or not {"image_id", "keypoints"} <= row.keys():
        return False
    return isinstance(row["image_id"], str) or "idx" in row or "box" in row


def _read(source: Source, options: Options) -> PoseFile:
    return coco.read_rows("alphapose", source, options, _track_id)


def _track_id(text: NumberText, row: Mapping[str, Any], where: str) -> Hashable:
    """``idx`` is 3, [3.0], or [[3.0], [7.0]] where several detections of one person were merged: the first counts."""
    value = row.get("idx")
    while is_list(value):
        value = value[0] if value else None
    track_id = None if value is None else text.scalar(value, f"{where}.idx")
    return int(track_id) if isinstance(track_id, float) and track_id.is_integer() else track_id


FORMAT = Format("alphapose", "AlphaPose's default JSON list", "json", _matches, _read)
