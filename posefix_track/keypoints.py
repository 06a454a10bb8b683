"""Named keypoint sets: order, flip pairs, limbs, OKS sigmas, and maps between sets by name.

A joint has one canonical name in every set, so a map between two sets is a dictionary look-up. Joints that look alike
but are annotated differently keep different names: ``head_bottom`` (upper neck; PoseTrack, MPII, LSP) is not ``neck``
(mid-shoulder; OpenPose, Halpe).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from posefix_track.errors import InputError

_BODY_SIGMAS = {
    # COCO's own constants (pycocotools). OKS uses k = 2 * sigma.
    "nose": 0.026, "eye": 0.025, "ear": 0.035, "shoulder": 0.079, "elbow": 0.072, "wrist": 0.062,
    "hip": 0.107, "knee": 0.087, "ankle": 0.089,
    # PoseTrack has no official OKS sigmas; these are openpifpaf's for its PoseTrack joints.
    "head_bottom": 0.08, "head_top": 0.06,
    # COCO-WholeBody's foot constants.
    "big_toe": 0.068, "small_toe": 0.066, "heel": 0.092,
}  # fmt: skip
# Centre joints that no benchmark gives a sigma for take that of the nearest joint of COCO.
_CENTRE_SIGMAS = {
    "neck": 0.079, "thorax": 0.079, "neck_base": 0.079, "spine": 0.107, "pelvis": 0.107, "mid_hip": 0.107,
    "head": 0.06, "face": 0.01, "hand": 0.025,
}  # fmt: skip

_LIMBS = (
    ("nose", "left_eye"), ("nose", "right_eye"), ("left_eye", "left_ear"), ("right_eye", "right_ear"),
    ("left_shoulder", "right_shoulder"), ("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"),
    ("right_shoulder", "right_elbow"), ("right_elbow", "right_wrist"), ("left_shoulder", "left_hip"),
    ("right_shoulder", "right_hip"), ("left_hip", "right_hip"), ("left_hip", "left_knee"), ("left_knee", "left_ankle"),
    ("right_hip", "right_knee"), ("right_knee", "right_ankle"), ("head_bottom", "head_top"), ("nose", "head_bottom"),
    ("neck", "nose"), ("neck", "mid_hip"), ("neck", "pelvis"), ("pelvis", "thorax"), ("thorax", "head_bottom"),
    ("pelvis", "spine"), ("spine", "thorax"), ("thorax", "neck_base"), ("neck_base", "head"),
    ("left_ankle", "left_big_toe"), ("left_big_toe", "left_small_toe"), ("left_ankle", "left_heel"),
    ("right_ankle", "right_big_toe"), ("right_big_toe", "right_small_toe"), ("right_ankle", "right_heel"),
)  # fmt: skip


def _sigma(name: str) -> float:
    part = name.removeprefix("left_").removeprefix("right_")
    for table in (_BODY_SIGMAS, _CENTRE_SIGMAS):
        if part in table:
            return table[part]
    # Joints of other tools that no table knows count like shoulders.
    return _CENTRE_SIGMAS.get(part.split("_")[0], _BODY_SIGMAS["shoulder"])


def _mirrored(name: str) -> str:
    if name.startswith("left_"):
        return "right_" + name.removeprefix("left_")
    if name.startswith("right_"):
        return "left_" + name.removeprefix("right_")
    return _FACE_MIRROR.get(name, name)


@dataclass(frozen=True)
class KeypointSet:
    """An ordered set of named joints.

    Attributes:
        name: what users type, such as ``coco17``.
        joints: canonical joint names in file order; K of them.
        dead: joints that have a slot but never a position (PoseTrack's ears).
    """

    name: str
    joints: tuple[str, ...]
    dead: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.joints)

    @cached_property
    def index(self) -> dict[str, int]:
        """Joint name -> position in the set."""
        return {joint: i for i, joint in enumerate(self.joints)}

    @cached_property
    def sigmas(self) -> npt.NDArray[np.float64]:
        """OKS sigmas, float64 [K]."""
        return np.array([_sigma(joint) for joint in self.joints])

    @cached_property
    def flip_index(self) -> npt.NDArray[np.int64]:
        """int64 [K]: where each joint's left/right partner stands (itself for centre joints)."""
        return np.array([self.index.get(_mirrored(joint), i) for i, joint in enumerate(self.joints)])

    @cached_property
    def flip_pairs(self) -> tuple[tuple[int, int], ...]:
        """(left, right) positions of the joints that exchange places in a mirrored image."""
        return tuple((i, int(j)) for i, j in enumerate(self.flip_index) if i < j and self.joints[i] not in self.dead)

    @cached_property
    def limbs(self) -> tuple[tuple[int, int], ...]:
        """Pairs of positions to draw a line between."""
        index = {joint: i for joint, i in self.index.items() if joint not in self.dead}
        return tuple((index[a], index[b]) for a, b in _LIMBS if a in index and b in index)

    def map_from(self, source: "KeypointSet") -> npt.NDArray[np.int64]:
        """int64 [K]: for each joint of this set its position in ``source``, or -1 where ``source`` lacks it."""
        index = {joint: i for joint, i in source.index.items() if joint not in source.dead}
        return np.array([-1 if joint in self.dead else index.get(joint, -1) for joint in self.joints])


def _sides(*parts: str) -> tuple[str, ...]:
    return tuple(f"{side}_{part}" for part in parts for side in ("left", "right"))


def _side(side: str, *parts: str) -> tuple[str, ...]:
    return tuple(f"{side}_{part}" for part in parts)


def _face_mirror() -> dict[str, str]:
    """Partner of each paired one of the 68 face landmarks (iBUG order) in a mirrored image."""
    pairs = [(i, 16 - i) for i in range(8)] + [(17 + i, 26 - i) for i in range(5)] + [(31, 35), (32, 34)]
    pairs += [(36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)]
    pairs += [(48, 54), (49, 53), (50, 52), (55, 59), (56, 58), (60, 64), (61, 63), (65, 67)]
    return {f"face_{a}": f"face_{b}" for pair in pairs for a, b in (pair, pair[::-1])}


_FACE_MIRROR = _face_mirror()
_LIMB_PARTS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
_COCO = ("nose", *_sides("eye", "ear", *_LIMB_PARTS))
_LEGS = (*_side("right", "ankle", "knee", "hip"), *_side("left", "hip", "knee", "ankle"))
_ARMS = (*_side("right", "wrist", "elbow", "shoulder"), *_side("left", "shoulder", "elbow", "wrist"))
_OPENPOSE_ARMS = ("nose", "neck", *_side("right", "shoulder", "elbow", "wrist"), *_side("left", *_LIMB_PARTS[:3]))
_OPENPOSE_LEGS = (*_side("right", "hip", "knee", "ankle"), *_side("left", "hip", "knee", "ankle"))
_OPENPOSE_FACE = ("right_eye", "left_eye", "right_ear", "left_ear")
_TOES = ("big_toe", "small_toe", "heel")

COCO_17 = KeypointSet("coco17", _COCO)
POSETRACK_18 = KeypointSet(
    "posetrack18", ("nose", "head_bottom", "head_top", *_COCO[3:]), dead=("left_ear", "right_ear")
)
UNION_19 = KeypointSet("union19", (*_COCO, "head_bottom", "head_top"))
MPII_16 = KeypointSet("mpii16", (*_LEGS, "pelvis", "thorax", "head_bottom", "head_top", *_ARMS))
LSP_14 = KeypointSet("lsp14", (*_LEGS, *_ARMS, "head_bottom", "head_top"))
BODY_25 = KeypointSet(
    "body25",
    (*_OPENPOSE_ARMS, "mid_hip", *_OPENPOSE_LEGS, *_OPENPOSE_FACE, *_side("left", *_TOES), *_side("right", *_TOES)),
)
COCO_18 = KeypointSet("coco18", (*_OPENPOSE_ARMS, *_OPENPOSE_LEGS, *_OPENPOSE_FACE))
HALPE_26 = KeypointSet("halpe26", (*_COCO, "head_top", "neck", "mid_hip", *_sides(*_TOES)))
WHOLEBODY_133 = KeypointSet(
    "wholebody133",
    (
        *_COCO, *_side("left", *_TOES), *_side("right", *_TOES), *(f"face_{i}" for i in range(68)),
        *(f"left_hand_{i}" for i in range(21)), *(f"right_hand_{i}" for i in range(21)),
    ),
)  # fmt: skip
H36M_17 = KeypointSet(
    "h36m17",
    (
        "pelvis", *_side("right", "hip", "knee", "ankle"), *_side("left", "hip", "knee", "ankle"), "spine", "thorax",
        "neck_base", "head", *_side("left", *_LIMB_PARTS[:3]), *_side("right", *_LIMB_PARTS[:3]),
    ),
)  # fmt: skip
POSETRACK_17 = KeypointSet("posetrack17", (*_LEGS, *_ARMS, "head_bottom", "nose", "head_top"))
MEDIAPIPE_33 = KeypointSet(
    "mediapipe33",
    (
        "nose", *_side("left", "eye_inner", "eye", "eye_outer"), *_side("right", "eye_inner", "eye", "eye_outer"),
        *_sides("ear"), *_sides("mouth"), *_sides("shoulder", "elbow", "wrist", "pinky", "index", "thumb"),
        *_sides("hip", "knee", "ankle", "heel", "foot_index"),
    ),
)  # fmt: skip
CROWDPOSE_14 = KeypointSet("crowdpose14", (*_sides(*_LIMB_PARTS), "head_top", "head_bottom"))

KEYPOINT_SETS: dict[str, KeypointSet] = {
    s.name: s
    for s in (
        COCO_17, POSETRACK_18, UNION_19, MPII_16, LSP_14, BODY_25, COCO_18, HALPE_26, WHOLEBODY_133, H36M_17,
        CROWDPOSE_14, POSETRACK_17, MEDIAPIPE_33,
    )
}  # fmt: skip
# A file without joint names is told by its joint count; 17 could also be H36M, 14 CrowdPose: --keypoints decides.
_BY_COUNT = {len(s): s for s in (COCO_17, MPII_16, LSP_14, BODY_25, COCO_18, HALPE_26, WHOLEBODY_133, UNION_19)}


def keypoint_set(name: str) -> KeypointSet:
    """The set called ``name``. Raises InputError that lists the known names."""
    if name not in KEYPOINT_SETS:
        raise InputError(f"unknown keypoint set {name!r}; known sets: {', '.join(KEYPOINT_SETS)}")
    return KEYPOINT_SETS[name]


def keypoint_set_by_count(count: int, where: str) -> KeypointSet:
    """The usual set of ``count`` joints. Raises InputError naming ``where`` and the known counts."""
    if count not in _BY_COUNT:
        known = ", ".join(f"{n} ({s.name})" for n, s in sorted(_BY_COUNT.items()))
        raise InputError(f"{where}: {count} joints a person match no known keypoint set; known: {known}")
    return _BY_COUNT[count]


def keypoint_set_by_joints(joints: Sequence[str]) -> KeypointSet | None:
    """The registered set with exactly these joint names in this order, if any."""
    return next((s for s in KEYPOINT_SETS.values() if s.joints == tuple(joints)), None)
