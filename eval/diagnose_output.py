"""A diagnosis as JSON, as text, and as conditions that fail a build."""

import re
from typing import Any

from eval.bootstrap import Interval
from eval.diagnose_tables import DiagnosisTables, Tally
from posefix_track.error_classes import ERROR_CLASSES
from posefix_track.errors import UsageError

_LETTERS = "GJISM-"
_CONDITION = re.compile(rf"({'|'.join(ERROR_CLASSES)}|harm|oks)\s*([<>])\s*([+-]?)(\d+(?:\.\d*)?)")


def diagnosis_dict(tables: DiagnosisTables) -> dict[str, Any]:
    """All figures for a JSON file. Shares and OKS are 0 to 1; ``per_person`` has a letter for each joint (GJISM-)."""
    diagnosis, bins = tables.diagnosis, tables.oks_bins
    return {
        "settings": {
            "match_oks": diagnosis.match_oks,
            "ks_thresholds": list(diagnosis.thresholds),
            "pair": diagnosis.pairing,
            "sigmas": dict(zip(diagnosis.comparison.keypoint_set.joints, diagnosis.sigmas.tolist(), strict=True)),
        },
        "notes": list(diagnosis.comparison.notes),
        "matched_people": int(tables.counted.sum()),
        "overall": tables.overall.to_dict()["all"],
        "including_people_below_the_area_limit": tables.including_small.to_dict()["all"],
        "intervals": {name: vars(i) for name, i in tables.intervals.items()},
        "transitions": _matrix(tables.overall),
        "by_joint": tables.by_joint.to_dict(),
        "by_visible_joints": tables.by_visible.to_dict(),
        "by_overlapping_people": tables.by_overlap.to_dict(),
        "by_size": tables.by_size.to_dict(),
        "oks_bins": [
            {"from": lo, "to": hi, "people": int(n), "before": b if n else None, "after": a if n else None}
            for lo, hi, n, b, a in zip(
                bins.edges[:-1].round(2).tolist(), bins.edges[1:].round(2).tolist(),
                bins.people, bins.before.tolist(), bins.after.tolist(), strict=True,
            )
        ],
        "per_person": _people(tables),
    }  # fmt: skip


def diagnosis_text(tables: DiagnosisTables) -> str:
    """The figures for a terminal, in percent."""
    people, small = tables.diagnosis.comparison.people, tables.including_small.before.sum()
    joints = tables.overall.before.sum()
    lines = [f"{tables.counted.sum()} of {len(people)} people matched, {joints} joints"
             f" ({small - joints} joints of people below 32^2 px left out)", ""]  # fmt: skip
    lines += [*_overall(tables.intervals), "", *_transitions(tables.overall)]
    for title, tally in (
        ("joint", tables.by_joint), ("annotated joints", tables.by_visible),
        ("overlapping people", tables.by_overlap), ("size", tables.by_size),
    ):  # fmt: skip
        lines += ["", *_breakdown(title, tally)]
    lines += ["", *_oks_lines(tables), *(f"note: {note}" for note in tables.diagnosis.comparison.notes)]
    return "\n".join(lines)


def failed_conditions(tables: DiagnosisTables, conditions: list[str]) -> list[str]:
    """Those of ``conditions`` that hold, each with the value that made it hold.

    A condition is ``<good|jitter|inversion|swap|miss|harm|oks> <or> number`` in percent: of the poses after refinement,
    or of the change (after minus before) when the number has a sign: ``good<+1.0``, ``harm>0.5``, ``miss>-0.2``.
    Raises UsageError for anything else.
    """
    return [text for text in (_held(tables, condition) for condition in conditions) if text]


def percent(interval: Interval, signed: bool = False) -> str:
    """Value and interval in percent, such as ``+1.2 [+0.9, +1.6]``."""
    value, low, high = (f"{100 * v:{'+' if signed else ''}.1f}" for v in (interval.value, interval.low, interval.high))
    return f"{value} [{low}, {high}]"


