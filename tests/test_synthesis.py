from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from posefix_track.error_classes import ERROR_CLASSES, GOOD, INVERSION, JITTER, MISS, SWAP
from posefix_track.keypoints import COCO_17, KEYPOINT_SETS, POSETRACK_18, UNION_19, KeypointSet
from posefix_track.synthesis import People, similarity_distance, status_probabilities, synthesise
from tests.distributions import same_distribution

GOLDEN = Path(__file__).parents[2] / "shared" / "golden" / "posefix_reference" / "synthesis.npz"
AREA = 31457.0  # of a 3:4 box in a 192 x 256 crop that is padded by 1.25
FAR = 1e5


def people(
    base: np.ndarray, labelled: np.ndarray, near: np.ndarray | None = None, area: float = AREA, count: int = 1
) -> People:
    """``count`` times the same person: base [K, 2], labelled [K], near [M, K, 2] with all joints."""
    near = np.zeros((0, *base.shape)) if near is None else near

    def tiled(column: np.ndarray) -> np.ndarray:
        return np.repeat(column[None], count, 0)

    return People(
        tiled(base), tiled(labelled), tiled(near), np.ones((count, *near.shape[:2]), bool), np.full(count, area)
    )


def spread(joints: int) -> np.ndarray:
    """Joints so far apart that no rule ever rejects a point."""
    return np.stack([np.arange(joints) * FAR, np.zeros(joints)], -1)


def always(status: int, count: int, joints: int = 17) -> np.ndarray:
    probabilities = np.zeros((count, joints, 5))
    probabilities[..., status] = 1
    return probabilities


def similarity(position: np.ndarray, base: np.ndarray, sigmas: np.ndarray, area: float = AREA) -> np.ndarray:
    return np.exp(-((position - base) ** 2).sum(-1) / (2 * area * (2 * sigmas) ** 2))


@pytest.mark.parametrize(
    ("joint", "distances"),
    [
        ("nose", (5.3, 10.9, 19.8)),
        ("left_shoulder", (16.0, 33.0, 60.1)),
        ("right_wrist", (12.5, 25.9, 47.2)),
        ("left_hip", (21.6, 44.7, 81.5)),
        ("right_ankle", (18.0, 37.2, 67.7)),
    ],
)
def test_distances_follow_the_similarity(joint: str, distances: tuple[float, ...]) -> None:
    index = COCO_17.index[joint]
    found = [similarity_distance(ks, COCO_17.sigmas, np.array([AREA]))[0, index] for ks in (0.85, 0.5, 0.1)]
    np.testing.assert_allclose(found, distances, atol=0.06)  # the table has one decimal


def slow_probabilities(joint: int, visible: int, overlap: int) -> list[float]:
    """The released code's rules for one COCO joint, written out."""
    few = visible <= 10
    if joint == 0 or joint >= 13:
        jitter = 0.15 if few else 0.10
    elif joint <= 10:
        jitter = 0.20 if few else 0.15
    else:
        jitter = 0.25 if few else 0.20
    band = 0 if visible <= 5 else 1 if few else 2
    if joint <= 4:
        miss, inversion = (0.15, 0.10, 0.02)[band], 0.01
    elif joint in (5, 6, 15, 16):
        miss, inversion = (0.20, 0.13, 0.05)[band], 0.03 if joint <= 6 else 0.06
    else:
        miss, inversion = (0.25, 0.15, 0.10)[band], 0.03 if joint <= 10 else 0.06
    crowded = (few and overlap > 0) or (visible <= 15 and overlap >= 3)
    part = 0 if joint <= 4 else 1 if joint <= 10 else 2
    swap = ((0.02, 0.15, 0.10) if crowded else (0.01, 0.06, 0.03))[part]
    return [1 - jitter - inversion - swap - miss, jitter, inversion, swap, miss]


@pytest.mark.parametrize("overlap", [0, 1, 2, 3, 7])
@pytest.mark.parametrize("visible", range(18))
def test_probabilities_equal_the_written_out_rules(visible: int, overlap: int) -> None:
    found = status_probabilities(COCO_17, np.array([visible]), np.array([overlap]))[0]
    np.testing.assert_allclose(found, [slow_probabilities(j, visible, overlap) for j in range(17)], atol=1e-12)


@pytest.mark.parametrize(
    ("visible", "good"),
    [
        (5, (0.68, 0.63, 0.51, 0.46, 0.41, 0.51, 0.56)),
        (10, (0.73, 0.68, 0.58, 0.56, 0.51, 0.61, 0.63)),
        (11, (0.86, 0.81, 0.71, 0.66, 0.61, 0.71, 0.76)),
    ],
)
def test_good_has_its_published_probability(visible: int, good: tuple[float, ...]) -> None:
    names = [f"left_{part}" for part in ("eye", "shoulder", "elbow", "hip", "knee", "ankle")]
    found = status_probabilities(COCO_17, np.array([visible]), np.array([0]))[0, :, GOOD]
    np.testing.assert_allclose(found[[0, *(COCO_17.index[name] for name in names)]], good, atol=1e-9)


