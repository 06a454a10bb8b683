"""Files that have boxes but no keypoints, so that they can be refused for the right reason."""

from collections.abc import Collection
from typing import Any

from posefix_track.formats.number_text import is_list, is_object
from posefix_track.formats.source import Source

# frame, id, x, y, width, height and up to four more: MOTChallenge and what its trackers write.
_MOT_COLUMNS = range(6, 11)
# class, x, y, width, height, maybe confidence and id: Ultralytics labels of a detection model.
_LABEL_COLUMNS = range(5, 8)
_BOX_KEYS = ({"x_min", "y_min", "x_max", "y_max"}, {"image_id", "bbox"}, {"box", "confidence"})


def has_only_boxes(source: Source) -> bool:
    """Whether this is MOT text, a supervision sink, detection labels or detection results."""
    if source.kind in ("csv", "number_lines"):
        return _is_table_of_boxes(source)
    tree = source.trees[0]
    row = tree[0] if is_list(tree) and tree else None
    return is_object(row) and "keypoints" not in row and any(keys <= row.keys() for keys in _BOX_KEYS)


def _is_table_of_boxes(source: Source) -> bool:
    first: Collection[Any] = next((row for tree in source.trees for _, row in tree), [])
    if {*first} >= _BOX_KEYS[0]:
        return True
    lengths = _MOT_COLUMNS if source.kind == "csv" else _LABEL_COLUMNS
    rows = (row for tree in source.trees for _, row in tree)
    return bool(first) and all(len(row) in lengths and all(type(cell) is int for cell in row) for row in rows)
