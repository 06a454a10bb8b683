"""Weights from a URL: fetched once into the user's cache, and only with the SHA-256 that they must have."""

import contextlib
import hashlib
import os
import re
import secrets
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from engines.plan_cache import cache_folder
from posefix_track.errors import InputError, ResourceError, UsageError

_HASH = re.compile(r"[0-9a-f]{64}")
_BLOCK = 1 << 20
_TIMEOUT_SECONDS = 60
# Nothing that this project loads is larger; a server may send forever.
_LARGEST = 4 << 30


def is_url(name: str | Path) -> bool:
    """Whether ``name`` is an http or https address rather than a path."""
    return str(name).lower().startswith(("http://", "https://"))


def with_hash(name: str, sha256: str | None) -> str:
    """``name`` with the hash that ``--weights-sha256`` gave as its fragment. Raises UsageError without a URL."""
    if not sha256:
        return name
    if not is_url(name):
        raise UsageError(f"--weights-sha256 goes with a URL, and {name!r} is none; leave it out")
    return f"{urlsplit(name)._replace(fragment='').geturl()}#sha256={sha256}"


def fetch_weights(url: str) -> Path:
    """The cached file of ``url``, downloaded where it is not there yet.

    Args:
        url: http or https, ending in ``#sha256=`` and 64 hexadecimal digits. The hash decides what is loaded, so an
            address without encryption is as safe.

    Returns:
        a path below ``$XDG_CACHE_HOME/posefix_track/weights`` whose content has that hash.

    Raises:
        UsageError: no hash.
        InputError: the address cannot be read, or its content has another hash.
        ResourceError: the cache cannot be written.
    """
    parts = urlsplit(url)
    expected = parts.fragment.removeprefix("sha256=").lower()
    if not parts.fragment.startswith("sha256=") or not _HASH.fullmatch(expected):
        raise UsageError(f"{url}: weights from a URL need their hash: --weights-sha256 HEX, or URL#sha256=HEX")
    target = cache_folder().with_name("weights") / f"{expected}.safetensors"
    if not (target.is_file() and _file_hash(target) == expected):
        _download(parts._replace(fragment="").geturl(), target, expected)
    return target


def _download(address: str, target: Path, expected: str) -> None:
    temporary = target.with_name(f".{target.name}-{secrets.token_hex(6)}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            found = _copy(address, file)
        if found != expected:
            raise InputError(f"{address}: has SHA-256 {found}, expected {expected}; nothing was kept")
        temporary.replace(target)
    except OSError as error:
        raise ResourceError(f"{target}: cannot be written: {error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _copy(address: str, file: BinaryIO) -> str:
    """Fetch into ``file`` -> SHA-256. Raises InputError for what the network does, OSError for what the disk does."""
    digest, size = hashlib.sha256(), 0
    for block in _blocks(address):
        digest.update(block)
        size += len(block)
        if size > _LARGEST:
            raise InputError(f"{address}: more than {_LARGEST >> 30} GiB; these cannot be weights")
        file.write(block)
    file.flush()
    os.fsync(file.fileno())
    return digest.hexdigest()


def _blocks(address: str) -> Iterator[bytes]:
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT_SECONDS) as answer:
            while block := answer.read(_BLOCK):
                yield block
    except (OSError, HTTPException, ValueError) as error:
        raise InputError(f"{address}: cannot be fetched: {error}") from error


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
