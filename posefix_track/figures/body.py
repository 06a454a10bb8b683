"""An articulated body: joint angles in, points in space out.

Space has the image's axes: x to the right, y down, z towards the viewer; lengths are in statures (standing height = 1).
Body-fixed vectors are (left, up, forward), a right-handed frame.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

SIDES = ("left", "right")
# Share of stature, after the usual anthropometric tables (Drillis & Contini 1964, rounded).
UPPER_ARM, FOREARM, HAND = 0.172, 0.147, 0.085
THIGH, SHANK, FOOT = 0.243, 0.243, 0.125
ANKLE_HEIGHT, HEEL = 0.042, 0.035
TORSO, NECK = 0.288, 0.052
HEAD_HEIGHT = 0.135


@dataclass(frozen=True)
class Build:
    """Body shape: factors on the average adult's measures."""

    shoulders: float = 1.0
    hips: float = 1.0
    girth: float = 1.0
    head: float = 1.0
    legs: float = 1.0


@dataclass(frozen=True)
class Arm:
    """Angles in radians: flex forward, abduct sideways, twist about the upper arm's axis, elbow bend."""

    flex: float = 0.0
    abduct: float = 0.12
    twist: float = 0.0
    elbow: float = 0.2


@dataclass(frozen=True)
class Leg:
    """Angles in radians: flex forward, abduct sideways, knee bend, foot pitch (toes up)."""

    flex: float = 0.0
    abduct: float = 0.04
    knee: float = 0.05
    foot: float = 0.0


@dataclass(frozen=True)
class Pose:
    """Joint angles of a whole body in radians; all zero is standing upright and facing the viewer.

    Attributes:
        yaw: turn of the body about the vertical: pi / 2 faces the image's right edge, pi shows the back.
        pitch: tilt of the camera: positive looks down on the body.
        roll: fall to the image's right.
        lean, sway, spin: of the chest against the pelvis: forward, to the left, turning left.
        head_yaw, head_pitch, head_roll: of the head against the chest; positive pitch nods down.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    lean: float = 0.0
    sway: float = 0.0
    spin: float = 0.0
    head_yaw: float = 0.0
    head_pitch: float = 0.0
    head_roll: float = 0.0
    arms: Mapping[str, Arm] = field(default_factory=lambda: {side: Arm() for side in SIDES})
    legs: Mapping[str, Leg] = field(default_factory=lambda: {side: Leg() for side in SIDES})


@dataclass(frozen=True)
class Body:
    """A posed body with the middle of its hips at the origin.

    Attributes:
        points: name -> float64 [3]; COCO joints, head_bottom, head_top and helpers (toe, heel, finger, ...).
        torso, head: float64 [3, 3], columns are the left, up and forward directions.
    """

    points: dict[str, Float64]
    torso: Float64
    head: Float64


def pose_body(pose: Pose, build: Build) -> Body:
    """Forward kinematics."""
    root = _turn_roll(pose.roll) @ _tilt(pose.pitch) @ _IMAGE_AXES @ _about_up(pose.yaw)
    torso = root @ _about_up(pose.spin) @ _about_left(pose.lean) @ _about_forward(-pose.sway)
    head = torso @ _about_up(pose.head_yaw) @ _about_left(pose.head_pitch) @ _about_forward(-pose.head_roll)
    points = {"mid_hip": np.zeros(3), "neck": torso @ (0.0, TORSO, 0.0)}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        points |= _leg(root, pose.legs[side], side, sign, build)
        points |= _arm(torso, pose.arms[side], side, sign, build)
    return Body(points | _head(torso, head, build), torso, head)


def _leg(root: Float64, leg: Leg, side: str, sign: float, build: Build) -> dict[str, Float64]:
    hip = root @ (sign * 0.052 * build.hips, 0.0, 0.0)
    thigh = root @ _about_left(-leg.flex) @ _about_forward(sign * leg.abduct)
    shank = thigh @ _about_left(leg.knee)
    foot = shank @ _about_left(-leg.foot)
    knee = hip - thigh[:, 1] * THIGH * build.legs
    ankle = knee - shank[:, 1] * SHANK * build.legs
    heel = ankle + foot @ (0.0, -ANKLE_HEIGHT, -HEEL)
    toe = ankle + foot @ (sign * 0.012, -ANKLE_HEIGHT, FOOT - HEEL)
    named = {"hip": hip, "knee": knee, "ankle": ankle, "heel": heel, "toe": toe}
    return {f"{side}_{part}": point for part, point in named.items()}


def _arm(torso: Float64, arm: Arm, side: str, sign: float, build: Build) -> dict[str, Float64]:
    shoulder = torso @ (sign * 0.097 * build.shoulders, TORSO - 0.030, 0.0)
    upper = torso @ _about_left(-arm.flex) @ _about_forward(sign * arm.abduct) @ _about_up(-sign * arm.twist)
    fore = upper @ _about_left(-arm.elbow)
    elbow = shoulder - upper[:, 1] * UPPER_ARM
    wrist = elbow - fore[:, 1] * FOREARM
    named = {"shoulder": shoulder, "elbow": elbow, "wrist": wrist, "finger": wrist - fore[:, 1] * HAND}
    return {f"{side}_{part}": point for part, point in named.items()}


def _head(torso: Float64, head: Float64, build: Build) -> dict[str, Float64]:
    size = HEAD_HEIGHT * build.head
    bottom = torso @ (0.0, TORSO + NECK, 0.008)
    points = {"head_bottom": bottom, "head_top": bottom + head @ (0.0, size * 1.02, 0.005)}
    # Left, up and forward of the chin's height, in head heights.
    features = {
        "head": (0.0, 0.5, 0.08), "nose": (0.0, 0.34, 0.53), "mouth": (0.0, 0.17, 0.45),
        "left_eye": (0.145, 0.47, 0.44), "right_eye": (-0.145, 0.47, 0.44),
        "left_ear": (0.355, 0.42, 0.02), "right_ear": (-0.355, 0.42, 0.02),
    }  # fmt: skip
    return points | {name: bottom + head @ (np.array(place) * size) for name, place in features.items()}


_IMAGE_AXES = np.diag([1.0, -1.0, 1.0])


def _about_left(angle: float) -> Float64:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def _about_up(angle: float) -> Float64:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def _about_forward(angle: float) -> Float64:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def _tilt(angle: float) -> Float64:
    """About the image's x axis: the top of the body comes towards the viewer."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, s], [0, -s, c]])


def _turn_roll(angle: float) -> Float64:
    """In the image plane, clockwise."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
