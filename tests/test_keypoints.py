import numpy as np
import pytest

from posefix_track.errors import InputError
from posefix_track.keypoints import (
    BODY_25,
    COCO_17,
    COCO_18,
    CROWDPOSE_14,
    H36M_17,
    HALPE_26,
    KEYPOINT_SETS,
    LSP_14,
    MEDIAPIPE_33,
    MPII_16,
    POSETRACK_17,
    POSETRACK_18,
    UNION_19,
    WHOLEBODY_133,
    KeypointSet,
    keypoint_set,
    keypoint_set_by_count,
    keypoint_set_by_joints,
)

every_set = pytest.mark.parametrize("joints", KEYPOINT_SETS.values(), ids=lambda s: s.name)

_FIRST_17 = " ".join(f"{i}>{i}" for i in range(17))
_MPII_LIMBS = "13>5 12>6 14>7 11>8 15>9 10>10 3>11 2>12 4>13 1>14 5>15 0>16"
_LSP_LIMBS = "9>5 8>6 10>7 7>8 11>9 6>10 3>11 2>12 4>13 1>14 5>15 0>16"
_MEDIAPIPE_JOINTS = "0>0 2>1 5>2 7>3 8>4 11>5 12>6 13>7 14>8 15>9 16>10 23>11 24>12 25>13 26>14 27>15 28>16"
_POSETRACK_LIMBS = "9>5 8>6 10>7 7>8 11>9 6>10 3>11 2>12 4>13 1>14 5>15 0>16"
_CROWDPOSE_LIMBS = " ".join(f"{i}>{i + 5}" for i in range(12))


def test_every_set_has_its_joint_count() -> None:
    counts = [len(s) for s in KEYPOINT_SETS.values()]
    assert counts == [17, 17, 19, 16, 14, 25, 18, 26, 133, 17, 14, 15, 33]


@every_set
def test_joint_names_are_unique(joints: KeypointSet) -> None:
    assert len(set(joints.joints)) == len(joints)


@every_set
def test_flipping_twice_changes_nothing(joints: KeypointSet) -> None:
    np.testing.assert_array_equal(joints.flip_index[joints.flip_index], np.arange(len(joints)))


@every_set
def test_flipping_exchanges_left_and_right(joints: KeypointSet) -> None:
    for name, partner in zip(joints.joints, joints.flip_index, strict=True):
        other = joints.joints[partner]
        if name.startswith(("left_", "right_")):
            assert {name.split("_")[0], other.split("_")[0]} == {"left", "right"}
            assert name.split("_", 1)[1] == other.split("_", 1)[1]
        elif not name.startswith("face_"):
            assert other == name


def test_a_mirrored_face_keeps_its_outline() -> None:
    flip = WHOLEBODY_133.flip_index - 23
    # iBUG order: jaw ends, brow ends, outer eye corners, mouth corners; nose tip and chin are their own partners.
    assert [int(flip[23 + i]) for i in (0, 17, 36, 48, 30, 8)] == [16, 26, 45, 54, 30, 8]


@every_set
def test_flip_pairs_are_the_living_exchanges(joints: KeypointSet) -> None:
    paired = {i for pair in joints.flip_pairs for i in pair}
    moved = {i for i, j in enumerate(joints.flip_index) if i != j and joints.joints[i] not in joints.dead}
    assert paired == moved


def test_posetrack_has_dead_ears_and_no_pair_in_the_head() -> None:
    assert POSETRACK_18.dead == ("left_ear", "right_ear")
    assert POSETRACK_18.flip_pairs == ((5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16))


@every_set
def test_limbs_never_touch_dead_joints(joints: KeypointSet) -> None:
    ends = {joints.joints[i] for limb in joints.limbs for i in limb}
    assert ends
    assert not ends & set(joints.dead)


@every_set
def test_every_joint_has_a_sigma(joints: KeypointSet) -> None:
    assert joints.sigmas.shape == (len(joints),)
    assert (joints.sigmas > 0).all()
    np.testing.assert_array_equal(joints.sigmas, joints.sigmas[joints.flip_index])


