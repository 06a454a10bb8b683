"""Pose files of other tools: read them, and write refined poses back into the very same bytes.

    poses = read_poses(Path("tracks.json"))
    poses.write(Path("tracks.refined.json"), [refined(sequence) for sequence in poses.sequences])

One module a format. Each reads positions in the file along with the numbers; writing (``pose_file.py``) is the same for
all of them: only the numbers that changed are replaced.
"""

from pathlib import Path

from posefix_track.errors import InputError, UsageError
from posefix_track.formats import (
    alphapose,
    by_image,
    coco,
    deeplabcut,
    deeplabcut_h5,
    mediapipe,
    mmpose,
    mmpose_image,
    native,
    openpifpaf,
    openpose,
    posetrack17,
    posetrack18,
    posetrack21,
    sleap,
    sleap_h5,
    ultralytics,
    ultralytics_json,
)
from posefix_track.formats.boxes import has_only_boxes
from posefix_track.formats.native import write_native
from posefix_track.formats.pose_file import PoseFile
from posefix_track.formats.source import Format, Options, Source, load_source

__all__ = ["PoseFile", "known_formats", "read_poses", "write_native"]

# In the order of sniffing: the more particular first.
_FORMATS = (
    native.FORMAT,
    openpose.FORMAT,
    posetrack21.FORMAT,
    posetrack18.FORMAT,
    posetrack17.FORMAT,
    mmpose.FORMAT,
    alphapose.FORMAT,
    by_image.CMU,
    by_image.POSEFLOW,
    coco.FORMAT,
    openpifpaf.FORMAT,
    mmpose_image.FORMAT,
    ultralytics.FORMAT,
    ultralytics_json.FORMAT,
    deeplabcut.FORMAT,
    sleap.FORMAT,
    deeplabcut_h5.FORMAT,
    sleap_h5.FORMAT,
    mediapipe.FORMAT,
)


def known_formats() -> list[tuple[str, str]]:
    """(name, one-line description) of each format that ``read_poses`` knows."""
    return [(known.name, known.description) for known in _FORMATS]


def read_poses(
    path: Path,
    *,
    format: str | None = None,  # noqa: A002 - what users call it
    keypoints: str | None = None,
    annotations: Path | None = None,
    frame_size: tuple[int, int] | None = None,
) -> PoseFile:
    """The poses of a file or folder.

    Args:
        path: the file or folder.
        format: name of the format (see ``known_formats``); None tells it from the content.
        keypoints: name of the keypoint set; None tells it from joint names or the number of joints.
        annotations: COCO annotation file that has the image names of a COCO result file.
        frame_size: (height, width) of the video in pixels; only normalised formats need it.

    Raises:
        UsageError: ``format`` is not known, or ``frame_size`` is needed and missing.
        InputError: the content is of no known format or damaged; the message names the place.
    """
    path, options = Path(path), Options(keypoints, annotations, frame_size)
    known = None if format is None else _by_name(format)
    source = load_source(path, known.kind if known else None)
    return (known or _sniffed(source)).read(source, options)


def _by_name(name: str) -> Format:
    found = next((known for known in _FORMATS if known.name == name), None)
    if found is None:
        raise UsageError(f"unknown format {name!r}; known formats: {', '.join(known.name for known in _FORMATS)}")
    return found


def _sniffed(source: Source) -> Format:
    found = next((known for known in _FORMATS if known.matches(source)), None)
    if found is None and has_only_boxes(source):
        raise InputError(f"{source.path}: boxes only, no keypoints; give the file with the tracker's poses")
    if found is None:
        listed = ", ".join(known.name for known in _FORMATS)
        raise InputError(
            f"{source.path} is of no known pose format ({listed}); if it is one of them, say which with --format NAME"
        )
    return found
