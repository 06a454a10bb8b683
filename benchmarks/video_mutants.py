"""Damages small videos in many ways and refines poses on them: no crash, no hang, no pose on another frame's picture.

    python -m benchmarks.video_mutants --each 12

Every frame carries its number as a bar code, and every pose its frame's number as a coordinate. A process of its own
refines one damaged file after the other; the refiner compares both numbers. Where the damage lies within the pictures
themselves they may differ (H.264 has no check sums, so a wrong picture may decode without a fault); everywhere else a
difference means that a pose met another frame, which must never be.
"""

import argparse
import json
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from posefix_track.errors import InputError, PosefixError
from posefix_track.keypoints import COCO_17
from posefix_track.network import NetworkConfig, PoseFix
from posefix_track.poses import FramePoses, PoseSequence
from posefix_track.refine import Options, refine_sequence
from posefix_track.refiner import PoseRefiner, Prepared
from posefix_track.report import Report
from posefix_track.video import open_source
from posefix_track.weights import Weights
from tests.clips import FRAMES, HEIGHT, WIDTH, Clip, number_on

CLIPS = (
    Clip("h264.mp4", muxer={"movflags": "+faststart"}),
    Clip("h264_index_last.mp4"),
    Clip("h264_intra.mov", key_every=1, b_frames=0),
    Clip("hevc.mp4", "libx265", muxer={"movflags": "+faststart"}),
    Clip("h264.mkv"),
    Clip("h264_intra.mkv", key_every=1, b_frames=0),
    Clip("vp9.mkv", "libvpx-vp9", encoder={"cpu-used": "8", "deadline": "realtime"}),
    Clip("h264.ts"),
    Clip("mpeg2.ts", "mpeg2video", b_frames=0),
    Clip("mpeg4.avi", "mpeg4", b_frames=0),
)
# A file takes well under a second; this is for a machine that does other things as well.
SECONDS = 60.0
Bytes = bytearray
Damage = Callable[[Bytes, np.random.Generator], Bytes]


def _cut(data: Bytes, rng: np.random.Generator) -> Bytes:
    return data[: int(len(data) * rng.uniform(0.1, 0.99))]


def _flip(data: Bytes, rng: np.random.Generator) -> Bytes:
    for position in rng.integers(0, len(data), int(rng.choice([1, 3, 20]))):
        data[position] ^= 1 << int(rng.integers(8))
    return data


def _zero(data: Bytes, rng: np.random.Generator) -> Bytes:
    length, start = int(rng.choice([64, 512, 4096])), int(rng.integers(0, len(data)))
    data[start : start + length] = bytes(len(data[start : start + length]))
    return data


def _remove(data: Bytes, rng: np.random.Generator) -> Bytes:
    start = int(rng.integers(0, len(data)))
    del data[start : start + int(rng.choice([1, 188, 5000]))]
    return data


def _noise(data: Bytes, rng: np.random.Generator) -> Bytes:
    start = int(rng.integers(0, len(data)))
    part = data[start : start + int(rng.choice([16, 300, 3000]))]
    data[start : start + len(part)] = rng.bytes(len(part))
    return data


def _head(data: Bytes, rng: np.random.Generator) -> Bytes:
    """Flips bits where containers have their headers: at the front or, an index that comes last, at the end."""
    size = min(2500, len(data))
    positions = rng.integers(0, size, int(rng.choice([1, 2, 8])))
    for position in positions if rng.random() < 0.7 else len(data) - 1 - positions:
        data[position] ^= 1 << int(rng.integers(8))
    return data


DAMAGES: dict[str, Damage] = {
    "cut": _cut, "flip": _flip, "zero": _zero, "remove": _remove, "noise": _noise, "head": _head,
}  # fmt: skip


def mutated(data: bytes, damage: str, seed: int) -> bytes:
    """The same damage for the same seed."""
    return bytes(DAMAGES[damage](bytearray(data), np.random.default_rng([seed, *damage.encode()])))


