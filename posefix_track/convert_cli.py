"""`posefix-track convert`: arguments -> one call of ``convert``."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from posefix_track.convert import convert, known_targets
from posefix_track.output_paths import refuse_overwriting
from posefix_track.reading_options import CommandParser, add_reading_options, read_as_asked


def run_convert(arguments: Sequence[str]) -> str:
    """Converts as ``arguments`` say -> what to print. Raises PosefixError."""
    parsed = _parser().parse_args(arguments)
    poses = read_as_asked(parsed, parsed.size)
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
    parser = CommandParser(
        prog="posefix-track convert",
        usage="%(prog)s FILE|DIR --to FORMAT [-o OUT] [options]",
        description="Writes poses as a new file of another tool's format.",
    )
    parser.add_argument("poses", type=Path, metavar="FILE|DIR", help="poses of any known format")
    parser.add_argument(
        "--to", required=True, choices=[*known_targets()], metavar="FORMAT", help="format to write: %(choices)s"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="OUT", help="default: <poses>.<format> beside the poses")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    add_reading_options(parser)
    parser.add_argument("--size", type=_size, metavar="WxH", help="frame size, where input or output divides by it")
    return parser


def _size(text: str) -> tuple[int, int]:
    """(height, width) from "1920x1080"."""
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT such as 1920x1080, got {text!r}")
    return int(height), int(width)
