"""Video in, file out: frames and crops per second of the whole tool, beside the original's way on the same network.

    python benchmarks/end_to_end.py [--frames 150] [--rounds 3] [--weights lite]
    python benchmarks/end_to_end.py --weights r50.safetensors --baseline    # an imported original network
    python benchmarks/end_to_end.py --baseline --save speed.json    # an untrained one; for benchmarks/compare.py

Draws a 720p clip of two people and a tracker's poses for it, then runs every way in turn, ``--rounds`` times, so that
all of them see the same state of the machine. Times are without loading and compiling, which is shown apart; the share
is the tool's crops per second of those of its engine alone on the same crops, measured in the same round.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.original_way import refine_the_original_way
from engines import Engine, compile_engine
from engines.benchmark import Inputs, random_inputs
from posefix_track.figures import FigureFrame, render_clip
from posefix_track.figures.tracker import tracked
from posefix_track.formats import read_poses, write_native
from posefix_track.job import Job, run_job
from posefix_track.network import PoseFix, original_config
from posefix_track.poses import FramePoses, PoseSequence
from posefix_track.report import versions
from posefix_track.video import VideoWriter
from posefix_track.weights import Weights, find_quantised, load_weights

SIZE, RATE, SEED = (720, 1280), Fraction(30), 7
# Drawing takes longer than refining: this many pictures, there and back again, make the clip.
DRAWN = 30
# More people than this hide each other and leave the picture; further ones are copies of their poses elsewhere in it,
# which costs the tool the same.
FIGURES = 4


@dataclass
class Way:
    """One way to do the job, and what it took in each round.

    Attributes:
        run: does the job once -> (seconds without loading, seconds of loading).
        crops: network rows a job.
        engine: runs the same number of rows through the engine alone, for the share; None where there is none.
    """

    name: str
    run: Callable[[], tuple[float, float]]
    crops: int
    engine: Callable[[], float] | None = None
    seconds: list[float] = field(default_factory=list)
    loading: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)


def make_clip(folder: Path, frames: int, people: int) -> tuple[Path, Path, PoseSequence]:
    """A drawn clip and a tracker's poses for it: (video, pose file, poses)."""
    there = list(render_clip(min(DRAWN, frames), min(people, FIGURES), SIZE, SEED))
    truth = list(islice(cycle([*there, *there[::-1]]), frames))
    video, poses = folder / "clip.mp4", folder / "tracks.jsonl"
    _write(video, truth)
    sequence = crowded(tracked(truth, SEED), people)
    header = {"path": video.name, "width": SIZE[1], "height": SIZE[0], "fps": str(RATE), "frames": frames}
    write_native(poses, sequence, header)
    return video, poses, read_poses(poses).sequences[0]


def crowded(sequence: PoseSequence, people: int) -> PoseSequence:
    """The sequence with ``people`` in every frame: poses again, somewhere else in the picture."""
    rng = np.random.default_rng(SEED)
    return replace(sequence, frames=tuple(_crowd(frame, people, rng) for frame in sequence.frames))


def _crowd(frame: FramePoses, people: int, rng: np.random.Generator) -> FramePoses:
    rows = np.arange(people) % len(frame)
    low, high = frame.keypoints.min(1), frame.keypoints.max(1)
    room = np.maximum(np.array(SIZE[::-1]) - (high - low), 0)[rows]
    moved = np.where((np.arange(people) < len(frame))[:, None], 0, rng.random((people, 2)) * room - low[rows])
    keypoints = (frame.keypoints[rows] + moved[:, None]).astype(np.float32)
    scores = None if frame.scores is None else frame.scores[rows]
    return FramePoses(keypoints, frame.frame_index, scores=scores, track_ids=tuple(range(people)))


def _write(path: Path, frames: Iterable[FigureFrame]) -> None:
    with VideoWriter(path, SIZE[1], SIZE[0], RATE) as writer:
        for frame in frames:
            writer.write(frame.image)


def our_way(video: Path, poses: Path, weights: str, precision: str, flip: bool, people: int) -> Way:
    """The tool itself, without its command line."""
    options = {"weights": weights, "precision": precision, "flip": flip, "device": "cpu"}
    output = poses.with_suffix(".refined.jsonl")

    def run() -> tuple[float, float]:
        report = run_job(Job(video, poses, output, overwrite=True, refiner=options)).report
        if report.people_passed_through or report.people != people:
            raise RuntimeError(f"{people} people were to be refined, got {report.to_dict()}")
        seconds = report.seconds
        return seconds["total"] - seconds["compile"], seconds["compile"]

    loaded = load_weights(weights)
    size, joints = loaded.network.config.input_size, len(loaded.network.config.keypoint_set)
    engine = compile_engine(loaded.network, size, joints, "auto", "cpu", precision, find_quantised(loaded))
    inputs = random_inputs(engine.max_batch, size, joints)
    name = f"posefix_track, {precision}{'' if flip else ', no flip test'}"
    return Way(name, run, people * (1 + flip), lambda: _engine_seconds(engine, inputs, people * (1 + flip)))