def test_dead_joints_are_neither_source_nor_target_of_a_map() -> None:
    ears = [POSETRACK_18.index["left_ear"], POSETRACK_18.index["right_ear"]]
    assert (POSETRACK_18.map_from(COCO_17)[ears] == -1).all()
    assert (COCO_17.map_from(POSETRACK_18)[ears] == -1).all()


@pytest.mark.parametrize(
    ("source", "target", "pairs"),
    [
        (BODY_25, COCO_17, "0>0 16>1 15>2 18>3 17>4 5>5 2>6 6>7 3>8 7>9 4>10 12>11 9>12 13>13 10>14 14>15 11>16"),
        (COCO_18, COCO_17, "0>0 15>1 14>2 17>3 16>4 5>5 2>6 6>7 3>8 7>9 4>10 11>11 8>12 12>13 9>14 13>15 10>16"),
        (HALPE_26, COCO_17, _FIRST_17),
        (HALPE_26, POSETRACK_18, "0>0 17>2 " + " ".join(f"{i}>{i}" for i in range(5, 17))),
        (WHOLEBODY_133, COCO_17, _FIRST_17),
        (MPII_16, COCO_17, _MPII_LIMBS),
        (MPII_16, POSETRACK_18, _MPII_LIMBS + " 8>1 9>2"),
        (LSP_14, COCO_17, _LSP_LIMBS),
        (LSP_14, POSETRACK_18, _LSP_LIMBS + " 12>1 13>2"),
        (H36M_17, COCO_17, "11>5 14>6 12>7 15>8 13>9 16>10 4>11 1>12 5>13 2>14 6>15 3>16"),
        (CROWDPOSE_14, COCO_17, _CROWDPOSE_LIMBS),
        (CROWDPOSE_14, POSETRACK_18, _CROWDPOSE_LIMBS + " 12>2 13>1"),
        (MEDIAPIPE_33, COCO_17, _MEDIAPIPE_JOINTS),
        (POSETRACK_17, COCO_17, "13>0 " + _POSETRACK_LIMBS),
        (POSETRACK_17, POSETRACK_18, "13>0 12>1 14>2 " + _POSETRACK_LIMBS),
        (COCO_17, POSETRACK_18, "0>0 " + " ".join(f"{i}>{i}" for i in range(5, 17))),
        (COCO_17, UNION_19, _FIRST_17),
        (POSETRACK_18, UNION_19, "0>0 1>17 2>18 " + " ".join(f"{i}>{i}" for i in range(5, 17))),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_maps_follow_the_published_orders(source: KeypointSet, target: KeypointSet, pairs: str) -> None:
    expected = [-1] * len(target)
    for pair in pairs.split():
        one, other = pair.split(">")
        expected[int(other)] = int(one)
    assert target.map_from(source).tolist() == expected


@every_set
def test_a_set_maps_to_itself_but_for_dead_joints(joints: KeypointSet) -> None:
    expected = [-1 if name in joints.dead else i for i, name in enumerate(joints.joints)]
    assert joints.map_from(joints).tolist() == expected


def test_an_unknown_name_lists_the_known_sets() -> None:
    with pytest.raises(InputError, match=r"coco71.*coco17, posetrack18, .*crowdpose14"):
        keypoint_set("coco71")


def test_an_unknown_count_names_the_file_and_lists_the_known_counts() -> None:
    with pytest.raises(InputError, match=r"poses\.json: 99 joints.*17 \(coco17\)"):
        keypoint_set_by_count(99, "poses.json")


@pytest.mark.parametrize(("count", "name"), [(17, "coco17"), (14, "lsp14"), (25, "body25"), (133, "wholebody133")])
def test_a_count_means_its_usual_set(count: int, name: str) -> None:
    assert keypoint_set_by_count(count, "poses.json") is keypoint_set(name)


@every_set
def test_joint_names_tell_the_set(joints: KeypointSet) -> None:
    assert keypoint_set_by_joints(list(joints.joints)) is joints
    assert keypoint_set_by_joints(joints.joints[::-1]) is None
