"""What the synthesis of pose errors is made of: people, the five statuses, their probabilities and distances.

Numbers are those of PoseFix's released code; the paper gives none of the probabilities.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from posefix_track.keypoints import KeypointSet

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Int = npt.NDArray[np.int64]

_FACE, _SHOULDER, _ARM, _HIP, _KNEE, _ANKLE = range(6)
_GROUPS = {
    "nose": _FACE, "eye": _FACE, "ear": _FACE, "head_bottom": _FACE, "head_top": _FACE, "head": _FACE,
    "shoulder": _SHOULDER, "elbow": _ARM, "wrist": _ARM, "hip": _HIP, "knee": _KNEE, "ankle": _ANKLE,
}  # fmt: skip
# Probabilities by group (face, shoulder, elbow/wrist, hip, knee, ankle) and by visible joints: <= 5, 6..10, >= 11.
_JITTER = np.array([[0.20, 0.20, 0.20, 0.25, 0.15, 0.15]] * 2 + [[0.15, 0.15, 0.15, 0.20, 0.10, 0.10]])
_MISS = np.array(
    [[0.15, 0.20, 0.25, 0.25, 0.25, 0.20], [0.10, 0.13, 0.15, 0.15, 0.15, 0.13], [0.02, 0.05, 0.10, 0.10, 0.10, 0.05]]
)
_INVERSION = np.array([0.01, 0.03, 0.03, 0.06, 0.06, 0.06])
_SWAP = np.array([[0.01, 0.06, 0.06, 0.03, 0.03, 0.03], [0.02, 0.15, 0.15, 0.10, 0.10, 0.10]])  # free, crowded


@dataclass(frozen=True)
class People:
    """What synthesis needs to know of B people, in any pixel frame.

    Attributes:
        base: float64 [B, K, 2], where each joint is, or is taken to be where it is not labelled.
        labelled: bool [B, K], joints whose truth is known.
        near: float64 [B, M, K, 2], joints of up to M people near by.
        near_labelled: bool [B, M, K].
        area: float64 [B], of the tight person box in square pixels of the same frame.
    """

    base: Float64
    labelled: Bool
    near: Float64
    near_labelled: Bool
    area: Float64


@dataclass(frozen=True)
class SynthesisRules:
    """Where the released code and the paper part from a clean reading of the method; all off by default.

    Attributes:
        corrupted_partners: the released code overwrites joints in place, so the later joint of a left/right pair sees
            its partner where synthesis has put it.
        first_swapped_partner_repels: the released code finds the partner by its place in the list of anchors; where
            the partner is not labelled, the first swapped partner is there, and pushes swaps away in its stead.
        paper_radii: inversions and swaps keep off their anchor like a jitter, KS in [.5, .85], as the paper says; the
            released code has KS in [.5, 1].
    """

    corrupted_partners: bool = False
    first_swapped_partner_repels: bool = False
    paper_radii: bool = False


def similarity_distance(similarity: float, sigmas: Float64, area: Float64) -> Float64:
    """Distance at which each joint has this keypoint similarity: sqrt(-2 area (2 sigma)^2 ln KS), pixels [B, K]."""
    return np.asarray(2 * sigmas * np.sqrt(-2 * area[:, None] * np.log(similarity)))


def status_probabilities(keypoints: KeypointSet, visible: Int, overlap: Int) -> Float64:
    """Probabilities of the five statuses before unavailable ones are removed, float64 [B, K, 5].

    Args:
        keypoints: the joints' names decide their groups.
        visible: [B], number of labelled joints.
        overlap: [B], number of people near by.
    """
    groups = joint_groups(keypoints)
    band = np.digitize(visible, [6, 11])
    crowded = ((visible <= 10) & (overlap > 0)) | ((visible <= 15) & (overlap >= 3))
    jitter = _JITTER[band][:, groups]
    # The released code gives the nose the jitter of the knees, unlike the rest of the face.
    jitter[:, [i for i, name in enumerate(keypoints.joints) if name == "nose"]] -= 0.05
    errors = [
        jitter,
        np.broadcast_to(_INVERSION[groups], jitter.shape),
        _SWAP[crowded.astype(int)][:, groups],
        _MISS[band][:, groups],
    ]
    return np.stack([1 - sum(errors), *errors], -1)


def joint_groups(keypoints: KeypointSet) -> Int:
    """int64 [K]: joints of the same number go wrong alike (face, shoulder, elbow and wrist, hip, knee, ankle)."""
    parts = (name.removeprefix("left_").removeprefix("right_") for name in keypoints.joints)
    return np.array([_GROUPS.get(part, _HIP) for part in parts])