def _held(tables: DiagnosisTables, condition: str) -> str | None:
    parsed = _CONDITION.fullmatch(condition.strip())
    if parsed is None or (parsed[1] == "harm" and parsed[3]):
        raise UsageError(f"cannot read the condition {condition!r}; write for example 'good<+1.0' or 'harm>0.5'")
    name, sign, limit = parsed[1], parsed[3], float(parsed[3] + parsed[4])
    key = name if name == "harm" else f"{name} {'change' if sign else 'after'}"
    value = 100 * tables.intervals[key].value
    # Written so that an undefined value (nobody matched) fails too.
    holds = not (value >= limit if parsed[2] == "<" else value <= limit)
    return f"{condition}: {key} is {value:{'+' if sign else ''}.2f} %" if holds else None


def _matrix(tally: Tally) -> dict[str, dict[str, int]]:
    return {
        before: {after: int(tally.transitions[0, i, j]) for j, after in enumerate(ERROR_CLASSES)}
        for i, before in enumerate(ERROR_CLASSES)
    }


def _people(tables: DiagnosisTables) -> list[dict[str, Any]]:
    comparison, before, after = tables.diagnosis.comparison, tables.diagnosis.before, tables.diagnosis.after
    return [
        {
            "image_id": comparison.image_ids[comparison.people.image[i]],
            "gt_id": comparison.people.ids[i],
            "before": "".join(_LETTERS[code] for code in before.codes[i]),
            "after": "".join(_LETTERS[code] for code in after.codes[i]),
            "oks_before": float(before.oks[i]),
            "oks_after": float(after.oks[i]) if after.detection[i] >= 0 else None,
        }
        for i in tables.counted.nonzero()[0].tolist()
    ]


def _overall(intervals: dict[str, Interval]) -> list[str]:
    lines = [f"{'':<11}{'before':>8}{'after':>8}  change [95 % interval]"]
    for name in (*ERROR_CLASSES, "oks"):
        before, after = (100 * intervals[f"{name} {side}"].value for side in ("before", "after"))
        change = percent(intervals[f"{name} change"], signed=True)
        lines.append(f"{name:<11}{before:>8.1f}{after:>8.1f}  {change}")
    return [*lines, f"{'harm':<11}{percent(intervals['harm'])} % of the good joints became worse"]


def _transitions(tally: Tally) -> list[str]:
    lines = [f"{'from / to':<11}" + "".join(f"{name:>10}" for name in ERROR_CLASSES)]
    return lines + [
        f"{name:<11}" + "".join(f"{count:>10}" for count in row)
        for name, row in zip(ERROR_CLASSES, tally.transitions[0].tolist(), strict=True)
    ]


def _breakdown(title: str, tally: Tally) -> list[str]:
    lines = [f"{title:<19}{'joints':>7}" + "".join(f"{name:>14}" for name in ERROR_CLASSES) + f"{'harm':>7}"]
    for name, group in tally.to_dict().items():
        if not group["joints"]:
            continue
        sides = [group[side]["frequencies"] for side in ("before", "after")]
        cells = "".join(f"{_cell(sides[0][c]):>6} ->{_cell(sides[1][c]):>5}" for c in ERROR_CLASSES)
        lines.append(f"{name:<19}{group['joints']:>7}{cells}{_cell(group['harm_rate']):>7}")
    return lines


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _oks_lines(tables: DiagnosisTables) -> list[str]:
    bins = tables.oks_bins
    rows = zip(bins.edges.tolist(), bins.people.tolist(), bins.before.tolist(), bins.after.tolist(), strict=False)
    header = f"{'OKS before':<12}{'people':>7}{'mean before':>13}{'mean after':>12}"
    return [header] + [
        f"{low:.2f}-{low + 0.05:.2f}{n:>9}{100 * b:>13.1f}{100 * a:>12.1f}" for low, n, b, a in rows if n
    ]
