"""Kills runs at random moments and resumes them: the output must be that of a run that nobody killed, byte for byte.

    python -m benchmarks.kill_resume --kills 50 --folder DIR [--seed 0] [--frames 400]

Each trial starts a run in a process of its own, ends it by SIGKILL at a moment drawn evenly from the time that a whole
run takes, and resumes it; every other resumed run is killed again. In between, the output must be absent or whole. At
the end the poses, every third time also the overlay video, and the counts of the report must be those of an undisturbed
run, and no other file may be left. Exit code 1 where anything differs.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from benchmarks.stub_run import StubEngine, stub_weights, write_clip, write_poses
from posefix_track.errors import PosefixError
from posefix_track.job import Job, run_job

_SIZE = (120, 160)
# A journal of this size has at least one group of frames.
_HEADER_BYTES = 2000
# Of the report, what may differ between runs: times, and how much was found done.
_OWN_TO_A_RUN = ("seconds", "latency_ms", "frames_resumed")


@dataclass
class Trials:
    """The files that all trials share, and what has come of them."""

    folder: Path
    frames: int
    people: int
    rng: random.Random
    kills: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.clip, self.poses, self.out = self.folder / "clip.mp4", self.folder / "poses.jsonl", self.folder / "out"
        write_clip(self.clip, self.frames, _SIZE)
        write_poses(self.poses, self.frames, self.people, _SIZE)
        self._weights = stub_weights()
        self.wanted: dict[bool, dict[str, bytes]] = {}
        self.seconds: dict[bool, float] = {}
        for video in (False, True):
            start = time.perf_counter()
            self.finish(video, resume=False)
            self.seconds[video] = time.perf_counter() - start
            self.wanted[video] = self.found()

    def trial(self, number: int) -> None:
        """One run that is killed once or twice, and resumed to its end."""
        video = number % 3 == 2
        self.kill(video)
        if number % 2:
            self.kill(video)
        self.finish(video, resume=True)
        found = self.found()
        for name in sorted(found.keys() | self.wanted[video].keys()):
            if found.get(name) != self.wanted[video].get(name):
                self.problems.append(f"trial {number}: {name} differs")

    def kill(self, video: bool) -> None:
        """Start or resume a run and kill it at a random moment of it."""
        child = self._start(video, resume=True)
        time.sleep(self.rng.uniform(0, self.seconds[video]))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        self.kills[self._state() if os.WIFSIGNALED(status) else "came too late"] += 1
        output = self.out / "refined.jsonl"
        if output.exists() and output.read_bytes() != self.wanted[video]["refined.jsonl"]:
            self.problems.append("a killed run has left an output that is not whole")

    def finish(self, video: bool, resume: bool) -> None:
        """Run to the end."""
        if not resume:
            shutil.rmtree(self.out, ignore_errors=True)
        _, status = os.waitpid(self._start(video, resume), 0)
        if status:
            self.problems.append(f"a run has ended with status {status}")

    def found(self) -> dict[str, bytes]:
        """Every file of the output folder, which is then removed; of the report what all runs have in common."""
        files = {path.name: path.read_bytes() for path in self.out.iterdir()}
        for name in [name for name in files if name.endswith(".report.json")]:
            report = orjson.loads(files[name])
            files[name] = orjson.dumps({key: value for key, value in report.items() if key not in _OWN_TO_A_RUN})
        shutil.rmtree(self.out)
        return files

    def _state(self) -> str:
        """What the kill has left."""
        journal = self.out / "refined.jsonl.journal"
        if (self.out / "refined.jsonl").exists():
            return "after the output was written"
        if journal.exists() and journal.stat().st_size > _HEADER_BYTES:
            return "with frames done"
        return "before the first frames were done"

    def _start(self, video: bool, resume: bool) -> int:
        """The run's process, a copy of this one, so that no time goes into imports."""
        child = os.fork()
        if child:
            return child
        try:
            self._run(video, resume)
        except PosefixError as error:
            # A kill may come when everything is done and only the process is left: then there is nothing to resume.
            os._exit(0 if "already exists" in str(error) else 3)
        except BaseException:
            traceback.print_exc()
            os._exit(2)
        os._exit(0)

    def _run(self, video: bool, resume: bool) -> None:
        refiner = {"weights": self._weights, "engine": StubEngine(), "flip": False}
        overlay = self.out / "overlay.mp4" if video else None
        job = Job(self.clip, self.poses, self.out / "refined.jsonl", resume=resume, save_video=overlay, refiner=refiner)
        run_job(job)


def main() -> int:
    """Run as the command line says; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("--people", type=int, default=3)
    parsed = parser.parse_args()
    trials = Trials(parsed.folder, parsed.frames, parsed.people, random.Random(parsed.seed))
    number = 0
    while sum(trials.kills.values()) - trials.kills["came too late"] < parsed.kills:
        trials.trial(number)
        number += 1
    kills = ", ".join(f"{count} {state}" for state, count in trials.kills.items())
    print(f"{number} runs, kills: {kills}; {len(trials.problems)} problems", *trials.problems, sep="\n")
    return int(bool(trials.problems))


if __name__ == "__main__":
    sys.exit(main())
