"""JSON files of data sets."""

import json
from pathlib import Path
from typing import Any

from posefix_track.errors import InputError


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises InputError naming a file that is missing, unreadable or no JSON."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable JSON file: {error}") from error
