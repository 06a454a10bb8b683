"""Writes files so that the output path holds all of the new content or nothing of it."""

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

Content = bytes | Iterable[bytes]

_MAX_NAME_BYTES = 255


def write_file(output: Path, content: Content) -> None:
    """Puts ``content``, whole or in pieces, at ``output``, replacing a file there. Raises OSError."""
    _replace(output, lambda temporary: _fill(temporary, content, sync=True))


def write_folder(output: Path, files: Mapping[str, Content]) -> None:
    """Makes the folder ``output`` with ``files`` (name -> content); one that has files already gets these besides.

    Raises OSError. A new folder appears as a whole, in an old one each file does.
    """
    if output.is_dir() and any(output.iterdir()):
        for name, content in files.items():
            write_file(output / name, content)
        return

    def fill(temporary: Path) -> None:
        temporary.mkdir()
        for name, content in files.items():
            # Waiting for the disk 100,000 times takes minutes.
            _fill(temporary / name, content, sync=False)

    _replace(output, fill)


def beside(output: Path, suffix: str) -> Path:
    """``output`` with ``suffix`` after its name, which is shortened where the two would be too long for a file name."""
    name = output.name
    if len(os.fsencode(name + suffix)) > _MAX_NAME_BYTES:
        kept = os.fsencode(name)[: _MAX_NAME_BYTES - 13 - len(suffix)].decode("utf-8", "ignore")
        name = f"{kept}-{_digest(output)}"
    return output.with_name(name + suffix)


def temporary_path(output: Path) -> Path:
    """Where a new ``output`` grows: hidden, in the same folder, and known by ``remove_leftovers``."""
    # A short name of its own, since that of the output may already be as long as a name can be.
    return output.with_name(f".posefix-{_digest(output)}-{secrets.token_hex(6)}.tmp")


def remove_leftovers(output: Path) -> None:
    """Remove what killed runs have left of an unfinished ``output``; only for who holds the output's lock."""
    for path in output.parent.glob(f".posefix-{_digest(output)}-*.tmp"):
        _remove(path)


def _digest(output: Path) -> str:
    return hashlib.blake2s(os.fsencode(output.name), digest_size=6).hexdigest()


def _fill(path: Path, content: Content, sync: bool) -> None:
    with path.open("xb") as file:
        file.writelines([content] if isinstance(content, bytes) else content)
        file.flush()
        if sync:
            os.fsync(file.fileno())


def _replace(output: Path, fill: Callable[[Path], None]) -> None:
    temporary = temporary_path(output)
    try:
        fill(temporary)
        temporary.replace(output)
    finally:
        _remove(temporary)
    _sync_folder(output.parent)


def _sync_folder(folder: Path) -> None:
    """Make the new name outlast a power cut."""
    # Windows opens no folders, and some network file systems do not sync them.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
