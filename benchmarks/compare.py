"""Whether the tool has become slower: two files of ``end_to_end.py --baseline --save`` beside each other.

    python -m benchmarks.compare OLD.json NEW.json [--tolerance 0.1]

What is compared is the speed of every way over that of the original's way in the same round, the median over rounds:
both see the same state of the machine, so that this holds where seconds do not. It does not hold from one kind of
processor to another; record anew there. Exit code 1 where a way fell by more than the tolerance or is missing, 2 where
the two files cannot be compared.
"""

import argparse
import json
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Speed:
    """How many times as fast as the original's way one of ours was, then and now (None: not there any more)."""

    name: str
    old: float
    new: float | None

    def fell(self, tolerance: float) -> bool:
        """Whether it is slower by more than a share of ``tolerance``."""
        return self.new is None or self.new < (1 - tolerance) * self.old

    def row(self) -> str:
        """Markdown."""
        change = "missing" if self.new is None else f"{self.new:.2f} | {self.new / self.old - 1:+.1%}"
        return f"| {self.name} | {self.old:.2f} | {change} |"


def speeds(recorded: dict[str, Any]) -> dict[str, float]:
    """Median over rounds of the original's seconds / our seconds, by name.

    Raises:
        ValueError: not a file of ``end_to_end.py --save``.
    """
    try:
        original, ours = recorded["original"], recorded["ours"]
        pairs = {name: zip(original, seconds, strict=True) for name, seconds in ours.items()}
        return {name: statistics.median(theirs / own for theirs, own in both) for name, both in pairs.items()}
    except (KeyError, TypeError, AttributeError, ZeroDivisionError, statistics.StatisticsError) as error:
        raise ValueError(f"expected a file that end_to_end.py --baseline --save wrote, got {error!r}") from error


def compared(old: dict[str, Any], new: dict[str, Any]) -> list[Speed]:
    """Every way of ``old``.

    Raises:
        ValueError: the two did not do the same.
    """
    before, now = speeds(old), speeds(new)
    if old.get("settings") != new.get("settings"):
        raise ValueError(f"the two did not do the same: {old.get('settings')} and {new.get('settings')}; record anew")
    return [Speed(name, speed, now.get(name)) for name, speed in before.items()]


def main(arguments: list[str] | None = None) -> int:
    """Compare as the command line says; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--tolerance", type=float, default=0.1, help="share of speed that may be lost")
    parsed = parser.parse_args(arguments)
    try:
        old, new = (json.loads(path.read_text()) for path in (parsed.old, parsed.new))
        found = compared(old, new)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for part, then in old.get("machine", {}).items():
        if (now := new.get("machine", {}).get(part)) != then:
            print(f"note: {part} was {then} and is {now}")
    print("| way | was x the original's way | is | change |\n|---|---|---|---|")
    print(*(speed.row() for speed in found), sep="\n")
    slower = [speed.name for speed in found if speed.fell(parsed.tolerance)]
    print(f"slower by more than {parsed.tolerance:.0%}: {'; '.join(slower) or 'none'}")
    return int(bool(slower))


if __name__ == "__main__":
    sys.exit(main())
