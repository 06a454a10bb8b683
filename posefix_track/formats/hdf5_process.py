"""Asks the process that opens HDF5 files (``hdf5_child.py``), starts it where there is none, and outlives it."""

import atexit
import importlib.util
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from posefix_track.errors import InputError, UsageError
from posefix_track.formats.hdf5_child import receive, send

_COMMAND = ("-P", "-W", "ignore", "-m", "posefix_track.formats.hdf5_child")
_asking = threading.Lock()
_running: list[subprocess.Popen[bytes]] = []


def ask(
    path: Path, data: bytes, request: Mapping[str, Any], arrays: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What ``hdf5_child.answer`` says to ``request`` about the file ``data``, which lies at ``path``.

    Raises:
        UsageError: h5py is not installed.
        InputError: the file is refused, or the HDF5 library crashed on it or never came to an end.
    """
    check_installed(path)
    with _asking:
        process = _started()
        try:
            send(cast("IO[bytes]", process.stdin), request, {"data": np.frombuffer(data, np.uint8), **arrays})
            message, found = receive(cast("IO[bytes]", process.stdout))
        except (OSError, EOFError, ValueError, LookupError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: not a valid HDF5 file ({_end(process)})") from error
        except BaseException:
            # Half a message is on its way.
            stop(kill=True)
            raise
        if "error" in message:
            stop()
            raise InputError(f"{path}: {message['error']}")
    return message, found


def check_installed(name: Path | str) -> None:
    """Raises UsageError where h5py is missing, which the file ``name`` needs."""
    if importlib.util.find_spec("h5py") is None:
        raise UsageError(f"{name}: HDF5 files need h5py; install it with: pip install 'posefix_track[hdf5]'")


def _started() -> subprocess.Popen[bytes]:
    if not _running:
        # It must find the same packages, whichever way this process came to know them.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = (sys.executable, *_COMMAND)
        _running.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment))
    return _running[0]


def _end(process: subprocess.Popen[bytes]) -> str:
    """How ``process`` came to an end."""
    stop(kill=True)
    how = "crashed on it" if process.returncode < 0 else "failed on it or took too long"
    return f"the HDF5 library {how}, exit code {process.returncode}"


def stop(kill: bool = False) -> None:
    """Ends the process, if there is one: it goes when nobody can ask any more."""
    while _running:
        process = _running.pop()
        if kill:
            process.kill()
        process.communicate()


atexit.register(stop)
