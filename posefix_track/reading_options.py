"""What all commands have in common: how wrong arguments are refused, and options that say how poses are to be read."""

import argparse
from pathlib import Path
from typing import NoReturn

from posefix_track.formats import PoseFile, known_formats, read_poses
from posefix_track.keypoints import KEYPOINT_SETS


class CommandParser(argparse.ArgumentParser):
    """Refuses wrong arguments in one line; with ``usage`` set, that line shows what is expected."""

    def error(self, message: str) -> NoReturn:
        """End the process with exit code 2."""
        self.exit(2, f"error: {message}; {self.format_usage().strip()}; all options: {self.prog} --help\n")


def add_reading_options(parser: "argparse._ActionsContainer") -> None:
    """Add --format, --keypoints and --annotations."""
    parser.add_argument(
        "--format", choices=[name for name, _ in known_formats()], metavar="FORMAT",
        help="do not tell it from the content: %(choices)s",
    )  # fmt: skip
    parser.add_argument(
        "--keypoints", choices=[*KEYPOINT_SETS], metavar="SET",
        help="joint set, where the file does not name joints: %(choices)s",
    )  # fmt: skip
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
