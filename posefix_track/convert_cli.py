"""`posefix-track convert`: arguments -> one call of ``convert``."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from posefix_track.convert import convert, known_targets
from posefix_track.formats import known_formats, read_poses
from posefix_track.keypoints import KEYPOINT_SETS
from posefix_track.output_paths import refuse_overwriting


def run_convert(arguments: Sequence[str]) -> str:
    """Converts as ``arguments`` say -> what to print. Raises PosefixError."""
    parsed = _parser().parse_args(arguments)
    poses = read_poses(
        parsed.poses,
        format=parsed.format,
        keypoints=parsed.keypoints,
        annotations=parsed.annotations,
        frame_size=parsed.size,
    )
    output = parsed.output or parsed.poses.with_name(
        f"{parsed.poses.stem}.{parsed.to}{known_targets()[parsed.to].suffix}"
    )
    if not output.is_dir() or any(output.iterdir()):
        refuse_overwriting(output, parsed.overwrite)
    notes = convert(poses, output, parsed.to, frame_size=parsed.size)
    frames = [frame for sequence in poses.sequences for frame in sequence.frames]
    summary = f"{output}: {sum(map(len, frames))} people of {len(frames)} frames from {poses.format} to {parsed.to}"
    return "\n".join([summary, *(f"note: {note}" for note in notes)])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="posefix-track convert", description="Writes poses as a new file of another tool's format."
    )
    parser.add_argument("poses", type=Path, metavar="FILE|DIR", help="poses of any known format")
    parser.add_argument("--to", required=True, choices=[*known_targets()], help="format to write")
    parser.add_argument("-o", "--output", type=Path, metavar="OUT", help="default: <poses>.<format> beside the poses")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    parser.add_argument("--format", choices=[name for name, _ in known_formats()], help="format of the input")
    parser.add_argument("--keypoints", choices=[*KEYPOINT_SETS], help="joint set, where the file does not name joints")
    parser.add_argument("--annotations", type=Path, metavar="FILE", help="COCO file with the image names")
    parser.add_argument("--size", type=_size, metavar="WxH", help="frame size, where input or output divides by it")
    return parser


def _size(text: str) -> tuple[int, int]:
    """(height, width) from "1920x1080"."""
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT such as 1920x1080, got {text!r}")
    return int(height), int(width)
