"""Estimate how a tracker errs from its own poses of annotated images; synthesis then errs the same way.

python -m trainer.error_model --gt ANNOTATIONS --pred RESULTS -o model.json [--by-visible]
"""

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np

from posefix_track.error_classes import ERROR_CLASSES
from posefix_track.errors import InputError
from posefix_track.keypoints import UNION_19
from posefix_track.synthesis_model import KS_BINS, KS_LIMITS, ErrorModel
from posefix_track.synthesis_rules import Float64, joint_groups
from trainer.command import run
from trainer.error_counts import Counts, count_errors, read_groups, read_tracker
from trainer.json_files import read_json

_log = logging.getLogger(__name__)

_FORMAT, _VERSION = "posefix_track error model", 1
# Bands of labelled joints that the published probabilities distinguish.
_BANDS = (0, 6, 11)
# So many joints of the wider group are mixed into each narrower one's counts.
_PRIOR_JOINTS = 20.0


def main(argv: list[str] | None = None) -> int:
    """Parse arguments, write the model, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m trainer.error_model", description=__doc__)
    parser.add_argument("--gt", type=Path, required=True, help="annotations in COCO layout")
    parser.add_argument("--pred", type=Path, required=True, help="the tracker's poses: COCO results, or like --gt")
    parser.add_argument("-o", "--out", type=Path, required=True, help="model file to write (JSON)")
    parser.add_argument(
        "--by-visible",
        action="store_true",
        help="statuses apart for people of 0-5, 6-10 and more labelled joints",
    )
    return run(_estimate, parser.parse_args(argv))


def _estimate(arguments: argparse.Namespace) -> None:
    counts = measure(arguments.gt, arguments.pred, _BANDS if arguments.by_visible else (0,))
    save_error_model(arguments.out, counts, arguments.gt.name, arguments.pred.name)
    _log.info(summary(counts))


def measure(gt: Path, pred: Path, visible_from: tuple[int, ...] = (0,)) -> Counts:
    """Count the tracker's errors.

    Args:
        gt: annotations in COCO layout.
        pred: COCO results with the same joints, matched by ``ann_id`` where they have it, else by OKS >= 0.1; or a
            file in PoseTrack 2018 layout with the images' ids.
        visible_from: least number of labelled joints of each band of people.

    Raises:
        InputError: for unusable files, and where no pose belongs to anybody.
    """
    source, groups = read_groups(read_json(gt), str(gt))
    counts = count_errors(groups, read_tracker(read_json(pred), source, str(pred)), visible_from)
    if not counts.status.any():
        raise InputError(
            f"{pred}: none of its {counts.poses} poses belongs to anybody in {gt}; the image ids of both must agree"
        )
    return counts


def summary(counts: Counts) -> str:
    """One line: people, joints, and the share of each status and of absent joints in per cent."""
    status = counts.status.sum((0, 1))
    shares = ", ".join(f"{n} {100 * c / status.sum():.1f} %" for n, c in zip(ERROR_CLASSES, status, strict=True))
    absent = 100 * counts.absent.sum() / counts.labelled.sum()
    return f"{counts.people} people, {status.sum()} joints: {shares}; besides, {absent:.1f} % of labelled joints absent"


def save_error_model(
    path: Path, counts: Counts, gt: str, pred: str, visible_from: tuple[int, ...] | None = None
) -> None:
    """Write plain frequencies and histograms; ``load_error_model`` does the smoothing. Raises InputError."""
    if visible_from is None:
        visible_from = _BANDS if len(counts.labelled) == len(_BANDS) else (0,)
    frequencies = counts.status / np.maximum(counts.status.sum(-1, keepdims=True), 1)
    joints = {
        name: {
            "labelled": counts.labelled[:, i].tolist(),
            "absent": counts.absent[:, i].tolist(),
            "frequencies": {s: frequencies[:, i, k].round(6).tolist() for k, s in enumerate(ERROR_CLASSES)},
            "ks_histogram": {s: counts.similarity[i, k].tolist() for k, s in enumerate(ERROR_CLASSES)},
        }
        for i, name in enumerate(UNION_19.joints)
    }
    content = {
        "format": _FORMAT, "version": _VERSION, "gt": gt, "pred": pred, "people": counts.people,
        "visible_from": list(counts.visible_from), "joints": joints,
    }  # fmt: skip
    try:
        path.write_text(json.dumps(content) + "\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error}") from error


def load_error_model(path: Path) -> ErrorModel:
    """Read a model file and smooth it where it rests on few joints.

    Each level takes the next wider one's shares for ``20`` further joints, (counts + 20 shares) / (joints + 20): all
    joints together, then the joints of a group (face, shoulders, arms, hips, knees, ankles), then the joint, then the
    joint of people with so many labelled joints. The widest level of the KS histograms takes the published radii.

    Raises:
        InputError: naming the file and what is wrong with it.
    """
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise InputError(f"{path}: not an error model; write one with python -m trainer.error_model")
    if content.get("version") != _VERSION:
        raise InputError(f"{path}: error model of version {content.get('version')}, expected {_VERSION}; write it anew")
    try:
        visible_from = tuple(int(n) for n in content["visible_from"])
        columns = [_joint(content["joints"][name], len(visible_from)) for name in UNION_19.joints]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: damaged error model ({error!r}); write it anew") from error
    status, absent, similarity = (np.stack(parts) for parts in zip(*columns, strict=True))
    return ErrorModel(
        UNION_19, visible_from, _smooth_bands(status), _smooth_bands(absent)[..., 0], _smooth(similarity, _published())
    )


def _joint(values: dict[str, Any], bands: int) -> tuple[Float64, Float64, Float64]:
    """Counts [V, 5] of the statuses, [V, 2] of absent and other joints, and [5, 50] of KS. Raises ValueError."""
    labelled, absent = (np.asarray(values[name], np.float64) for name in ("labelled", "absent"))
    frequencies = np.stack([np.asarray(values["frequencies"][s], np.float64) for s in ERROR_CLASSES], -1)
    similarity = np.stack([np.asarray(values["ks_histogram"][s], np.float64) for s in ERROR_CLASSES])
    for name, column, shape in (
        ("labelled", labelled, (bands,)), ("absent", absent, (bands,)),
        ("frequencies", frequencies, (bands, len(ERROR_CLASSES))),
        ("ks_histogram", similarity, (len(ERROR_CLASSES), KS_BINS)),
    ):  # fmt: skip
        if column.shape != shape or not (np.isfinite(column) & (column >= 0)).all():
            raise ValueError(f"{name} must hold {list(shape)} numbers of at least 0")
    present = labelled - absent
    if (present < 0).any() or not np.allclose(frequencies.sum(-1)[present > 0], 1, atol=1e-4):
        raise ValueError("frequencies must add up to 1, and no more joints be absent than labelled")
    return frequencies * present[:, None], np.stack([absent, present], -1), similarity


def _smooth_bands(counts: Float64) -> Float64:
    """Shares [V, 19, n] from counts [19, V, n]."""
    joints = _smooth(counts.sum(1), np.full(counts.shape[-1], 1 / counts.shape[-1]), widest_prior=1e-9)
    if counts.shape[1] == 1:
        return joints[None]
    return np.stack([_shrunk(band, joints) for band in counts.swapaxes(0, 1)])


def _smooth(counts: Float64, prior: Float64, widest_prior: float = _PRIOR_JOINTS) -> Float64:
    """Shares of the last axis of counts [19, ..., n]: all joints, groups of joints, joints."""
    groups = joint_groups(UNION_19)
    everything = _shrunk(counts.sum(0), prior, widest_prior)
    by_group = [_shrunk(counts[groups == g].sum(0), everything) for g in range(groups.max() + 1)]
    return _shrunk(counts, np.stack(by_group)[groups])


def _shrunk(counts: Float64, prior: Float64, joints: float = _PRIOR_JOINTS) -> Float64:
    return np.asarray((counts + joints * prior) / (counts.sum(-1, keepdims=True) + joints))


def _published() -> Float64:
    """KS histograms [5, 50] of radii that are uniform between the published limits; a miss ends at KS .1."""
    limits = np.maximum(KS_LIMITS, [[0.0]] * 4 + [[0.1]])
    edges = np.clip(np.linspace(0, 1, KS_BINS + 1), limits[:, :1], limits[:, 1:])
    radius = np.sqrt(-2 * np.log(edges))
    mass = radius[:, :-1] - radius[:, 1:]
    return np.asarray(mass / mass.sum(1, keepdims=True))


if __name__ == "__main__":
    sys.exit(main())