@pytest.mark.parametrize("keypoints", [POSETRACK_18, UNION_19], ids=lambda s: s.name)
def test_other_sets_share_the_probabilities_of_common_joints(keypoints: KeypointSet) -> None:
    found = status_probabilities(keypoints, np.array([8]), np.array([1]))[0]
    coco = status_probabilities(COCO_17, np.array([8]), np.array([1]))[0]
    for i, name in enumerate(keypoints.joints):
        # The ends of the head count as face.
        np.testing.assert_array_equal(found[i], coco[COCO_17.index.get(name, 1)])


@pytest.mark.parametrize("keypoints", KEYPOINT_SETS.values(), ids=lambda s: s.name)
def test_every_set_can_be_synthesised(keypoints: KeypointSet) -> None:
    rng = np.random.default_rng(0)
    base = rng.random((len(keypoints), 2)) * 200
    position, status = synthesise(people(base, np.ones(len(keypoints), bool), count=20), keypoints, rng)
    assert np.isfinite(position).all()
    assert (status >= 0).all()
    centre = keypoints.flip_index == np.arange(len(keypoints))
    assert not (status[:, centre] == INVERSION).any()


@pytest.mark.parametrize(("status", "mean"), [(GOOD, 0.948), (JITTER, 0.680), (MISS, 0.268)])
def test_similarity_has_the_expected_mean(status: int, mean: float) -> None:
    base = spread(17)
    group = people(base, np.zeros(17, bool), count=1500)
    position, drawn = synthesise(group, COCO_17, np.random.default_rng(status), always(status, 1500))
    assert (drawn == status).all()
    # 25,500 draws of a deviation below 0.12: a standard error below 0.001.
    assert abs(similarity(position, base, COCO_17.sigmas).mean() - mean) < 0.003


def test_inversions_lie_round_the_partner_and_swaps_round_the_other_person() -> None:
    base, count = spread(17), 300
    others = base[None] + (0, 10 * FAR)
    for status, centres in ((INVERSION, base[None, COCO_17.flip_index]), (SWAP, others)):
        group = people(base, np.ones(17, bool), others, count=count)
        position, drawn = synthesise(group, COCO_17, np.random.default_rng(1), always(status, count))
        candidates = np.concatenate([centres, others[:, COCO_17.flip_index]]) if status == SWAP else centres
        nearest = np.linalg.norm(position[:, None] - candidates, axis=-1).min(1)
        limit = similarity_distance(0.5, COCO_17.sigmas, np.array([AREA]))[0]
        possible = drawn == status
        assert (nearest <= limit)[possible].all()
        assert possible[:, 1:].all()
        assert possible[:, 0].all() == (status == SWAP)  # the nose has no partner


def test_a_miss_is_four_times_as_often_near_the_truth() -> None:
    keypoints = KeypointSet("three", ("nose", "left_wrist", "right_wrist"))
    base, count = spread(3), 20000
    others = base[None] + (0, 10 * FAR)
    group = people(base, np.ones(3, bool), others, count=count)
    position, _ = synthesise(group, keypoints, np.random.default_rng(2), always(MISS, count, 3))
    for joint, anchors in ((0, 2), (1, 4)):  # nose: truth, swap; wrist: also its partner and that one's swap
        own = np.linalg.norm(position[:, joint] - base[joint], axis=-1) < FAR / 2
        expected = 4 / (4 + anchors - 1)
        assert abs(own.mean() - expected) < 0.015  # four standard errors


@pytest.mark.parametrize("near", [False, True])
def test_statuses_come_as_often_as_they_should(near: bool) -> None:
    base, count = spread(17), 6000  # 102,000 draws
    others = base[None] + (0, 10 * FAR) if near else None
    _, drawn = synthesise(people(base, np.ones(17, bool), others, count=count), COCO_17, np.random.default_rng(3))
    expected = status_probabilities(COCO_17, np.array([17]), np.array([int(near)]))[0]
    expected[0, INVERSION] = 0
    if not near:
        expected[:, SWAP] = 0
    expected /= expected.sum(-1, keepdims=True)
    found = np.stack([(drawn == status).mean(0) for status in range(5)], -1)
    assert np.abs(found.mean(0) - expected.mean(0)).max() < 0.01
    assert (np.abs(found - expected) <= 5 * np.sqrt(expected * (1 - expected) / count)).all()


def test_an_impossible_status_leaves_its_share_to_the_others() -> None:
    count = 4000
    probabilities = np.tile([0.2, 0.1, 0.3, 0.4, 0.0], (count, 17, 1))
    _, drawn = synthesise(
        people(spread(17), np.ones(17, bool), count=count), COCO_17, np.random.default_rng(4), probabilities
    )
    nose = [(drawn[:, 0] == status).mean() for status in range(5)]
    wrist = [(drawn[:, 9] == status).mean() for status in range(5)]
    np.testing.assert_allclose(nose, [2 / 3, 1 / 3, 0, 0, 0], atol=0.03)  # four standard errors
    np.testing.assert_allclose(wrist, [1 / 3, 1 / 6, 1 / 2, 0, 0], atol=0.03)


