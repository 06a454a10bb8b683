"""One self-contained web page about poses before and after refinement; it loads nothing from anywhere."""

import datetime
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from eval.bootstrap import Interval
from eval.coco import coco_evaluation
from eval.coco_interval import ap_intervals
from eval.diagnose_people import Comparison
from eval.diagnose_tables import DiagnosisTables
from eval.report_figures import frequency_figure, oks_figure
from eval.report_people import people_pictures
from eval.report_tables import Metric, breakdown_table, headline, place_table, posetrack_metrics, transition_table

_TEMPLATE = Path(__file__).with_name("report_template.html")
_NO_PICTURES = "<p>No pictures: the page was made without the image folder (<code>--images</code>).</p>"
_MOST_MESSAGES = 2


@dataclass(frozen=True)
class ReportExtras:
    """What the page shows besides the diagnosis.

    Attributes:
        title: heading of the page.
        ap: COCO AP before, after and change with intervals; see ``eval.coco_interval``. None where not defined.
        posetrack: what ``python -m eval posetrack --json`` wrote for before and after.
        images: folder of the images; None leaves the pictures out.
        sources: what was compared, in words.
    """

    title: str
    ap: dict[str, Interval] | None = None
    posetrack: tuple[dict[str, Any], dict[str, Any]] | None = None
    images: Path | None = None
    sources: str = ""


def coco_average_precision(comparison: Comparison, gt: Path, before: Path, after: Path) -> dict[str, Interval] | None:
    """AP with intervals where the files are COCO's with 17 joints and both results hold a pose, else None."""
    if any(comparison.sequences) or len(comparison.keypoint_set) != 17:
        return None
    sides = [coco_evaluation(gt, path) for path in (before, after)]
    return ap_intervals(*sides) if all(side is not None for side in sides) else None


def report_page(tables: DiagnosisTables, extras: ReportExtras) -> str:
    """The page as HTML text. Raises InputError where ``extras.images`` holds no image."""
    comparison = tables.diagnosis.comparison
    people = f"{int(tables.counted.sum())} of {len(comparison.people)} people matched"
    joints = f"{int(tables.overall.before.sum())} annotated joints in {len(comparison.image_names)} images"
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escape(extras.title),
        summary=escape(f"{people}, {joints}."),
        sources=escape(extras.sources),
        headline=headline(tables, _metrics(extras)),
        frequencies=frequency_figure(tables.intervals),
        oks=oks_figure(tables.oks_bins),
        transitions=transition_table(tables.overall),
        joints=breakdown_table("joint", tables.by_joint),
        visible=breakdown_table("annotated joints", tables.by_visible),
        overlap=breakdown_table("overlapping people", tables.by_overlap),
        size=breakdown_table("size", tables.by_size),
        places=place_table(tables, extras.posetrack),
        people=_people(tables, extras.images),
        notes="".join(f"<li>{escape(note)}</li>" for note in _notes(tables)),
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
    )


def _metrics(extras: ReportExtras) -> list[Metric]:
    metrics = posetrack_metrics(*extras.posetrack) if extras.posetrack else []
    if extras.ap:
        before, after, change = (extras.ap[f"AP {side}"] for side in ("before", "after", "change"))
        metrics.insert(0, Metric("COCO AP", 100 * before.value, 100 * after.value, change))
    return metrics


def _people(tables: DiagnosisTables, images: Path | None) -> str:
    if images is None:
        return _NO_PICTURES
    pictures = people_pictures(tables, images)
    parts = [("Most improved", pictures.improved), ("Most harmed", pictures.harmed)]
    html = "".join(f'<h3>{name}</h3><div class="people">{cards or "<p>Nobody.</p>"}</div>' for name, cards in parts)
    more = len(pictures.missing) - _MOST_MESSAGES
    messages = [*pictures.missing[:_MOST_MESSAGES], *([f"{more} more images could not be read"] if more > 0 else [])]
    return html + "".join(f'<p class="hint">{escape(text)}</p>' for text in messages)


def _notes(tables: DiagnosisTables) -> list[str]:
    """What one has to know to read the numbers."""
    diagnosis = tables.diagnosis
    miss, good = diagnosis.thresholds
    notes = [
        f"A pose belongs to the annotated person of the highest OKS, at least {diagnosis.match_oks:g}, as in COCO's"
        " evaluation"
        + (
            "; a refined pose keeps the person of its input pose."
            if diagnosis.pairing == "before"
            else ", before and after each on its own."
        ),
        f"good: keypoint similarity (KS) of at least {good:g} to the right place; jitter: {miss:g} to {good:g};"
        f" inversion: nearest to its mirrored joint; swap: nearest to a joint of another person; miss: below {miss:g}"
        " to any of them.",
        "People below 32\u00b2 square pixels are left out, as COCO does, except in the table by size.",
        "Intervals hold 95 % of 1,000 bootstrap resamples of the images."
        + (" Frames of one video resemble each other, so they are too narrow here." if _is_video(tables) else ""),
    ]
    return [*notes, *(f"{note[0].upper()}{note[1:]}." for note in diagnosis.comparison.notes)]


def _is_video(tables: DiagnosisTables) -> bool:
    return any(tables.diagnosis.comparison.sequences)
