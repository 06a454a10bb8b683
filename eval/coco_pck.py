"""PCK: the share of joints near their annotated place, for sets without usable areas and sigmas (LSP, LSPET, MPII)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eval.coco_files import CocoTruth, Record, read_coco_results, read_coco_truth
from eval.diagnose_files import people_columns, triplets
from eval.diagnose_people import Int, rows_by_image
from posefix_track.errors import InputError, UsageError
from posefix_track.keypoints import KeypointSet, keypoint_set_by_count
from posefix_track.oks import Bool, Float64
from posefix_track.poses import present_joints


@dataclass(frozen=True)
class PckSummary:
    """Share of annotated joints that lie near enough.

    Attributes:
        fraction: how near, as a share of the longer side of the person's box.
        people: how many annotated people there are.
        joints: names of the joints that both keypoint sets have.
        counts: annotated joints of each name.
        correct: those of them that were found near enough; a person without a pose has none.
    """

    fraction: float
    people: int
    joints: tuple[str, ...]
    counts: tuple[int, ...]
    correct: tuple[int, ...]

    @property
    def pck(self) -> float:
        """Share of all annotated joints, 0 to 1; NaN without any."""
        return sum(self.correct) / sum(self.counts) if sum(self.counts) else float("nan")

    def to_dict(self) -> dict[str, Any]:
        """For a JSON file; shares are 0 to 1."""
        rows = zip(self.joints, self.counts, self.correct, strict=True)
        by_joint = {name: {"joints": n, "pck": good / n if n else None} for name, n, good in rows}
        return {"fraction": self.fraction, "people": self.people, "pck": self.pck, "by_joint": by_joint}

    def table(self) -> str:
        """Text, in percent."""
        rows = zip(self.joints, self.counts, self.correct, strict=True)
        lines = [f"{name:<16}{n:>7}{100 * good / n if n else float('nan'):>8.1f}" for name, n, good in rows]
        return "\n".join([*lines, f"{'all':<16}{sum(self.counts):>7}{100 * self.pck:>8.1f}"])


def pck(gt: Path, results: Path | Sequence[Mapping[str, Any]], fraction: float = 0.1) -> PckSummary:
    """Share of annotated joints within ``fraction`` of the longer box side.

    Joints are matched by name, so that COCO-17 poses can be judged on LSP-14 people: the 12 joints that both have. In
    an image with one person and one pose these belong together; otherwise each person takes the free pose with the
    most joints near enough, the person with the best pose first.

    Raises:
        UsageError: a fraction that is not positive.
        InputError: files that cannot be used, or keypoint sets without a common joint.
    """
    if not fraction > 0:
        raise UsageError(f"the fraction of the box side must be positive, got {fraction:g}")
    truth = read_coco_truth(gt)
    entries = read_coco_results(results, truth, 0)
    found_set = _set_of(entries, truth)
    source = truth.keypoint_set.map_from(found_set)
    shared = np.flatnonzero(source >= 0)
    if not len(shared):
        raise InputError(f"{gt}: {truth.keypoint_set.name} and the results' {found_set.name} have no joint in common")
    labelled, correct = _judged(truth, entries, shared, source[shared], fraction)
    names = tuple(truth.keypoint_set.joints[i] for i in shared)
    return PckSummary(fraction, len(labelled), names, tuple(labelled.sum(0).tolist()), tuple(correct.sum(0).tolist()))


def _set_of(entries: list[Record], truth: CocoTruth) -> KeypointSet:
    """Results name no joints: the set of the annotations where the count fits, else the usual one of that count."""
    joints = len(entries[0]["keypoints"]) // 3 if entries else len(truth.keypoint_set)
    return truth.keypoint_set if joints == len(truth.keypoint_set) else keypoint_set_by_count(joints, "the results")


def _judged(truth: CocoTruth, entries: list[Record], shared: Int, source: Int, fraction: float) -> tuple[Bool, Bool]:
    """Which shared joints are annotated and which are near enough: bool [people, shared joints] each."""
    people, number = people_columns(truth), {image["id"]: i for i, image in enumerate(truth.images)}
    joints = len(entries[0]["keypoints"]) // 3 if entries else len(truth.keypoint_set)
    poses = triplets([entry["keypoints"] for entry in entries], joints)[:, source, :2]
    image = np.array([number[entry["image_id"]] for entry in entries], np.int64)
    limit = fraction * (people.bbox_xyxy[:, 2:] - people.bbox_xyxy[:, :2]).max(1, initial=0.0)
    labelled = people.labelled[:, shared]
    return labelled, _correct(people.keypoints[:, shared], labelled, limit, people.image, poses, image)


def _correct(truth: Float64, labelled: Bool, limit: Float64, image: Int, poses: Float64, pose_image: Int) -> Bool:
    """bool [N, K]: annotated joints that the person's pose has near enough."""
    correct = np.zeros(labelled.shape, np.bool_)
    poses_of = rows_by_image(pose_image, np.arange(len(pose_image)))
    found = present_joints(poses, None)
    for number, rows in rows_by_image(image, np.arange(len(image))).items():
        columns = poses_of.get(number, np.empty(0, np.int64))
        distance = np.linalg.norm(poses[columns] - truth[rows][:, None], axis=-1)
        near = (distance <= limit[rows, None, None]) & labelled[rows][:, None] & found[columns]
        for row, column in _best_first(near.sum(-1)):
            correct[rows[row]] = near[row, column]
    return correct


def _best_first(score: Int) -> list[tuple[int, int]]:
    """(row, column) pairs by falling score [rows, columns], each row and column at most once."""
    pairs, rows, columns = [], set(), set()
    for flat in np.argsort(-score, axis=None, kind="stable").tolist():
        row, column = divmod(flat, score.shape[1])
        if row not in rows and column not in columns:
            pairs.append((row, column))
            rows.add(row)
            columns.add(column)
    return pairs