def _engine_seconds(engine: Engine, inputs: Inputs, rows: int) -> float:
    """Seconds of at most 32 full batches of the engine alone, scaled to ``rows``."""
    calls = min(-(-rows // engine.max_batch), 32)
    engine(*inputs)
    start = time.perf_counter()
    for _ in range(calls):
        engine(*inputs)
    return (time.perf_counter() - start) * rows / (calls * engine.max_batch)


def original_way(video: Path, sequence: PoseSequence, network: PoseFix, by_person: bool, output: Path) -> Way:
    """The baseline. The network is loaded already."""

    def run() -> tuple[float, float]:
        start = time.perf_counter()
        refine_the_original_way(video, sequence, network, output, by_person=by_person)
        return time.perf_counter() - start, 0.0

    name = f"the original's way, {'one person' if by_person else 'one frame'} at a time"
    return Way(name, run, 2 * _people(sequence.frames))


def original_network(weights: Weights) -> PoseFix:
    """That of ``weights`` where it is one, else an untrained ResNet-50 with the original's config."""
    config = weights.network.config
    return PoseFix(original_config()).eval() if config.skips or config.confidence else weights.network


def _people(frames: Iterable[FramePoses]) -> int:
    return sum(map(len, frames))


def table(ways: list[Way], frames: int) -> str:
    """Markdown; the speed-up is that of the medians over the first way."""
    head = "| way | frames/s | crops/s | of the engine alone | speed-up | loading s |\n|---|---|---|---|---|---|"
    first = statistics.median(ways[0].seconds)
    return "\n".join([head, *(_row(way, frames, first) for way in ways)])


def _row(way: Way, frames: int, first: float) -> str:
    seconds, loading = statistics.median(way.seconds), statistics.median(way.loading)
    shares = [alone / whole for alone, whole in zip(way.alone, way.seconds, strict=False)]
    share = f"{statistics.median(shares):.0%}" if shares else ""
    speed = f"{frames / seconds:.1f} | {way.crops / seconds:.1f}"
    return f"| {way.name} | {speed} | {share} | {first / seconds:.2f} | {loading:.1f} |"


def measure(ways: list[Way], rounds: int) -> None:
    """Run all ways in turn, ``rounds`` times."""
    for _ in range(rounds):
        for way in ways:
            seconds, loading = way.run()
            way.seconds.append(seconds)
            way.loading.append(loading)
            if way.engine is not None:
                way.alone.append(way.engine())


def record(original: Way, ours: list[Way], settings: dict[str, int | str]) -> dict[str, object]:
    """What compare.py reads: seconds of every round, what was done, and on what."""
    machine = {"processor": _processor(), **versions()}
    return {"settings": settings, "machine": machine, "original": original.seconds,
            "ours": {way.name: way.seconds for way in ours}}  # fmt: skip


def _processor() -> str:
    # Linux says more there than to Python.
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.processor()


def main() -> None:
    """Draw, run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="lite")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "int8"])
    parser.add_argument("--no-flip-too", action="store_true", help="every precision also without flip test")
    parser.add_argument("--baseline", action="store_true", help="also the original's way, on a network of its config")
    parser.add_argument("--save", type=Path, help="JSON file for benchmarks/compare.py; needs --baseline")
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--people", type=int, default=2, help="in every frame")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.save and not arguments.baseline:
        parser.error("--save needs --baseline: what is compared is the speed beside the original's way")
    with tempfile.TemporaryDirectory() as folder:
        print(_measured(arguments, Path(folder)))


def _measured(arguments: argparse.Namespace, folder: Path) -> str:
    video, poses, sequence = make_clip(folder, arguments.frames, arguments.people)
    ways: list[Way] = []
    weights = load_weights(arguments.weights)
    if arguments.baseline:
        network = original_network(weights)
        ways += [original_way(video, sequence, network, single, folder / "o.json") for single in (False, True)]
    flips = (True, False) if arguments.no_flip_too else (True,)
    people = _people(sequence.frames)
    ours = [our_way(video, poses, arguments.weights, p, f, people) for p in arguments.precisions for f in flips]
    ways += ours
    measure(ways, arguments.rounds)
    if arguments.save:
        settings = {"frames": arguments.frames, "people": arguments.people, "weights_sha256": weights.sha256}
        arguments.save.write_text(json.dumps(record(ways[0], ours, settings), indent=1))
    return table(ways, arguments.frames)


if __name__ == "__main__":
    main()
