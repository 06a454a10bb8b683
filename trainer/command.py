"""What the trainer's commands share: how they end, and how weights that were made from others are written."""

import argparse
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from posefix_track.errors import PosefixError
from posefix_track.network import PoseFix
from posefix_track.output_paths import refuse_overwriting
from posefix_track.weights import save_weights

_log = logging.getLogger(__name__)


def run(work: Callable[[argparse.Namespace], None], arguments: argparse.Namespace) -> int:
    """Do the work of a command, with its log on standard error -> exit code; a PosefixError is one line of the log."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        work(arguments)
    except PosefixError as error:
        _log.error("error: %s", error)
        return error.exit_code
    return 0


def add_weights_output(parser: argparse.ArgumentParser) -> None:
    """The arguments ``output`` and ``overwrite``, for ``write_weights``."""
    parser.add_argument("-o", "--output", type=Path, required=True, help="weights file to write (.safetensors)")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")


def write_weights(
    arguments: argparse.Namespace, make: Callable[[argparse.Namespace], tuple[PoseFix, dict[str, Any]]]
) -> None:
    """Write the network that ``make`` gives, and what is known of it, in full precision.

    Raises:
        UsageError: an output that already exists, without ``overwrite``; nothing is made then.
    """
    refuse_overwriting(arguments.output, arguments.overwrite)
    network, info = make(arguments)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    save_weights(arguments.output, network, info, torch.float32)
    config = network.config
    _log.info("%s: %s, %s, crops of %dx%d", arguments.output, config.backbone, config.keypoints, *config.input_size)
