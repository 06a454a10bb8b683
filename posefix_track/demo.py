"""`posefix-track --demo`: a drawn clip, a tracker's noisy poses for it, and what refinement makes of them."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from posefix_track.errors import UsageError
from posefix_track.figures import FigureFrame, render_clip
from posefix_track.formats import read_poses, write_native
from posefix_track.job import Job, run_job
from posefix_track.keypoints import COCO_17, UNION_19
from posefix_track.poses import FramePoses, PoseSequence
from posefix_track.synthesis import People, synthesise
from posefix_track.video import VideoWriter

Float = npt.NDArray[np.float32]

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


def tracked(truth: Sequence[FigureFrame], seed: int) -> PoseSequence:
    """What a tracker might have seen of the figures: COCO-17 poses with synthetic errors of published statistics."""
    rng = np.random.default_rng(seed)
    frames = tuple(_tracked_frame(index, frame, rng) for index, frame in enumerate(truth))
    return PoseSequence(COCO_17, frames)


def mean_error_px(truth: Sequence[FigureFrame], poses: Path) -> float:
    """Mean distance of a pose file's joints to the visible true joints, image pixels."""
    frames = read_poses(poses).sequences[0].frames
    pairs = zip(truth, frames, strict=True)
    distances = [np.linalg.norm(f.keypoints - _coco(t.keypoints), axis=-1)[_coco(t.visible)] for t, f in pairs]
    return float(np.concatenate(distances).mean())


def _tracked_frame(index: int, frame: FigureFrame, rng: np.random.Generator) -> FramePoses:
    keypoints, visible = _coco(frame.keypoints).astype(np.float64), _coco(frame.visible)
    people = len(keypoints)
    others = [[other for other in range(people) if other != person] for person in range(people)]
    extent = frame.bbox_xyxy[:, 2:] - frame.bbox_xyxy[:, :2]
    area = extent.prod(1).astype(np.float64)
    # Joints are only taken for those of people whose boxes touch.
    near = visible[others] & _touching(frame.bbox_xyxy)[np.arange(people)[:, None], others][..., None]
    clean = People(keypoints, visible, keypoints[others], near, area)
    poses, status = synthesise(clean, COCO_17, rng)
    scores = np.where(status == 0, 0.9, 0.5).astype(np.float32)
    return FramePoses(
        poses.astype(np.float32), frame_index=index, scores=scores, track_ids=tuple(range(people)),
        person_scores=scores.mean(1),
    )  # fmt: skip


def _touching(boxes: Float) -> npt.NDArray[np.bool_]:
    """bool [N, N]: which boxes (x1, y1, x2, y2) overlap."""
    low, high = np.maximum(boxes[:, None, :2], boxes[:, :2]), np.minimum(boxes[:, None, 2:], boxes[:, 2:])
    return np.asarray((low < high).all(-1))


def _coco(columns: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The COCO-17 joints of union-19 columns [N, 19, ...]."""
    return columns[:, COCO_17.map_from(UNION_19)]


def _write_clip(path: Path, frames: Sequence[FigureFrame]) -> None:
    with VideoWriter(path, SIZE[1], SIZE[0], _RATE) as writer:
        for frame in frames:
            writer.write(frame.image)
