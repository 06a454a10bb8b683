"""Memory and time of a whole run on an hour of video with an engine that costs nothing.

    python -m benchmarks.long_run --frames 108000 --people 5 --folder DIR [--most-growth-mb 100] [--profile]

A clip and poses for it are made (both are kept in DIR and used again), then the job runs as the command
line runs it: decoding, cropping, batching, journal, writing. The resident memory is read ten times a second. Growth is
the most that it was after the 10,000th frame, writing included, less what it was there; exit code 1 above the limit.
"""

import argparse
import cProfile
import gc
import hashlib
import pstats
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.stub_run import StubEngine, repeat_clip, repeat_poses, stub_weights, write_clip, write_poses
from posefix_track.job import Job, run_job
from posefix_track.report import Report

_MB = 2**20
_PAGE_BYTES = 4096
_SIZE = (120, 160)
# The clip is repeated; --frames is a multiple of this.
_DIFFERENT_FRAMES = 200


def resident_mb() -> float:
    """Resident memory of this process (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES / _MB


@dataclass
class MemoryWatch:
    """Reads the memory in a thread; ``mark`` starts the part that counts."""

    peak_mb: float = 0.0
    mark_mb: float | None = None
    samples: list[tuple[int, float]] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "MemoryWatch":
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def mark(self) -> None:
        """What the memory is now is where growth counts from."""
        self.mark_mb = self.peak_mb = resident_mb()

    @property
    def growth_mb(self) -> float:
        """The most since ``mark`` less the memory then."""
        return self.peak_mb - (self.mark_mb or 0.0)

    def _read(self) -> None:
        while not self._ended.wait(0.1):
            self.peak_mb = max(self.peak_mb, resident_mb())


def watched_run(folder: Path, frames: int, people: int, mark_frame: int) -> tuple[MemoryWatch, Report]:
    """One run on files made in ``folder``; growth counts from ``mark_frame`` on."""
    clip, poses, output = folder / f"{frames}.mp4", folder / f"{frames}x{people}.jsonl", folder / "refined.jsonl"
    if not (clip.exists() and poses.exists()):
        first_clip, first_poses = folder / "first.mp4", folder / "first.jsonl"
        write_clip(first_clip, _DIFFERENT_FRAMES, _SIZE)
        write_poses(first_poses, _DIFFERENT_FRAMES, people, _SIZE)
        repeat_clip(clip, first_clip, frames // _DIFFERENT_FRAMES)
        repeat_poses(poses, first_poses, frames // _DIFFERENT_FRAMES)
    gc.collect()
    watch = MemoryWatch()

    def progress(report: Report, _: int | None) -> None:
        if watch.mark_mb is None and report.frames >= mark_frame:
            watch.mark()
        if report.frames // 5000 > len(watch.samples):
            watch.samples.append((report.frames, resident_mb()))

    refiner = {"weights": stub_weights(), "engine": StubEngine(), "flip": False}
    with watch:
        outcome = run_job(Job(clip, poses, output, overwrite=True, refiner=refiner), progress)
    return watch, outcome.report


def main() -> int:
    """Run as the command line says; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=108_000)
    parser.add_argument("--people", type=int, default=5)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--most-growth-mb", type=float, default=100.0)
    parser.add_argument("--profile", action="store_true", help="where the main thread's time goes")
    parsed = parser.parse_args()
    parsed.folder.mkdir(parents=True, exist_ok=True)
    profile = cProfile.Profile()
    start, cpu = time.perf_counter(), time.process_time()
    if parsed.profile:
        profile.enable()
    watch, report = watched_run(parsed.folder, parsed.frames, parsed.people, min(10_000, parsed.frames // 10))
    if parsed.profile:
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
    sha256 = hashlib.sha256((parsed.folder / "refined.jsonl").read_bytes()).hexdigest()
    print("frames: MB ", ", ".join(f"{frames}: {mb:.0f}" for frames, mb in watch.samples))
    print(
        f"{report.frames} frames, {report.people} people, {time.perf_counter() - start:.0f} s"
        f" ({time.process_time() - cpu:.0f} s of processor time); at the mark {watch.mark_mb:.0f} MB,"
        f" growth {watch.growth_mb:.1f} MB; seconds { ({k: round(v, 1) for k, v in report.seconds.items()}) };"
        f" sha256 {sha256[:16]}"
    )
    return int(watch.growth_mb > parsed.most_growth_mb)


if __name__ == "__main__":
    sys.exit(main())
