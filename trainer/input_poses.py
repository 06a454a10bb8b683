"""Erroneous input poses for training people: synthetic errors, estimators' own poses, absent joints."""

from dataclasses import replace

import numpy as np

from posefix_track.keypoints import UNION_19
from posefix_track.oks import AREA_OF_BOX
from posefix_track.synthesis import ErrorModel, People, SynthesisRules, synthesise
from trainer.columns import Columns
from trainer.people import Bool, Float64
from trainer.pose_refiner_synthesis import transform_poses
from trainer.recipe import SynthesisConfig

_ARMS = [UNION_19.index[f"{side}_{part}"] for side in ("left", "right") for part in ("shoulder", "elbow", "wrist")]
_LEGS = [UNION_19.index[f"{side}_{part}"] for side in ("left", "right") for part in ("hip", "knee", "ankle")]
_HEAD = [UNION_19.index["head_bottom"], UNION_19.index["head_top"]]


def input_poses(
    columns: Columns, config: SynthesisConfig, rng: np.random.Generator, error_model: ErrorModel | None = None
) -> tuple[Float64, Bool]:
    """Erroneous input poses [B, 19, 2] and which joints they have [B, 19], in image pixels."""
    people, known = _people(columns)
    if error_model is not None:
        # Its similarities were measured by the area of OKS, the published distances go by the box.
        people = replace(people, area=people.area * AREA_OF_BOX)
    poses, present = _synthetic(people, known, config, rng, error_model)
    real = (rng.random(len(poses)) < config.estimate_share) & columns.estimated.any(1)
    poses[real], present[real] = columns.estimate[real], columns.estimated[real]
    exact = ~real & (rng.random(len(poses)) < config.exact_share)
    poses = np.where(exact[:, None, None] & columns.labelled[..., None], columns.keypoints, poses)
    _invert(poses, config.inversion, ~real & ~exact, rng)
    rates = None if error_model is None else error_model.absent[error_model.band(people.labelled.sum(1))]
    present &= ~_absent(present.shape, config, rng, rates)
    empty = ~present.any(1)
    present[empty] = known[empty]
    return poses, present


def _people(columns: Columns) -> tuple[People, Bool]:
    """Clean people for synthesis, and which joints have a base position: labelled, or given by an estimator."""
    base = np.where(columns.labelled[..., None], columns.keypoints, columns.estimate)
    known = columns.labelled | columns.estimated
    return People(base, columns.labelled, columns.near, columns.near_labelled, columns.area), known


def _synthetic(
    people: People, known: Bool, config: SynthesisConfig, rng: np.random.Generator, error_model: ErrorModel | None
) -> tuple[Float64, Bool]:
    """Poses by the recipe's method, and which joints it leaves."""
    if config.method == "pose_refiner":
        poses, kept = transform_poses(people, UNION_19, rng)
        return poses, known & kept
    rules = SynthesisRules(config.corrupted_partners, config.first_swapped_partner_repels, config.paper_radii)
    poses, _ = synthesise(people, UNION_19, rng, rules=rules, error_model=error_model)
    return poses, known.copy()


def _invert(poses: Float64, probability: float, allowed: Bool, rng: np.random.Generator) -> None:
    """Exchange whole arms, legs or both left and right, in place: estimators take backs for fronts."""
    for i in np.flatnonzero(allowed & (rng.random(len(poses)) < probability)):
        joints = (_ARMS, _LEGS, _ARMS + _LEGS)[rng.integers(3)]
        poses[i, joints] = poses[i, UNION_19.flip_index[joints]]


def _absent(shape: tuple[int, ...], config: SynthesisConfig, rng: np.random.Generator, rates: Float64 | None) -> Bool:
    absent = rng.random(shape) < (config.absent if rates is None else rates)
    for limb in (_ARMS[:3], _ARMS[3:], _LEGS[:3], _LEGS[3:]) if rates is None else ():
        absent[:, limb[1:]] |= rng.random((shape[0], 1)) < config.absent / 5
    absent[:, _HEAD] |= rng.random((shape[0], 1)) < config.absent_head
    return absent
