"""Fuzzes every pose file reader: nothing but our own errors may come out, in bounded time and memory.

    python -m benchmarks.fuzz_readers --executions 1000000 --seed 0

One execution damages one file of a small sample, reads it as its own format, as another, or as whatever it is taken
for, and where that succeeds writes it back with the very same poses, which must give the same bytes. A finding is saved
with its traceback. Executions of one seed are always the same.
"""

import argparse
import json
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.fuzz_mutations import Text, mutated, parsed_text
from posefix_track.errors import PosefixError
from posefix_track.formats import PoseFile, known_formats, read_poses
from tests.format_samples import BUILDERS, FLAT, HEIGHT, JOINTS, WIDTH, Scene, simple_scene

FORMATS = [name for name, _ in known_formats()]
# Of processor time, so that a busy machine does not count. One execution takes about a millisecond.
SECONDS = 2.0
_SETS = ("coco17", "body25", "posetrack18", "mediapipe33", "halpe136", "no such set")


class Hang(BaseException):
    """One execution took longer than it may; not an Exception, so that nothing catches it on its way."""


@dataclass(frozen=True)
class Seed:
    """A sample that reads well: its files, and which of them is the annotations file that goes with it."""

    name: str
    format: str
    files: dict[str, Text]
    is_folder: bool
    annotations: str | None = None


@dataclass
class Findings:
    """What came of the executions: (seed, outcome) counts, and one message for each different failure."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)
    slowest: float = 0.0

    def count(self, outcome: str) -> int:
        """Executions with this outcome: "accepted", "refused" or "failed"."""
        return sum(n for (_, found), n in self.outcomes.items() if found == outcome)


def seeds() -> list[Seed]:
    """A small sample of every format, and COCO results with their annotations."""
    found = []
    for name in sorted(BUILDERS):
        scene = simple_scene(JOINTS.get(name, 17)).frames
        sample = BUILDERS[name](Scene({0: scene[0][:1], 2: scene[2]}))
        files = {file: parsed_text(text.encode()) for file, text in sample.files.items()}
        found.append(Seed(name, sample.format, files, len(files) > 1 or name in ("openpose", "ultralytics")))
    images = {"images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}]}
    rows = [{"image_id": 1, "keypoints": FLAT, "score": 0.5}]
    texts = {
        name: parsed_text(json.dumps(content).encode()) for name, content in (("r.json", rows), ("a.json", images))
    }
    return [*found, Seed("coco_annotations", "coco", texts, False, annotations="a.json")]


def fuzz(executions: int, seed: int, folder: Path, keep: Path | None = None) -> Findings:
    """Runs ``executions`` of ``seed`` with files in ``folder``; inputs of failures are copied to ``keep``."""
    known = seeds()
    others = [text for one in known for text in one.files.values()]
    findings = Findings()
    for number in range(executions):
        rng = random.Random(seed * 10**12 + number)
        one = known[number % len(known)]
        path, victim, written = _placed(one, others, rng, folder)
        start = time.perf_counter()
        found = outcome(one, path, rng, folder / "out", findings, victim, keep)
        findings.outcomes[one.name, found] += 1
        findings.slowest = max(findings.slowest, time.perf_counter() - start)
        for file in written:
            file.unlink(missing_ok=True)
    return findings


def _placed(one: Seed, others: list[Text], rng: random.Random, folder: Path) -> tuple[Path, Path, list[Path]]:
    """Writes the sample with one damaged file -> (path to read, damaged file, all files)."""
    victim = rng.choice(list(one.files))
    root = folder / one.name
    root.mkdir(exist_ok=True)
    for name, text in one.files.items():
        data = mutated(text, others, rng) if name == victim else text.data
        (root / name).write_bytes(data)
    path = root if one.is_folder else root / next(iter(one.files))
    return path, root / victim, [root / name for name in one.files]


def outcome(
    one: Seed, path: Path, rng: random.Random, output: Path, findings: Findings, victim: Path, keep: Path | None
) -> str:
    """Reads ``path`` as something, and writes back what was read: "accepted", "refused" or "failed"."""
    options: dict[str, Any] = {"frame_size": (HEIGHT, WIDTH)}
    options["keypoints"] = rng.choice(_SETS) if rng.random() < 0.05 else None
    options["format"] = rng.choice(FORMATS) if rng.random() < 0.1 else rng.choice((None, one.format))
    if one.annotations:
        options["annotations"] = path.with_name(one.annotations)
    try:
        with _time_limit(SECONDS):
            poses = read_poses(path, **options)
            _write_back(poses, output)
        return "accepted"
    except PosefixError as error:
        if str(error) and "\n" not in str(error):
            return "refused"
        _keep_failure(findings, options, victim, keep)
    except (Exception, Hang):
        _keep_failure(findings, options, victim, keep)
    return "failed"


def _write_back(poses: PoseFile, output: Path) -> None:
    """Writes the poses unchanged. Raises AssertionError where a byte differs."""
    copies = [replace(s, frames=tuple(f.with_keypoints(f.keypoints.copy()) for f in s.frames)) for s in poses.sequences]
    poses.write(output, copies)
    for text in poses.texts:
        file = output / text.path.name if poses.is_folder else output
        if file.read_bytes() != text.data:
            raise AssertionError(f"{text.path.name} was not written as it was read")
        file.unlink()
    if poses.is_folder:
        output.rmdir()


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hang(f"longer than {seconds} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _keep_failure(findings: Findings, options: dict[str, Any], victim: Path, keep: Path | None) -> None:
    error = sys.exception()
    place = traceback.extract_tb(error.__traceback__)[-1] if error else None
    where = f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}" if place else "?"
    if where in findings.failures:
        return
    findings.failures[where] = f"{options}\n{traceback.format_exc()}"
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        number = len(findings.failures)
        (keep / f"{number}-{victim.name}").write_bytes(victim.read_bytes())
        (keep / f"{number}.txt").write_text(f"{victim}\n{findings.failures[where]}")


def fuzz_parser(name: str, description: str, executions: int) -> argparse.ArgumentParser:
    """The options that all fuzzers have."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument("--executions", type=int, default=executions)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory-mb", type=int, default=2048, help="address space that a process may have")
    parser.add_argument("--keep", type=Path, help="folder for the inputs of failures")
    return parser


