"""Files that the commands of evaluation write, all or nothing."""

from pathlib import Path
from typing import Any

import orjson

from posefix_track.errors import ResourceError
from posefix_track.formats.atomic import write_file


def write_json(path: Path | None, content: dict[str, Any]) -> None:
    """Write strict JSON, where a file is wanted. Raises ResourceError."""
    if path is not None:
        write_output(path, orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")


def write_output(path: Path, content: bytes) -> None:
    """Write a file, in a new folder where there is none. Raises ResourceError naming one that cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, content)
    except OSError as error:
        raise ResourceError(f"{path}: cannot be written ({error.strerror}); give another place") from error
