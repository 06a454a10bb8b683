"""Options of the command line that say how a pose file is to be read, the same for every command."""

import argparse
from pathlib import Path

from posefix_track.formats import PoseFile, known_formats, read_poses
from posefix_track.keypoints import KEYPOINT_SETS


def add_reading_options(parser: "argparse._ActionsContainer") -> None:
    """Add --format, --keypoints and --annotations."""
    parser.add_argument(
        "--format", choices=[name for name, _ in known_formats()], help="do not tell it from the content"
    )
    parser.add_argument("--keypoints", choices=[*KEYPOINT_SETS], help="joint set, where the file does not name joints")
    parser.add_argument(
        "--annotations", type=Path, metavar="FILE", help="COCO file with the image names of COCO results"
    )


def read_as_asked(parsed: argparse.Namespace, frame_size: tuple[int, int] | None) -> PoseFile:
    """The file ``parsed.poses``, see ``read_poses`` for ``frame_size``. Raises InputError."""
    return read_poses(
        parsed.poses,
        format=parsed.format,
        keypoints=parsed.keypoints,
        annotations=parsed.annotations,
        frame_size=frame_size,
    )
