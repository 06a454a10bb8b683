"""Compiled plans in the user's cache folder, each with a JSON file beside it that says what it is.

A plan is code: whoever can change one can run anything as this user. So only files of the user's own cache are read,
their owner and mode are checked, and the bytes that are handed on are those whose hash was verified.
"""

import contextlib
import hashlib
import json
import logging
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from engines.engine import EngineError
from engines.plan_key import PlanKey

_FORMAT = 1
_SECONDS_BEFORE_A_WORD = 1.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredPlan:
    """A plan whose hash and key were verified.

    Attributes:
        data: what is deserialised.
        notes: the JSON file's content, parity measurements included.
    """

    path: Path
    data: bytes
    notes: dict[str, Any]


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/posefix_track/plans, by default below ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "posefix_track" / "plans"


class PlanCache:
    """The plans of one folder; made, private to the user, when it does not exist.

    Raises:
        EngineError: a folder that others may write to, or that is another user's.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_folder()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if fault := _untrusted(self.folder.lstat()):
            raise EngineError(f"plans are code, and {self.folder} {fault}; run `chmod 700` on it or remove it")

    def get_or_build(self, key: PlanKey, build: Callable[[], tuple[bytes, dict[str, Any]]]) -> StoredPlan:
        """The plan of ``key``, from the cache or from ``build``, which returns the plan and notes on it.

        Two processes never build the same plan: the second waits for the first.
        """
        found = self.get(key)
        if found is None:
            with self._locked(key):
                found = self.get(key) or self.put(key, *build())
        return found

    def get(self, key: PlanKey) -> StoredPlan | None:
        """The verified plan of ``key``; None, and a line in the log, where there is none that can be trusted."""
        path = self.path(key)
        if not path.exists():
            return None
        try:
            notes = json.loads(_read_own(_notes_path(path)))
            data = _read_own(path)
        except (OSError, ValueError) as error:
            _log.warning("not using the cached plan %s: %s", path, error)
            return None
        if fault := _mismatch(key, data, notes):
            _log.warning("not using the cached plan %s: %s", path, fault)
            return None
        return StoredPlan(path, data, notes)

    def put(self, key: PlanKey, data: bytes, notes: dict[str, Any]) -> StoredPlan:
        """Store a plan; what a reader sees is the old pair of files or the new one, or is refused."""
        path = self.path(key)
        written = {
            "format": _FORMAT,
            "key": key.to_dict(),
            "plan_sha256": hashlib.sha256(data).hexdigest(),
            "plan_bytes": len(data),
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            **notes,
        }
        _write(path, data)
        stored = StoredPlan(path, data, written)
        self.note(stored, {})
        return stored

    def note(self, stored: StoredPlan, more: dict[str, Any]) -> StoredPlan:
        """Add to what is known of a plan."""
        notes = {**stored.notes, **more}
        _write(_notes_path(stored.path), json.dumps(notes, indent=1).encode())
        return StoredPlan(stored.path, stored.data, notes)

    def list(self) -> list[tuple[Path, dict[str, Any]]]:
        """All plans, the newest last, with their notes; {} where these cannot be read."""
        paths = sorted(self.folder.glob("*.plan"), key=lambda path: path.lstat().st_mtime)
        return [(path, _notes_or_nothing(path)) for path in paths]

    def clear(self) -> tuple[int, int]:
        """Remove all plans and whatever builders left behind -> how many plans, how many bytes."""
        plans = [path for path, _ in self.list()]
        files = [p for p in self.folder.iterdir() if p.name.endswith((".plan", ".plan.json", ".lock", ".part"))]
        size = sum(path.lstat().st_size for path in files)
        for path in files:
            path.unlink(missing_ok=True)
        return len(plans), size

    def path(self, key: PlanKey) -> Path:
        """Where the plan of ``key`` lies or would lie."""
        return self.folder / f"{key.library}-{key.weights_sha256[:8]}-{key.precision}-{key.digest[:16]}.plan"

    @contextlib.contextmanager
    def _locked(self, key: PlanKey) -> Iterator[None]:
        lock = FileLock(self.path(key).with_suffix(".lock"))
        try:
            lock.acquire(timeout=_SECONDS_BEFORE_A_WORD)
        except Timeout:
            _log.warning("waiting for another process that is building the same plan")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()


def _mismatch(key: PlanKey, data: bytes, notes: dict[str, Any]) -> str:
    """What is wrong with a plan, "" if nothing is."""
    if not isinstance(notes, dict) or notes.get("format") != _FORMAT:
        return "its description is of another version"
    if notes.get("key") != key.to_dict():
        return "it was made for something else"
    if notes.get("plan_sha256") != hashlib.sha256(data).hexdigest():
        return "its content is not what was stored"
    return ""


def _read_own(path: Path) -> bytes:
    """A regular file of this user that nobody else may write; links are not followed. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        fault = _untrusted(status) or ("" if stat.S_ISREG(status.st_mode) else "is not a regular file")
        if fault:
            raise PermissionError(f"{path.name} {fault}")
        return file.read()


def _untrusted(status: os.stat_result) -> str:
    """Why something that would be run as code must not be; Windows keeps a profile's folders private by itself."""
    if not hasattr(os, "getuid"):
        return ""
    if stat.S_ISLNK(status.st_mode):
        return "is a link"
    if status.st_uid != os.getuid():
        return "belongs to another user"
    return "may be written by others" if status.st_mode & 0o022 else ""


def _write(path: Path, data: bytes) -> None:
    """All or nothing, for this user alone."""
    descriptor, temporary = tempfile.mkstemp(suffix=".part", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _notes_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _notes_or_nothing(path: Path) -> dict[str, Any]:
    try:
        notes = json.loads(_read_own(_notes_path(path)))
    except (OSError, ValueError):
        return {}
    return notes if isinstance(notes, dict) else {}
