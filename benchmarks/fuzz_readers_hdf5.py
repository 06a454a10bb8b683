"""Fuzzes the readers of HDF5 files as fuzz_readers.py does those of text, in processes that may die.

    python -m benchmarks.fuzz_readers_hdf5 --executions 100000 --seed 0

First come files that are valid but strange, then damaged ones. HDF5 is read by a library in C, which a damaged file can
crash or send round in circles. The tool keeps it in a process of its own; the fuzzer's workers, for speed, do not. When
one ends, its file is read once more in the tool's way, and the next worker goes on behind it. Some files refer to
another one, which is watched: that it was opened is a finding, too.
"""

import argparse
import ctypes
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fuzz_hdf5_files import damaged, samples, strange
from benchmarks.fuzz_readers import (
    SECONDS,
    Findings,
    Seed,
    add,
    details,
    fuzz_parser,
    limit_memory,
    outcome,
    scratch_folder,
    summary,
)
from posefix_track.errors import InputError, PosefixError
from posefix_track.formats import hdf5, read_poses
from posefix_track.formats.hdf5_child import answer

_IN_OPEN = 0x20
_COMMAND = (sys.executable, "-m", "benchmarks.fuzz_readers_hdf5", "--worker")


class Watch:
    """Tells whether anybody has opened a file. Linux only."""

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(None)
        self._handle: int = library.inotify_init1(os.O_NONBLOCK)
        if self._handle < 0 or library.inotify_add_watch(self._handle, os.fsencode(path), _IN_OPEN) < 0:
            raise OSError(f"{path} cannot be watched")

    def opened(self) -> bool:
        """Whether it was, since this was last asked."""
        try:
            return bool(os.read(self._handle, 1 << 16))
        except BlockingIOError:
            return False


def ask_here(path: Path, data: bytes, request: Any, arrays: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """``hdf5_process.ask`` without another process."""
    message, found = answer(request, {"data": np.frombuffer(data, np.uint8), **arrays})
    if "error" in message:
        raise InputError(f"{path}: {message['error']}")
    return message, found


def work(first: int, end: int, seed: int, folder: Path, keep: Path | None = None) -> Iterator[tuple[int, Findings]]:
    """Executions ``first`` to ``end`` of ``seed``, with files in ``folder``, and what came of each."""
    known, canary = samples(), folder / "canary.h5"
    canary.write_bytes(known["sleap_h5 earliest"])
    odd = [*strange(folder, canary).items()]
    watch = Watch(canary)
    for number in range(first, end):
        rng, findings = random.Random(seed * 10**12 + number), Findings()
        name, path = odd[number] if number < len(odd) else (sorted(known)[number % len(known)], folder / "damaged.h5")
        if number >= len(odd):
            path.write_bytes(damaged(known[name], rng))
        one = Seed(name, name.split()[0], {}, is_folder=False)
        start = time.perf_counter()
        found = outcome(one, path, rng, folder / "out", findings, path, keep)
        if found == "accepted":
            _write_moved(path, folder / "moved.h5", findings)
        if watch.opened():
            findings.failures[f"{name} had another file opened"] = f"execution {number} of seed {seed}"
        findings.outcomes[name.split(":")[0], "failed" if findings.failures else found] += 1
        findings.slowest = time.perf_counter() - start
        yield number, findings


def _write_moved(path: Path, output: Path, findings: Findings) -> None:
    """Other poses go into the damaged file, or are refused."""
    try:
        write_moved(path, output)
    except PosefixError:
        return
    except Exception as error:
        findings.failures[f"{type(error).__name__} when written"] = f"{path}: {error}"


def write_moved(path: Path, output: Path) -> None:
    """Reads ``path`` and writes it with every joint a pixel further."""
    poses = read_poses(path)
    moved = [
        replace(s, frames=tuple(f.with_keypoints(f.keypoints + np.float32(1)) for f in s.frames))
        for s in poses.sequences
    ]
    poses.write(output, moved)


def fuzz_hdf5(
    executions: int, seed: int, folder: Path, keep: Path | None = None, command: tuple[str, ...] = _COMMAND
) -> Findings:
    """Runs ``executions`` of ``seed`` in worker processes, which ``command`` starts."""
    total, first, start = Findings(), 0, time.perf_counter()
    while first < executions:
        numbers = [str(number) for number in (first, executions, seed)]
        with subprocess.Popen([*command, *numbers, str(folder), str(keep or "")], stdout=subprocess.PIPE) as worker:
            for line in worker.stdout or ():
                first = _count(total, json.loads(line)) + 1
                if first % 1000 == 0:
                    print(summary(total, time.perf_counter() - start), flush=True)
        if worker.returncode > 0:
            raise RuntimeError(f"the fuzzer itself failed in execution {first} of seed {seed}")
        if worker.returncode < 0:
            _outlive(total, folder, keep, first, signal.Signals(-worker.returncode).name)
            first += 1
    return total


def _count(total: Findings, line: dict[str, Any]) -> int:
    outcomes = Counter((name, found) for name, found in line["outcomes"])
    add(total, Findings(outcomes, line["failures"], line["slowest"]))
    return int(line["number"])


def _outlive(total: Findings, folder: Path, keep: Path | None, number: int, ended: str) -> None:
    """Has the tool read the file that ended a worker, and copies it."""
    path = folder / "damaged.h5"
    if keep is not None and path.exists():
        keep.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, keep / f"died-{number}.h5")
    try:
        write_moved(path, folder / "moved.h5")
        found, said = "accepted", "written"
    except PosefixError as error:
        found, said = "refused", str(error)
    total.outcomes["worker", found] += 1
    print(f"execution {number}: a worker ended with {ended}; the tool: {said}", flush=True)


def _worker(first: str, end: str, seed: str, folder: str, keep: str) -> None:
    """Prints a line for each execution."""
    hdf5.ask = ask_here
    for number, found in work(int(first), int(end), int(seed), Path(folder), Path(keep) if keep else None):
        line = {"number": number, "outcomes": [*found.outcomes], "failures": found.failures, "slowest": found.slowest}
        print(json.dumps(line), flush=True)
        # Python's own time limit cannot interrupt a library; this one ends the process.
        signal.setitimer(signal.ITIMER_VIRTUAL, 3 * SECONDS)


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = fuzz_parser("fuzz_readers_hdf5", "Fuzz HDF5 readers.", 10_000)
    parser.add_argument("--worker", nargs=5, help=argparse.SUPPRESS)
    parsed = parser.parse_args(arguments)
    limit_memory(parsed.memory_mb)
    if parsed.worker:
        _worker(*parsed.worker)
        return 0
    with scratch_folder() as folder:
        start = time.perf_counter()
        total = fuzz_hdf5(parsed.executions, parsed.seed, Path(folder), parsed.keep)
        print(summary(total, time.perf_counter() - start))
    print(details(total))
    return 1 if total.failures else 0


if __name__ == "__main__":
    sys.exit(main())
