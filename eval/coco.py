"""COCO keypoint average precision, by pycocotools itself."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from eval.coco_files import CocoTruth, Record, finite_numbers, read_coco_results, read_coco_truth
from posefix_track.errors import InputError

_KEYS = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")
_JOINTS = 17


@dataclass(frozen=True)
class CocoSummary:
    """COCO's ten keypoint numbers, in [0, 1]; -1 where no annotated person is of that size.

    Attributes:
        ap: mean average precision over OKS .50:.05:.95.
        ap50: average precision at OKS .50; ``ap75`` likewise.
        ap_medium: people of 32^2 to 96^2 square pixels; ``ap_large`` above.
        ar: mean recall over the same OKS; the others likewise.
    """

    ap: float
    ap50: float
    ap75: float
    ap_medium: float
    ap_large: float
    ar: float
    ar50: float
    ar75: float
    ar_medium: float
    ar_large: float

    def to_dict(self) -> dict[str, float]:
        """The numbers by COCO's usual names, in pycocotools' order."""
        return dict(zip(_KEYS, vars(self).values(), strict=True))

    def table(self) -> str:
        """Two lines of text, in percent."""
        cells = [(key, "-" if value < 0 else f"{100 * value:.1f}") for key, value in self.to_dict().items()]
        return "\n".join("".join(f"{cell[i]:>7}" for cell in cells) for i in (0, 1))


def coco_ap(gt: Path | CocoTruth, results: Path | Sequence[Mapping[str, Any]]) -> CocoSummary:
    """COCO keypoint AP and AR of ``results``, number for number what pycocotools computes.

    Args:
        gt: COCO keypoint annotations of 17 joints.
        results: a COCO results file or the list in it; an empty list has AP 0.

    Raises:
        InputError: where a file cannot be used; see ``eval.coco_files``.
    """
    evaluation = coco_evaluation(gt, results)
    return CocoSummary(*([0.0] * 10 if evaluation is None else map(float, evaluation.stats)))


def coco_evaluation(gt: Path | CocoTruth, results: Path | Sequence[Mapping[str, Any]]) -> Any:
    """pycocotools' own ``COCOeval`` after its summary, or None for empty results, which it cannot load."""
    truth = read_coco_truth(gt) if isinstance(gt, Path) else gt
    if len(truth.keypoint_set) != _JOINTS:
        raise InputError(f"COCO AP is defined for {_JOINTS} joints, the annotations have {len(truth.keypoint_set)}")
    poses = read_coco_results(results, truth, _JOINTS)
    return _evaluated(truth, poses) if poses else None


def _evaluated(truth: CocoTruth, poses: list[Record]) -> Any:
    # pycocotools reports its progress on stdout, which belongs to our own output.
    with contextlib.redirect_stdout(io.StringIO()):
        annotations = COCO()
        # An id of 0 means "no match" to pycocotools; counting from 1 changes nothing else.
        people = [person | {"id": i} for i, person in enumerate(truth.annotations, 1)]
        content = {"images": truth.images, "annotations": people, "categories": truth.categories}
        annotations.dataset = {"info": {}, **content}
        annotations.createIndex()
        evaluation = COCOeval(annotations, annotations.loadRes(_loadable(poses)), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def _loadable(poses: list[Record]) -> list[Record]:
    """Only the fields that pycocotools should see: others make it take poses for captions or masks.

    It sizes detections by ``bbox`` where the first has one, by their joints otherwise, and fails on a mixture.
    """
    fields = ["image_id", "category_id", "keypoints", "score"]
    if all(finite_numbers(pose.get("bbox"), 4) is not None for pose in poses):
        fields.append("bbox")
    return [{field: pose[field] for field in fields} for pose in poses]
