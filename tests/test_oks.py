import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import posefix_track.oks as oks_module
from eval.diagnose_match import match_people
from eval.diagnose_people import Detections, People
from posefix_track.keypoints import COCO_17
from posefix_track.oks import keypoint_similarity, oks, oks_of_unlabelled

SIGMAS = COCO_17.sigmas
_POINTS = st.floats(-1e4, 1e4)


def test_the_example_in_the_documentation_holds():
    assert doctest.testmod(oks_module).failed == 0


def test_sigmas_are_those_of_pycocotools():
    # pycocotools divides its constants by 10, which costs the last bit.
    np.testing.assert_allclose(SIGMAS, COCOeval(iouType="keypoints").params.kpt_oks_sigmas, rtol=1e-15)


@settings(deadline=None)
@given(_POINTS, _POINTS, st.floats(1, 1e6))
def test_similarity_lies_between_0_and_1_and_is_1_on_the_spot(x, y, area):
    truth = np.full((17, 2), 5.0)
    moved = keypoint_similarity(truth + np.array([x, y]), truth, np.array(area), SIGMAS)
    assert ((moved >= 0) & (moved <= 1)).all()
    assert (keypoint_similarity(truth, truth, np.array(area), SIGMAS) == 1).all()


def test_similarity_follows_the_formula():
    distance = 2 * SIGMAS * np.sqrt(400.0)  # where the exponent is -1/2
    keypoints = np.stack([distance, np.zeros(17)], -1)
    similarity = keypoint_similarity(keypoints, np.zeros((17, 2)), np.array(400.0), SIGMAS)
    np.testing.assert_allclose(similarity, np.exp(-0.5), rtol=1e-12)  # float64 rounding


def test_oks_counts_labelled_joints_only():
    similarity = np.array([[1.0, 0.5, 0.0], [0.2, 0.2, 0.2]])
    labelled = np.array([[True, True, False], [False, False, False]])
    assert oks(similarity, labelled).tolist() == [0.75, 0.0]


def test_a_pose_within_the_doubled_box_of_an_unlabelled_person_is_certain():
    box, area = np.array([10.0, 10.0, 20.0, 20.0]), np.array(100.0)
    inside, outside = np.full((17, 2), 29.0), np.full((17, 2), 60.0)
    assert oks_of_unlabelled(inside, box, area, SIGMAS) == 1
    assert oks_of_unlabelled(outside, box, area, SIGMAS) < 0.1


def _random_image(rng, people, detections):
    """Crowded and small on purpose, with ignored people of every kind and with equal scores."""
    truth = rng.uniform(0, 60, (people, 17, 2)).round()
    labelled = rng.random((people, 17)) < rng.choice([0.0, 0.5, 1.0], (people, 1))
    area, crowd = rng.uniform(600, 4000, people), rng.random(people) < 0.15
    found = truth[rng.integers(0, people, detections)] + rng.normal(0, 6, (detections, 17, 2))
    boxes = np.concatenate([truth.min(1), truth.max(1)], 1)
    return truth, labelled, area, crowd, boxes, found, rng.integers(0, 5, detections) / 4


def _coco_matches(truth, labelled, area, crowd, boxes, found, scores):
    """annotation index -> detection index, by pycocotools at OKS .1."""
    people = [
        {"id": i + 1, "image_id": 1, "category_id": 1, "iscrowd": int(crowd[i]), "area": area[i],
         "bbox": [*boxes[i, :2], *(boxes[i, 2:] - boxes[i, :2])], "num_keypoints": int(labelled[i].sum()),
         "keypoints": np.c_[truth[i], 2 * labelled[i]].ravel().tolist()}
        for i in range(len(truth))
    ]  # fmt: skip
    poses = [
        {"image_id": 1, "category_id": 1, "score": float(s), "keypoints": np.c_[p, np.ones(17)].ravel().tolist()}
        for p, s in zip(found, scores, strict=True)
    ]
    annotations = COCO()
    annotations.dataset = {"info": {}, "images": [{"id": 1}], "categories": [{"id": 1}], "annotations": people}
    annotations.createIndex()
    evaluation = COCOeval(annotations, annotations.loadRes(poses), "keypoints")
    evaluation.params.iouThrs = np.array([0.1])
    evaluation.params.areaRng = [[32**2, 1e10]]
    evaluation.evaluate()
    image = evaluation.evalImgs[0]
    return {int(gt) - 1: int(d) - 1 for d, gt in zip(image["dtIds"], image["dtMatches"][0], strict=True) if gt > 0}


@pytest.mark.parametrize("seed", range(25))
def test_matches_are_those_of_pycocotools(seed):
    rng = np.random.default_rng(seed)
    image = _random_image(rng, people=6, detections=24)  # more than the 20 that count
    truth, labelled, area, crowd, boxes, found, scores = image
    people = People(np.zeros(6, np.int64), truth, labelled, area, boxes, crowd, tuple(range(6)))
    detections = Detections(np.zeros(24, np.int64), found, np.ones((24, 17), bool), scores)
    matched = match_people(people, detections, SIGMAS)
    expected = {i: d for i, d in _coco_matches(*image).items() if not crowd[i]}
    assert {i: int(d) for i, d in enumerate(matched) if d >= 0} == expected