def test_without_any_possible_status_the_joint_stays() -> None:
    base = spread(17)
    position, status = synthesise(people(base, np.ones(17, bool)), COCO_17, np.random.default_rng(0), always(SWAP, 1))
    assert (status == -1).all()
    np.testing.assert_array_equal(position[0], base)


def test_unlabelled_partners_are_no_anchors() -> None:
    labelled = np.ones(17, bool)
    labelled[COCO_17.index["left_wrist"]] = False
    _, status = synthesise(people(spread(17), labelled), COCO_17, np.random.default_rng(0), always(INVERSION, 1))
    assert status[0, COCO_17.index["right_wrist"]] == -1
    assert status[0, COCO_17.index["left_wrist"]] == INVERSION


def test_the_same_seed_gives_the_same_poses() -> None:
    group = people(spread(17), np.ones(17, bool), count=5)
    one, other = (synthesise(group, COCO_17, np.random.default_rng(9)) for _ in range(2))
    np.testing.assert_array_equal(one[0], other[0])
    np.testing.assert_array_equal(one[1], other[1])


def obeys(status: int, point: np.ndarray, radii: np.ndarray, own: list, swaps: list) -> bool:
    """The rules of one joint by brute force. own: truth and partner (None without); swaps: other people's anchors."""

    def far_from(anchors: list, limit: float) -> bool:
        return all(np.linalg.norm(point - a) > limit for a in anchors)

    r85, r50, r10 = radii
    present = [a for a in own if a is not None]
    for chosen in {GOOD: own[:1], JITTER: own[:1], INVERSION: own[1:], SWAP: swaps, MISS: present + swaps}[status]:
        r = np.linalg.norm(point - chosen)
        others = [a for a in present + swaps if a is not chosen]
        low, high = {GOOD: (0, r85), JITTER: (r85, r50), MISS: (r50, r10)}.get(status, (0, r50))
        limit = r50 if status == MISS else r
        if low <= r <= high and far_from(present if status == SWAP else others, limit):
            return True
    return False


@pytest.mark.parametrize("status", range(5), ids=ERROR_CLASSES)
@pytest.mark.parametrize("keypoints", [COCO_17, UNION_19], ids=lambda s: s.name)
def test_every_point_obeys_the_rules_of_its_status(status: int, keypoints: KeypointSet) -> None:
    rng = np.random.default_rng(status)
    batch, joints = 20, len(keypoints)
    base, near = rng.random((batch, joints, 2)) * 60, rng.random((batch, 3, joints, 2)) * 60  # everything overlaps
    group = People(
        base, rng.random((batch, joints)) < 0.7, near, rng.random((batch, 3, joints)) < 0.5, np.full(batch, 9e3)
    )
    position, drawn = synthesise(group, keypoints, rng, always(status, batch, joints))
    radii = np.stack([similarity_distance(ks, keypoints.sigmas, group.area) for ks in (0.85, 0.5, 0.1)], -1)
    for b, k in np.argwhere(drawn >= 0):
        flip = keypoints.flip_index[k]
        columns = (k, flip) if flip != k else (k,)
        swaps = [near[b, m, c] for c in columns for m in range(3) if group.near_labelled[b, m, c]]
        partner = base[b, flip] if flip != k and group.labelled[b, flip] else None
        assert obeys(status, position[b, k], radii[b, k], [base[b, k], partner], swaps)
    assert 0.2 < (drawn == status).mean() <= 1


@pytest.mark.skipif(not GOLDEN.is_file(), reason="no ../shared/golden beside the checkout")
@pytest.mark.parametrize("person", ["isolated17", "near2_valid8", "isolated4"])
def test_synthesis_has_the_recorded_statistics(person: str) -> None:
    golden = {key.removeprefix(f"{person}_"): value for key, value in np.load(GOLDEN).items()}
    labelled, near = golden["joints"][:, 2] > 0, golden["near"]
    count = 3000
    group = people(golden["base"], labelled, near[..., :2], float(golden["area"]), count)
    group = replace(group, near_labelled=np.repeat((near[..., 2] > 0)[None], count, 0))
    position, drawn = synthesise(group, COCO_17, np.random.default_rng(5))
    ks = similarity(position, golden["base"], COCO_17.sigmas, float(golden["area"]))
    # Joints that the released code treats alike: a right one's partner is not corrupted yet, no partner is unlabelled.
    left = [j for j in range(17) if j == 0 or j % 2 or not labelled[j - 1]]
    joints = [0, 1, 5, 11] if person == "near2_valid8" else left
    order = [list(golden["status_names"]).index(name) for name in ERROR_CLASSES]
    p_values = []
    for joint in joints:
        ours = [(drawn[:, joint] == status).sum() for status in range(5)]
        p_values.append(same_distribution(np.array(ours), golden["status_count"][joint, order]))
        for status in range(5):
            histogram, _ = np.histogram(ks[drawn[:, joint] == status, joint], golden["ks_edges"])
            p_values.append(same_distribution(histogram, golden["ks_hist"][joint, order[status]]))
    # Some hundred tests with a fixed seed.
    assert min(p_values) > 1e-4
    assert np.mean(p_values) > 0.3
