"""`posefix-track --demo`: a drawn clip, a tracker's noisy poses for it, and what refinement makes of them."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from posefix_track.errors import UsageError
from posefix_track.figures import FigureFrame, render_clip
from posefix_track.figures.tracker import coco_joints, tracked
from posefix_track.formats import read_poses, write_native
from posefix_track.job import Job, run_job
from posefix_track.video import VideoWriter

FRAMES, PEOPLE, SIZE, SEED = 60, 3, (360, 640), 7
_RATE = Fraction(30)


def run_demo(
    folder: Path, device: str = "auto", engine: str = "auto", weights: str = "lite", overwrite: bool = False
) -> str:
    """Render, disturb, refine and measure; the files stay in ``folder``.

    Returns:
        one line with the mean distance to the truth before and after.

    Raises:
        UsageError: the folder already holds a demo and ``overwrite`` is not set.
    """
    clip, tracks, refined = folder / "clip.mp4", folder / "tracks.jsonl", folder / "tracks.refined.jsonl"
    if clip.exists() and not overwrite:
        raise UsageError(f"{folder} already holds a demo; choose another folder or add --overwrite")
    folder.mkdir(parents=True, exist_ok=True)
    truth = list(render_clip(FRAMES, PEOPLE, SIZE, SEED))
    _write_clip(clip, truth)
    header = {"path": clip.name, "width": SIZE[1], "height": SIZE[0], "fps": str(_RATE), "frames": FRAMES}
    write_native(tracks, tracked(truth, SEED), header)
    options = {"device": device, "engine": engine, "weights": weights}
    job = Job(clip, tracks, refined, overwrite=True, save_video=Path(), compare=True, refiner=options)
    outcome = run_job(job)
    before, after = (mean_error_px(truth, path) for path in (tracks, refined))
    change = f"mean error {before:.2f} px before, {after:.2f} px after ({(after / before - 1) * 100:+.0f} %)"
    return f"demo: {change} on {PEOPLE} people in {FRAMES} frames; {outcome.video} shows it; {outcome.engine}"


def mean_error_px(truth: Sequence[FigureFrame], poses: Path) -> float:
    """Mean distance of a pose file's joints to the visible true joints, image pixels."""
    frames = read_poses(poses).sequences[0].frames
    pairs = zip(truth, frames, strict=True)
    distances = [
        np.linalg.norm(f.keypoints - coco_joints(t.keypoints), axis=-1)[coco_joints(t.visible)] for t, f in pairs
    ]
    return float(np.concatenate(distances).mean())


def _write_clip(path: Path, frames: Sequence[FigureFrame]) -> None:
    with VideoWriter(path, SIZE[1], SIZE[0], _RATE) as writer:
        for frame in frames:
            writer.write(frame.image)
