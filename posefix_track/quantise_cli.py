"""`posefix-track quantise`: arguments -> one call of ``quantise_weights``."""

from collections.abc import Sequence
from pathlib import Path

from posefix_track.output_paths import refuse_overwriting
from posefix_track.reading_options import CommandParser, add_reading_options, read_as_asked
from posefix_track.video import open_source
from posefix_track.weights import SHIPPED, find_weights, load_weights, quantised_path

_PEOPLE = 256


def run_quantise(arguments: Sequence[str]) -> str:
    """Quantises as ``arguments`` say -> what to print. Raises PosefixError."""
    # Takes a while to import, and other commands do without.
    from posefix_track.quantisation import quantise_weights

    parsed = _parser().parse_args(arguments)
    output = parsed.output or quantised_path(find_weights(parsed.weights))
    refuse_overwriting(output, parsed.overwrite)
    weights = load_weights(parsed.weights)
    with open_source(parsed.source) as source:
        poses = read_as_asked(parsed, (source.height, source.width))
        agreement = quantise_weights(weights, source, poses, output, parsed.people)
    return f"{output}: {agreement}"


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="posefix-track quantise",
        usage="%(prog)s VIDEO|FOLDER --poses FILE|DIR [--weights FILE] [options]",
        description="Makes the INT8 form of weights, several times faster on CPUs, and keeps it beside them, where it"
        " is found from then on. Calibrated on pictures and poses of the kind to be refined; needs"
        " posefix_track[int8].",
    )
    parser.add_argument("source", type=Path, metavar="VIDEO|FOLDER", help="a video, or a folder of images")
    parser.add_argument("--poses", type=Path, required=True, metavar="FILE|DIR", help="a tracker's poses")
    parser.add_argument("--weights", default="lite", help=f"{', '.join(SHIPPED)}, or a file (default lite)")
    parser.add_argument("-o", "--output", type=Path, metavar="OUT", help="default: <weights>.int8.safetensors")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    parser.add_argument("--people", type=int, default=_PEOPLE, help=f"to calibrate with (default {_PEOPLE})")
    add_reading_options(parser)
    return parser
