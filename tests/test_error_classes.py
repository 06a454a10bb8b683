import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posefix_track.error_classes import NONE, AnnotatedPeople, classify
from posefix_track.keypoints import COCO_17, UNION_19, KeypointSet
from tests.slow_error_classes import slow_classes

PUBLISHED = (0.5, 0.85)


def crowds(rng: np.random.Generator, images: int, each: int, joints: KeypointSet) -> AnnotatedPeople:
    """People on a coarse grid, so that joints coincide and similarities tie."""
    shape = (images * each, len(joints))
    keypoints = rng.uniform(0, 60, (*shape, 2)).round(-1) + 100
    area = rng.choice([2000.0, 9000.0, 40000.0], len(keypoints))
    return AnnotatedPeople(np.repeat(np.arange(images), each), keypoints, rng.random(shape) < 0.8, area)


def compare(
    people: AnnotatedPeople, rows: np.ndarray, poses: np.ndarray, joints: KeypointSet, thresholds: tuple[float, float]
) -> np.ndarray:
    """The codes, which must be those of the definition."""
    expected = np.array(list(slow_classes(people, rows, poses, joints, thresholds))).reshape(-1, 2)
    codes, similarity = classify(people, rows, poses, joints.flip_index, joints.sigmas, thresholds)
    np.testing.assert_array_equal(codes.ravel(), expected[:, 0])
    # Another order of operations in float64.
    np.testing.assert_allclose(similarity.ravel(), expected[:, 1], rtol=1e-12, atol=1e-300)
    return codes


@pytest.mark.parametrize(("seed", "thresholds"), [(0, PUBLISHED), (1, PUBLISHED), (2, (0.3, 0.6))])
def test_classes_are_those_of_the_slow_definition(seed: int, thresholds: tuple[float, float]) -> None:
    rng = np.random.default_rng(seed)
    people = crowds(rng, 560, 4, COCO_17)  # with the other seeds more than 10^5 joints
    rows = np.sort(rng.choice(len(people), len(people) * 9 // 10, replace=False))
    poses = people.keypoints[rows] + rng.normal(0, 8, (len(rows), 17, 2)) * (rng.random((len(rows), 17, 1)) < 0.7)
    poses[rng.random((len(rows), 17)) < 0.05] = np.nan
    codes = compare(people, rows, poses, COCO_17, thresholds)
    assert set(np.unique(codes)) == {NONE, *range(5)}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 4), st.integers(0, 5))
def test_images_of_any_order_and_size_will_do(seed: int, images: int, each: int, poses: int) -> None:
    rng = np.random.default_rng(seed)
    people = crowds(rng, images, each, UNION_19)
    rng.shuffle(people.image)
    rows = rng.integers(0, len(people), poses)
    owners = rng.integers(0, len(people), poses)
    compare(people, rows, people.keypoints[owners][:, rng.permutation(19)], UNION_19, PUBLISHED)
