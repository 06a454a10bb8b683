"""Seconds from Ctrl-C or SIGTERM to the end of the process, at random moments of a run on the command line.

    python -m benchmarks.interrupt --times 20 --folder DIR [--seed 0] [--most-seconds 2]

The clip, the poses and the shipped weights with the engine of this machine make a real run. Exit code 1 where a process
took longer, ended with another code than 130 or 143, or left any file but its journal.
"""

import argparse
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.stub_run import write_clip, write_poses

_SIZE, _FRAMES, _PEOPLE = (480, 640), 600, 3
_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


def interrupted(folder: Path, number: signal.Signals, rng: random.Random) -> tuple[float, str]:
    """One run that is stopped some seconds after its journal has appeared: seconds it took, and what is wrong."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    program = [sys.executable, "-m", "posefix_track", folder / "clip.mp4", "--poses", folder / "poses.jsonl"]
    options = ["-o", out / "refined.jsonl", "--save-video", out / "overlay.mp4"]
    child = subprocess.Popen([*map(str, [*program, *options])], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while child.poll() is None and not (out / "refined.jsonl.journal").exists():
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 5))
    start = time.perf_counter()
    child.send_signal(number)
    code = child.wait()
    seconds = time.perf_counter() - start
    left = {path.name for path in out.iterdir()} - {"refined.jsonl.journal"}
    wrong = "" if code == _CODES[number] else f"exit code {code}"
    return seconds, wrong or (f"left {sorted(left)}" if left else "")


def main() -> int:
    """Run as the command line says; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--most-seconds", type=float, default=2.0)
    parsed = parser.parse_args()
    parsed.folder.mkdir(parents=True, exist_ok=True)
    write_clip(parsed.folder / "clip.mp4", _FRAMES, _SIZE)
    write_poses(parsed.folder / "poses.jsonl", _FRAMES, _PEOPLE, _SIZE)
    rng = random.Random(parsed.seed)
    # A shell's background jobs ignore Ctrl-C, and so would the runs started here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    found = [interrupted(parsed.folder, number, rng) for _ in range(parsed.times // 2) for number in _CODES]
    seconds = sorted(seconds for seconds, _ in found)
    problems = [wrong for _, wrong in found if wrong]
    print(f"{len(found)} runs: {seconds[0]:.2f} to {seconds[-1]:.2f} s, median {seconds[len(seconds) // 2]:.2f} s")
    print(f"{len(problems)} problems", *problems, sep="\n")
    return int(bool(problems) or seconds[-1] > parsed.most_seconds)


if __name__ == "__main__":
    sys.exit(main())
