"""Damage weights files and load them: each must be refused with our error, or give finite weights.

    python -m benchmarks.weights_mutants --times 1000 [--seed 0]

Half of the damage hits the header, which says what the other bytes mean and is a hundredth of the file. Exit code 1
where a file did anything else; it is kept in the folder that is named. A crash of the process ends the run.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch

from posefix_track.errors import InputError
from posefix_track.network import NetworkConfig, PoseFix
from posefix_track.weights import load_weights, save_weights

CONFIG = NetworkConfig(input_size=(64, 64), head_channels=(8, 8, 8))
Damage = Callable[[bytearray, int, random.Random], None]


def _flip(content: bytearray, at: int, rng: random.Random) -> None:
    content[at] ^= 1 << rng.randrange(8)


def _flip_many(content: bytearray, at: int, rng: random.Random) -> None:
    for place in range(at, min(at + rng.randrange(2, 200), len(content))):
        content[place] ^= rng.randrange(256)


def _cut(content: bytearray, at: int, rng: random.Random) -> None:
    del content[at:]


def _remove(content: bytearray, at: int, rng: random.Random) -> None:
    del content[at : at + rng.randrange(1, 100)]


def _insert(content: bytearray, at: int, rng: random.Random) -> None:
    content[at:at] = rng.randbytes(rng.randrange(1, 100))


def _digit(content: bytearray, at: int, rng: random.Random) -> None:
    """Another digit for the next one: shapes, offsets and settings that lie."""
    found = next((i for i in range(at, len(content)) if 48 <= content[i] < 58), at)
    content[found] = 48 + rng.randrange(10)


def _zero(content: bytearray, at: int, rng: random.Random) -> None:
    end = min(at + rng.randrange(1, 5000), len(content))
    content[at:end] = bytes(end - at)


def _lengthen(content: bytearray, at: int, rng: random.Random) -> None:
    content.extend(rng.randbytes(rng.randrange(1, 5000)))


DAMAGES: tuple[Damage, ...] = (_flip, _flip_many, _cut, _remove, _insert, _digit, _zero, _lengthen)


def write_small_weights(path: Path) -> bytes:
    """A sound file, and its bytes."""
    torch.manual_seed(0)
    save_weights(path, PoseFix(CONFIG), {"trained_on": []})
    return path.read_bytes()


def damages(rng: random.Random) -> list[Damage]:
    """One to three, most often one."""
    return rng.choices(DAMAGES, k=rng.choice((1, 1, 1, 2, 3)))


def damaged(content: bytes, rng: random.Random) -> tuple[str, bytes]:
    """(what was done, the bytes)."""
    changed, header = bytearray(content), 8 + int.from_bytes(content[:8], "little")
    chosen = damages(rng)
    for damage in chosen:
        end = min(rng.choice((8, header, header, header, *[len(changed)] * 4)), len(changed))
        if end:
            damage(changed, rng.randrange(end), rng)
    return "+".join(damage.__name__.strip("_") for damage in chosen), bytes(changed)


def outcome(path: Path) -> str:
    """What loading the file came to: "refused", "loaded", or what is wrong with either."""
    try:
        loaded = load_weights(path)
    except InputError as error:
        return "refused" if path.name in str(error) else f"an error that does not name the file: {error}"
    except Exception as error:  # whatever it is, it is what is looked for
        return f"{type(error).__name__}: {error}"
    finite = all(tensor.isfinite().all() for tensor in loaded.network.state_dict().values())
    return "loaded" if finite else "weights that are not finite"


def main() -> int:
    """Run as the command line says; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parsed = parser.parse_args()
    folder, start = Path(tempfile.mkdtemp(prefix="weights_mutants_")), time.monotonic()
    content, found, wrong = write_small_weights(folder / "sound.safetensors"), Counter[str](), 0
    for number in range(parsed.seed, parsed.seed + parsed.times):
        what, data = damaged(content, random.Random(number))
        path = folder / f"{number}.safetensors"
        path.write_bytes(data)
        came_to = outcome(path)
        found[came_to] += 1
        if came_to in ("refused", "loaded"):
            path.unlink()
        else:
            wrong += 1
            print(f"{path}: {what}: {came_to}", flush=True)
    print(f"{dict(found)} in {time.monotonic() - start:.0f} s; {wrong} wrong")
    if not wrong:
        shutil.rmtree(folder)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
