"""The report's figures as inline SVG. Text and colours come from the page's style sheet."""

from collections.abc import Sequence
from html import escape

import numpy as np

from eval.bootstrap import Interval
from eval.diagnose_tables import OKS_BIN, OksBins
from posefix_track.error_classes import ERROR_CLASSES

# Drawn for a phone's width, so that the text stays readable when a figure is scaled down to it.
_WIDTH = 380
_LABEL_WIDTH = 66
_VALUE_WIDTH = 84
_ROW = 44


def frequency_figure(intervals: dict[str, Interval]) -> str:
    """Share of joints of each class before and after, with 95 % intervals (figure 8 of the PoseFix paper).

    Good joints and the four errors have scales of their own: errors are an order of magnitude rarer.
    """
    errors = ERROR_CLASSES[1:]
    gap = _ROW + 30
    caption = f'<text class="axis" x="0" y="{gap - 6}">the errors, on a scale of their own</text>'
    body = [*_bars(("good",), intervals, 0), caption, *_bars(errors, intervals, gap)]
    return _svg(gap + len(errors) * _ROW, "Share of joints by kind of error, before and after", body)


def oks_figure(bins: OksBins) -> str:
    """Mean OKS before and after, by OKS before (figure 7 of the PoseFix paper), over the number of people."""
    body = [_axis(v, f"{v:.1f}") for v in np.linspace(0, 1, 6)]
    most = max(1, int(bins.people.max()))
    for low, people, before, after in zip(bins.edges, bins.people, bins.before, bins.after, strict=False):
        if people:
            body.append(_bin_column(float(low), int(people) / most, int(people), float(before), float(after)))
    body += [f'<text class="axis" x="{_x(v):.1f}" y="{_PLOT + 22}" text-anchor="middle">{v:.1f}</text>'
             for v in np.linspace(0, 1, 6)]  # fmt: skip
    body.append(f'<text class="axis" x="{_x(0.5):.1f}" y="{_PLOT + 40}" text-anchor="middle">OKS before</text>')
    body.append('<text class="axis" x="34" y="11" text-anchor="start">mean OKS</text>')
    return _svg(_PLOT + 48, "Mean OKS before and after, by OKS before", body)


_PLOT, _TOP, _LEFT, _COUNT = 240, 20, 34, 44


def _x(value: float) -> float:
    return _LEFT + value * (_WIDTH - _LEFT - 8)


def _y(value: float) -> float:
    return _PLOT - value * (_PLOT - _TOP)


def _svg(height: int, label: str, body: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(label)}">' + "".join(body) + "</svg>"


def _bars(names: Sequence[str], intervals: dict[str, Interval], top: int) -> list[str]:
    sides = [(name, [intervals[f"{name} {side}"] for side in ("before", "after")]) for name in names]
    longest = max((_finite(i.high) for _, pair in sides for i in pair), default=0.0)
    longest = max(longest, 0.01) * 1.02
    body = []
    for row, (name, pair) in enumerate(sides):
        y = top + row * _ROW
        body.append(f'<text class="label" x="0" y="{y + 24}">{escape(name)}</text>')
        for side, i, offset in zip(("before", "after"), pair, (6, 21), strict=True):
            body += _bar(i, longest, y + offset, side)
    return body


def _bar(share: Interval, longest: float, y: int, side: str) -> list[str]:
    scale = (_WIDTH - _LABEL_WIDTH - _VALUE_WIDTH) / longest
    value, low, high = (_LABEL_WIDTH + _finite(v) * scale for v in (share.value, share.low, share.high))
    middle = y + 6.5
    text = f"{100 * share.value:.1f} %" if np.isfinite(share.value) else "-"
    return [
        f'<rect class="{side}" x="{_LABEL_WIDTH}" y="{y}" width="{value - _LABEL_WIDTH:.1f}" height="13" rx="2"/>',
        f'<path class="whisker" d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {y + 3}v7M{high:.1f} {y + 3}v7"/>',
        f'<text class="value" x="{high + 6:.1f}" y="{y + 11}">{text}</text>',
    ]


def _axis(value: float, text: str) -> str:
    y = _y(value)
    return (
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - 8}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="axis" x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
    )


def _bin_column(low: float, height: float, people: int, before: float, after: float) -> str:
    x, width = _x(low + OKS_BIN / 2), (_WIDTH - _LEFT - 8) * OKS_BIN - 2
    tall = max(1.5, height * _COUNT)
    mean = "up" if after >= before else "down"
    hint = f"OKS {low:.2f} to {low + OKS_BIN:.2f}: {people} people, mean {before:.3f} before, {after:.3f} after"
    return (
        f"<g><title>{hint}</title>"
        f'<rect class="count" x="{x - width / 2:.1f}" y="{_PLOT - tall:.1f}" width="{width:.1f}" height="{tall:.1f}"/>'
        f'<line class="{mean}" x1="{x:.1f}" x2="{x:.1f}" y1="{_y(before):.1f}" y2="{_y(after):.1f}"/>'
        f'<circle class="before" cx="{x:.1f}" cy="{_y(before):.1f}" r="4"/>'
        f'<circle class="after" cx="{x:.1f}" cy="{_y(after):.1f}" r="4"/></g>'
    )


def _finite(value: float) -> float:
    return value if np.isfinite(value) else 0.0