def touched_groups(original: Path, damaged: bytes) -> set[int]:
    """Frames of all groups of pictures of which a byte differs; where bytes are gone, of the group torn there."""
    data = original.read_bytes()
    length = min(len(data), len(damaged))
    differs = np.frombuffer(data[:length], np.uint8) != np.frombuffer(damaged[:length], np.uint8)
    if len(damaged) < len(data):
        tear = int(differs.argmax()) if differs.any() else length
        differs = np.arange(len(data)) == min(tear, len(data) - 1)
    with av.open(str(original)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    number = {pts: i for i, pts in enumerate(sorted(p.pts or 0 for p in packets))}
    groups: list[list[Any]] = []
    for packet in packets:
        if packet.is_keyframe or not groups:
            groups.append([])
        groups[-1].append(packet)
    hit = (group for group in groups if any(differs[p.pos : p.pos + p.size].any() for p in group))
    return {number[p.pts or 0] for group in hit for p in group}


@dataclass
class Result:
    """What came of one file.

    Attributes:
        outcome: exit code; sound: frames that poses were refined on; garbled: of them, with unreadable bars; others: of
            them, [pose's number, picture's number] where they differ.
    """

    outcome: int
    sound: int = 0
    garbled: int = 0
    others: list[list[int]] = field(default_factory=list)
    message: str = ""


class _Shift:
    """An engine that moves every joint."""

    name, max_batch = "shift", 64

    def __call__(
        self, images: npt.NDArray[np.uint8], keypoints: npt.NDArray[np.float32], present: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        return keypoints + np.float32(2), np.ones((*present.shape, 2), np.float32)


class _Reader(PoseRefiner):
    """Notes which picture each pose meets."""

    result: Result

    def prepare(self, frame_bgr: npt.NDArray[np.uint8], keypoints: npt.NDArray[Any], scores: Any = None) -> Prepared:
        number, pose = number_on(frame_bgr), round(float(keypoints[0, 0, 0]) - 20)
        self.result.sound += 1
        self.result.garbled += number is None
        if number is not None and number != pose:
            self.result.others.append([pose, int(number)])
        return super().prepare(frame_bgr, keypoints, scores)


def numbered_poses(frames: int = FRAMES) -> PoseSequence:
    """One person a frame, whose first joint lies at x = 20 + frame."""
    keypoints = np.random.default_rng(0).uniform(10, HEIGHT - 10, (frames, 1, 17, 2)).astype(np.float32)
    keypoints[:, 0, 0, 0] = 20 + np.arange(frames)
    return PoseSequence(COCO_17, tuple(FramePoses(k, frame_index=i) for i, k in enumerate(keypoints)))


def new_reader() -> _Reader:
    """A refiner that reads bar codes."""
    loaded = Weights(PoseFix(NetworkConfig(input_size=(32, 32))), {}, "")
    return _Reader(loaded, engine=_Shift(), flip=False, gate=False)


def refined(path: Path, reader: _Reader) -> Result:
    """Refine numbered poses on a file; only our own errors are caught. Raises AssertionError where poses are lost."""
    reader.result, poses, report = Result(0), numbered_poses(), Report()
    try:
        with open_source(path) as source:
            after = refine_sequence(source, poses, reader, report, Options(max_missing=1.0))
    except InputError as error:
        return Result(error.exit_code, message=str(error))
    except PosefixError as error:
        return Result(error.exit_code, message=str(error))
    moved = sum(a.keypoints is not b.keypoints for a, b in zip(after.frames, poses.frames, strict=True))
    if moved != reader.result.sound or moved + report.missing_frames != FRAMES:
        raise AssertionError(f"{moved} moved, {reader.result.sound} seen, {report.missing_frames} counted as missing")
    reader.result.outcome = 4 if report.missing_frames or report.warnings else 0
    reader.result.message = "; ".join(report.warnings)
    return reader.result


def _work() -> None:
    """Reads a path a line, answers with a result a line."""
    reader = new_reader()
    for line in sys.stdin:
        print(json.dumps(refined(Path(line.rstrip("\n")), reader).__dict__), flush=True)


class Worker:
    """A process that refines; a crash or a hang of it is an outcome."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def __call__(self, path: Path) -> Result | str:
        """The result, or what became of the process."""
        if self._process is None:
            command = [sys.executable, "-m", "benchmarks.video_mutants", "--work"]
            self._process = subprocess.Popen(command, stdin=-1, stdout=-1, stderr=subprocess.PIPE, text=True)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], SECONDS)
        line = self._process.stdout.readline() if ready else ""
        return Result(**json.loads(line)) if line else self.close("hang" if not ready else "crash")

    def close(self, outcome: str = "") -> str:
        """End the process; returns how it failed."""
        if self._process is None:
            return outcome
        if outcome == "hang":
            self._process.kill()
        _, errors = self._process.communicate()
        code, self._process = self._process.returncode, None
        return f"{outcome} ({code}): {errors[-1500:]}"


@dataclass
class Tally:
    """Counts over all files."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    frames: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0

    def add(self, clip: str, name: str, result: Result | str, touched: set[int]) -> None:
        """Count one file."""
        if isinstance(result, str):
            self.failures.append(f"{name}: {result}")
            return
        self.outcomes[clip, str(result.outcome)] += 1
        wrong = [pair for pair in result.others if pair[0] not in touched]
        self.frames.update(refined=result.sound, garbled=result.garbled, other_picture=len(result.others) - len(wrong))
        if wrong:
            self.failures.append(f"{name}: poses met other frames {wrong[:8]} ({len(wrong)} in all); {result.message}")


def mutants(folder: Path, each: int, suffix: str) -> Iterator[tuple[str, str, Path, set[int]]]:
    """(clip, name, damaged file, frames whose pictures are damaged), ``each`` of every clip and kind of damage."""
    for clip in (clip for clip in CLIPS if clip.name.endswith(suffix)):
        original = clip.write(folder)
        data = original.read_bytes()
        for damage in DAMAGES:
            for seed in range(each):
                damaged = mutated(data, damage, seed)
                path = folder / f"mutant{original.suffix}"
                path.write_bytes(damaged)
                yield clip.name, f"{clip.name} {damage} {seed}", path, touched_groups(original, damaged)


def run(each: int, suffix: str = "") -> Tally:
    """Refine on all damaged files."""
    tally, worker = Tally(), Worker()
    with tempfile.TemporaryDirectory() as folder:
        for clip, name, path, touched in mutants(Path(folder), each, suffix):
            start = time.perf_counter()
            tally.add(clip, name, worker(path), touched)
            tally.slowest = max(tally.slowest, time.perf_counter() - start)
    worker.close()
    return tally


def main() -> None:
    """Run and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=12, help="files of every clip and kind of damage (default 12)")
    parser.add_argument("--suffix", default="", help="only clips whose names end so")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        _work()
        return
    tally = run(arguments.each, arguments.suffix)
    for (clip, outcome), count in sorted(tally.outcomes.items()):
        print(f"{clip:24} exit {outcome}: {count}")
    total = sum(tally.outcomes.values()) + sum(": hang" in f or ": crash" in f for f in tally.failures)
    print(f"{total} files of {WIDTH}x{HEIGHT}, {FRAMES} frames each; slowest {tally.slowest:.1f} s")
    print(f"frames: {dict(tally.frames)}")
    print(f"{len(tally.failures)} failures", *tally.failures, sep="\n")
    sys.exit(bool(tally.failures))


if __name__ == "__main__":
    main()
