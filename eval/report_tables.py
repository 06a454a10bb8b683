"""The report's headline numbers and tables as HTML."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from eval.bootstrap import Interval
from eval.diagnose_people import rows_by_image
from eval.diagnose_tables import DiagnosisTables, Tally
from posefix_track.error_classes import ERROR_CLASSES, GOOD, Codes
from posefix_track.oks import Float64

# More images than this are cut to the ones that changed most.
MOST_ROWS = 30


@dataclass(frozen=True)
class Metric:
    """A headline number before and after, in percent; intervals only where they are known.

    Attributes:
        name: what it is.
        before: value before.
        after: value after.
        change: after minus before with its interval, if any.
    """

    name: str
    before: float
    after: float
    change: Interval | None = None


def headline(tables: DiagnosisTables, others: Sequence[Metric]) -> str:
    """One card per number: ``others`` (AP, MOTA), OKS, good joints, harm."""
    intervals = tables.intervals
    metrics = [*others, _metric("mean OKS", "oks", intervals), _metric("good joints", "good", intervals)]
    harm = intervals["harm"]
    card = (
        f'<div class="card"><h3>harm rate</h3><p class="big">{_number(100 * harm.value)}<small> %</small></p>'
        f'<p class="change">{_range(harm)} of the good joints became worse</p></div>'
    )
    return "".join(_card(metric) for metric in metrics) + card


def transition_table(tally: Tally) -> str:
    """Rows: class before; columns: class after; shaded by share of the row."""
    head = "".join(f"<th>{name}</th>" for name in ERROR_CLASSES)
    rows = []
    for i, name in enumerate(ERROR_CLASSES):
        total = max(1, int(tally.transitions[0, i].sum()))
        cells = "".join(_shaded(int(n), int(n) / total, i, j) for j, n in enumerate(tally.transitions[0, i]))
        rows.append(f"<tr><th>{name}</th>{cells}</tr>")
    return f'<table class="matrix"><tr><th>from \\ to</th>{head}</tr>{"".join(rows)}</table>'


def breakdown_table(title: str, tally: Tally) -> str:
    """Classes before and after in every group of a tally."""
    head = (
        f"<th>{escape(title)}</th><th>joints</th>"
        + "".join(f"<th>{name}</th>" for name in ERROR_CLASSES)
        + "<th>harm</th>"
    )
    rows = []
    for name, group in tally.to_dict().items():
        if not group["joints"]:
            continue
        sides = [group[side]["frequencies"] for side in ("before", "after")]
        cells = "".join(_pair(sides[0][c], sides[1][c], c == "good") for c in ERROR_CLASSES)
        harm = "-" if group["harm_rate"] is None else _number(100 * group["harm_rate"])
        label = escape(name.replace("_", " "))
        rows.append(f"<tr><th>{label}</th><td>{group['joints']}</td>{cells}<td>{harm}</td></tr>")
    return f'<div class="wide"><table><tr>{head}</tr>{"".join(rows)}</table></div>'


def place_table(tables: DiagnosisTables, posetrack: tuple[dict[str, Any], dict[str, Any]] | None) -> str:
    """A row for every sequence, or for every image where the files know no sequences; the largest changes first."""
    comparison = tables.diagnosis.comparison
    named = any(comparison.sequences)
    names = comparison.sequences if named else comparison.image_names
    rows = _place_rows(tables, [names[i] for i in comparison.people.image.tolist()])
    columns = _posetrack_columns(posetrack) if named else {}
    head = (
        f"<th>{'sequence' if named else 'image'}</th><th>people</th><th>mean OKS</th><th>good joints</th><th>harm</th>"
    )
    head += "".join(f"<th>{escape(name)}</th>" for name in columns)
    shown = rows if len(rows) <= MOST_ROWS else rows[: MOST_ROWS // 2] + rows[-MOST_ROWS // 2 :]
    left = (
        f"<p>{len(rows) - len(shown)} with smaller changes in between are left out.</p>"
        if len(shown) < len(rows)
        else ""
    )
    body = "".join(row + "".join(_of(pair, name) for pair in columns.values()) + "</tr>" for name, _, row in shown)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>{left}'


def posetrack_metrics(before: dict[str, Any], after: dict[str, Any]) -> list[Metric]:
    """The totals that two JSON files of ``python -m eval posetrack`` share."""
    names = {"ap": "mAP", "mota": "MOTA", "hota": "HOTA"}
    pairs = [(label, _total(before, key), _total(after, key)) for key, label in names.items()]
    return [Metric(label, old, new) for label, old, new in pairs if old is not None and new is not None]


def signed(value: float) -> str:
    """A change with its sign and a true minus."""
    return f"{value:+.1f}".replace("-", "\u2212")


def _metric(label: str, key: str, intervals: dict[str, Interval]) -> Metric:
    before, after = (100 * intervals[f"{key} {side}"].value for side in ("before", "after"))
    change = intervals[f"{key} change"]
    return Metric(label, before, after, change)


def _card(metric: Metric) -> str:
    change = 100 * metric.change.value if metric.change else metric.after - metric.before
    tone = "better" if change > 0 else "worse" if change < 0 else ""
    spread = f" {_range(metric.change, with_sign=True)}" if metric.change else ""
    before, after = _number(metric.before), _number(metric.after)
    return (
        f'<div class="card"><h3>{escape(metric.name)}</h3>'
        f'<p class="big"><span class="old">{before} \u2192</span> {after}</p>'
        f'<p class="change"><b class="{tone}">{signed(change)}</b>{spread}</p></div>'
    )


def _range(interval: Interval, with_sign: bool = False) -> str:
    low, high = (signed(100 * v) if with_sign else _number(100 * v) for v in (interval.low, interval.high))
    return f'<span class="spread">[{low}, {high}]</span>'


def _number(value: float) -> str:
    return f"{value:.1f}" if np.isfinite(value) else "-"


def _pair(before: float | None, after: float | None, more_is_better: bool) -> str:
    if before is None or after is None:
        return "<td>-</td>"
    change = 100 * (after - before) * (1 if more_is_better else -1)
    tone = "better" if change >= 0.05 else "worse" if change <= -0.05 else ""
    return f'<td><span class="old">{_number(100 * before)}</span> <b class="{tone}">{_number(100 * after)}</b></td>'


def _shaded(count: int, share: float, before: int, after: int) -> str:
    kind = "same" if before == after else "lost" if before == GOOD else "won" if after == GOOD else "other"
    return f'<td class="{kind}" style="--share:{share:.2f}">{count}</td>'


def _place_rows(tables: DiagnosisTables, names: Sequence[str]) -> list[tuple[str, float, str]]:
    """(name, change of OKS, first cells of the row), by falling change; ``names`` has one for each person."""
    before, after = tables.diagnosis.before, tables.diagnosis.after
    number = {name: i for i, name in enumerate(dict.fromkeys(names))}
    place = np.array([number[name] for name in names], np.int64)
    people = np.flatnonzero(tables.counted & (after.detection >= 0))
    rows = [
        _place_row(names[i[0]], before.oks[i], after.oks[i], before.codes[i], after.codes[i])
        for i in rows_by_image(place, people).values()
    ]
    return sorted(rows, key=lambda row: -row[1])


def _place_row(
    name: str, oks_before: Float64, oks_after: Float64, before: Codes, after: Codes
) -> tuple[str, float, str]:
    labelled, was_good = before >= 0, before == GOOD
    shares = [float((side == GOOD).sum() / max(1, labelled.sum())) for side in (before, after)]
    harm = _number(100 * (was_good & (after != GOOD)).sum() / was_good.sum()) if was_good.any() else "-"
    cells = _pair(float(oks_before.mean()), float(oks_after.mean()), True) + _pair(shares[0], shares[1], True)
    row = f"<tr><th>{escape(name)}</th><td>{len(oks_before)}</td>{cells}<td>{harm}</td>"
    return name, float(oks_after.mean() - oks_before.mean()), row


def _posetrack_columns(posetrack: tuple[dict[str, Any], dict[str, Any]] | None) -> dict[str, list[dict[str, Any]]]:
    """Column label -> values by sequence, before and after; only what both files have."""
    if posetrack is None or not all(side.get("per_sequence") for side in posetrack):
        return {}
    return {
        label: [{name: _total(values, key) for name, values in side["per_sequence"].items()} for side in posetrack]
        for key, label in (("ap", "mAP"), ("mota", "MOTA"))
    }


def _of(sides: list[dict[str, Any]], name: str) -> str:
    before, after = (side.get(name) for side in sides)
    return _pair(None if before is None else before / 100, None if after is None else after / 100, True)


def _total(metrics: dict[str, Any], key: str) -> float | None:
    values = metrics.get(key)
    total = values.get("total") if isinstance(values, dict) else None
    return float(total) if isinstance(total, int | float) else None
