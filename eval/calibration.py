"""How far the expected keypoint similarities can be trusted, and what the gate makes of them.

For every joint the network expects a keypoint similarity to the truth (KS, see ``posefix_track.oks``) of the refined
and of the tracker's position. Calibrated means: of all joints from which it expects 0.7, the mean true similarity is
0.7. The expected calibration error (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017) is the mean
distance of the two over ten bins of the expectation, weighted by the joints in them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.diagnose_files import read_comparison
from eval.diagnose_match import match_people
from eval.diagnose_people import Comparison, Int, rows_by_image
from posefix_track.error_classes import GOOD_FROM
from posefix_track.errors import InputError
from posefix_track.gate import Gate
from posefix_track.image_folder import ImageFolder
from posefix_track.oks import Bool, Float64, keypoint_similarity
from posefix_track.refiner import PoseRefiner

BINS = 10


@dataclass(frozen=True)
class JudgedJoints:
    """J annotated joints of matched people that the network has looked at.

    Attributes:
        before: float64 [J, 2], the tracker's position in image pixels.
        refined: float64 [J, 2], the network's.
        truth: float64 [J, 2].
        expected_ks: float64 [J, 2] in [0, 1], of the refined and of the tracker's position.
        distance: float64 [J] between tracker and network, in standard deviations of keypoint similarity.
        area: float64 [J] of the person in square pixels; sigma: float64 [J], the joint's OKS constant.
    """

    before: Float64
    refined: Float64
    truth: Float64
    expected_ks: Float64
    distance: Float64
    area: Float64
    sigma: Float64

    def similarity(self, keypoints: Float64) -> Float64:
        """True similarity float64 [J] of positions [J, 2]."""
        return keypoint_similarity(keypoints[:, None], self.truth[:, None], self.area, self.sigma[:, None])[:, 0]


@dataclass(frozen=True)
class Reliability:
    """Expected against true similarity in ten bins of the expectation, from 0 to 1.

    Attributes:
        count: int64 [10] joints; expected, true: float64 [10], means over them (NaN in empty bins).
    """

    count: Int
    expected: Float64
    true: Float64

    @property
    def error(self) -> float:
        """Expected calibration error in [0, 1]."""
        gap = np.nan_to_num(np.abs(self.expected - self.true))
        return float((self.count * gap).sum() / max(self.count.sum(), 1))


@dataclass(frozen=True)
class GateResult:
    """What a rule that chooses between tracker and network does.

    Attributes:
        name: of the rule.
        similarity: mean true similarity of all joints.
        good: share of joints with KS >= 0.85; harm: share of the good joints that it makes not good; healed: share of
            the others that it makes good.
    """

    name: str
    similarity: float
    good: float
    harm: float
    healed: float


def judged_joints(gt: Path, poses: Path, images: Path, refiner: PoseRefiner) -> JudgedJoints:
    """Ask the network about a tracker's poses of annotated pictures.

    Args:
        gt: annotations and poses: files that ``eval.diagnose_files.read_comparison`` reads.
        poses: the tracker's.
        images: their folder.
        refiner: of the annotations' keypoint set.

    Raises:
        InputError: unreadable files, or nothing to judge.
    """
    comparison = read_comparison(gt, poses, poses)
    match = match_people(comparison.people, comparison.before, comparison.keypoint_set.sigmas)
    matched = np.flatnonzero((match >= 0) & ~comparison.people.crowd)
    folder = ImageFolder(images)
    parts = [
        _of_image(comparison, rows, match[rows], folder, refiner)
        for rows in rows_by_image(comparison.people.image, matched).values()
    ]
    if not parts:
        raise InputError(f"{poses}: no pose matches an annotated person of {gt}; are both of the same pictures?")
    columns = (np.concatenate([getattr(part, name) for part in parts]) for name in JudgedJoints.__annotations__)
    return JudgedJoints(*columns)


def reliability(expected: Float64, true: Float64) -> Reliability:
    """Bin J expectations in [0, 1] and their true values."""
    bins = np.clip((expected * BINS).astype(np.int64), 0, BINS - 1)
    count = np.bincount(bins, minlength=BINS)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(bins, values, BINS) / count for values in (expected, true)]
    return Reliability(count, means[0], means[1])


def gate_results(joints: JudgedJoints, gates: Sequence[Gate]) -> list[GateResult]:
    """The tracker, the network without a gate, every gate, and the oracle that takes the better of both each time."""
    shares = {"tracker": np.zeros(len(joints.before)), "no gate": np.ones(len(joints.before))}
    seen = joints.expected_ks.astype(np.float32), joints.distance.astype(np.float32)
    shares |= {str(gate): gate.share(*seen).astype(np.float64) for gate in gates}
    before = joints.similarity(joints.before)
    shares["oracle"] = (joints.similarity(joints.refined) > before).astype(np.float64)
    return [_result(name, joints, before, share) for name, share in shares.items()]


def _result(name: str, joints: JudgedJoints, before: Float64, share: Float64) -> GateResult:
    after = joints.similarity(joints.before + share[:, None] * (joints.refined - joints.before))
    was_good, is_good = before >= GOOD_FROM, after >= GOOD_FROM
    harm = 1 - is_good[was_good].mean() if was_good.any() else 0.0
    healed = is_good[~was_good].mean() if not was_good.all() else 0.0
    return GateResult(name, float(after.mean()), float(is_good.mean()), float(harm), float(healed))


def _of_image(
    comparison: Comparison, rows: Int, detections: Int, folder: ImageFolder, refiner: PoseRefiner
) -> JudgedJoints:
    people, before = comparison.people, comparison.before
    name = comparison.image_names[people.image[rows[0]]]
    present = before.present[detections]
    keypoints = np.where(present[..., None], before.keypoints[detections], np.nan)
    answers = refiner.answers(folder.read(name).image, keypoints)
    judged: Bool = people.labelled[rows] & present & ~np.isnan(answers.expected_ks).any(2)
    person, joint = np.nonzero(judged)
    return JudgedJoints(
        before=keypoints[judged],
        refined=answers.keypoints[judged].astype(np.float64),
        truth=people.keypoints[rows][judged],
        expected_ks=answers.expected_ks[judged].astype(np.float64),
        distance=answers.distance[judged].astype(np.float64),
        area=people.area[rows][person],
        sigma=comparison.keypoint_set.sigmas[joint],
    )