def limit_memory(megabytes: int) -> None:
    """Of this process and those that it starts: bounded memory is part of what is claimed."""
    limit = megabytes << 20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """In memory where there is such a place: every execution writes a file."""
    shared_memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(dir=shared_memory if shared_memory.is_dir() else None)


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parsed = fuzz_parser("fuzz_readers", "Fuzz the pose readers.", 100_000).parse_args(arguments)
    limit_memory(parsed.memory_mb)
    with scratch_folder() as folder:
        start = time.perf_counter()
        total = Findings()
        step = 10_000
        for first in range(0, parsed.executions, step):
            add(total, fuzz(min(step, parsed.executions - first), parsed.seed + first, Path(folder), parsed.keep))
            print(summary(total, time.perf_counter() - start), flush=True)
    print(details(total))
    return 1 if total.failures else 0


def details(total: Findings) -> str:
    """Every failure, and the outcomes of each sample."""
    failures = [f"\n{where}\n{message}" for where, message in total.failures.items()]
    names, outcomes = sorted({name for name, _ in total.outcomes}), ("accepted", "refused", "failed")
    return "\n".join(
        [*failures, *(f"{name:22} " + " ".join(f"{o} {total.outcomes[name, o]}" for o in outcomes) for name in names)]
    )


def add(total: Findings, more: Findings) -> None:
    """Adds what ``more`` found to ``total``."""
    total.outcomes += more.outcomes
    total.failures = {**more.failures, **total.failures}
    total.slowest = max(total.slowest, more.slowest)


def summary(found: Findings, seconds: float) -> str:
    """One line about all executions so far."""
    count = found.outcomes.total()
    # Workers that have ended count, too.
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
    return (
        f"{count} executions: {found.count('accepted')} read and written back, {found.count('refused')} refused,"
        f" {found.count('failed')} failed ({len(found.failures)} different); slowest {found.slowest * 1e3:.0f} ms,"
        f" peak {peak:.0f} MB, {count / seconds:.0f}/s"
    )


if __name__ == "__main__":
    sys.exit(main())
