"""Writes files so that the output path holds all of the new content or nothing of it."""

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path


def write_file(output: Path, data: bytes) -> None:
    """Puts ``data`` at ``output``, replacing a file there. Raises OSError."""

    def fill(temporary: Path) -> None:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    _replace(output, fill)


def write_folder(output: Path, files: Mapping[str, bytes]) -> None:
    """Makes the folder ``output`` with ``files`` (name -> content); one that has files already gets these besides.

    Raises OSError. A new folder appears as a whole, in an old one each file does.
    """
    if output.is_dir() and any(output.iterdir()):
        for name, data in files.items():
            write_file(output / name, data)
        return

    def fill(temporary: Path) -> None:
        temporary.mkdir()
        for name, data in files.items():
            (temporary / name).write_bytes(data)

    _replace(output, fill)


def _replace(output: Path, fill: Callable[[Path], None]) -> None:
    # A short name of its own, since that of the output may already be as long as a name can be.
    temporary = output.parent / f".posefix-{secrets.token_hex(6)}.tmp"
    try:
        fill(temporary)
        temporary.replace(output)
    finally:
        _remove(temporary)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
