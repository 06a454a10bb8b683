"""How figures move: a walker who crosses the scene, waves and turns round, and poses drawn at random."""

from dataclasses import dataclass

import numpy as np

from posefix_track.figures.body import Arm, Leg, Pose

FRAMES_PER_SECOND = 30
# In statures: about 1.4 m/s, and one cycle of two steps for an adult of 1.75 m.
_SPEED = 0.8
_CYCLE = 0.82
_ACCELERATION = 1.1
_TURN_RATE = 3.2
WALKING_YAW = 1.25
_PAUSE_SECONDS = (1.2, 2.6)


@dataclass
class Walker:
    """A person who walks to and fro between two places, and now and then stops and waves.

    Attributes:
        x: place on the path in statures; speed: statures a second, negative to the left.
        low, high: ends of the path in statures.
        heading: -1 walks to the left, 1 to the right.
        walks_for: seconds until the next pause; pauses_for: seconds that the pause still lasts.
        turns_away: turns round with the back to the viewer.
    """

    rng: np.random.Generator
    x: float
    low: float
    high: float
    heading: int
    pace: float
    walks_for: float
    pauses_for: float = 0.0
    speed: float = 0.0
    yaw: float = 0.0
    phase: float = 0.0
    waving: float = 0.0
    seconds: float = 0.0
    waving_side: str = "right"
    turns_away: bool = False

    def step(self) -> Pose:
        """Move on by one frame of 1/30 s; returns the pose there."""
        dt = 1 / FRAMES_PER_SECOND
        self.seconds += dt
        self._decide(dt)
        pausing = self.pauses_for > 0
        wanted = 0.0 if pausing else self.heading * _SPEED * self.pace
        self.speed += float(np.clip(wanted - self.speed, -_ACCELERATION * dt, _ACCELERATION * dt))
        self.x += self.speed * dt
        self.phase += abs(self.speed) * dt / _CYCLE * 2 * np.pi
        facing = self._facing(pausing)
        self.yaw += float(np.clip(facing - self.yaw, -_TURN_RATE * dt, _TURN_RATE * dt))
        self.waving += float(np.clip(pausing - self.waving, -2.5 * dt, 2.5 * dt))
        return self._pose()

    def _facing(self, pausing: bool) -> float:
        """Yaw to turn to: to the viewer in a pause, else ahead and a little to the viewer, so that faces are seen."""
        if pausing:
            return float(2 * np.pi * round(self.yaw / (2 * np.pi)))
        to_left = 2 * np.pi - WALKING_YAW if self.turns_away else -WALKING_YAW
        return WALKING_YAW if self.heading > 0 else to_left

    def _decide(self, dt: float) -> None:
        if (self.x > self.high and self.heading > 0) or (self.x < self.low and self.heading < 0):
            self.heading = -self.heading
        if self.pauses_for > 0:
            self.pauses_for -= dt
            return
        self.walks_for -= dt
        if self.walks_for < 0:
            self.walks_for = float(self.rng.uniform(2.5, 6))
            self.pauses_for = float(self.rng.uniform(*_PAUSE_SECONDS))
            self.waving_side = str(self.rng.choice(["left", "right"]))

    def _pose(self) -> Pose:
        pose = walking(self.phase, min(1.0, abs(self.speed) / _SPEED), self.yaw)
        raised = self.waving * self.waving * (3 - 2 * self.waving)
        arm = pose.arms[self.waving_side]
        wave = 0.45 * np.sin(self.seconds * 9)
        lifted = Arm(arm.flex * (1 - raised) + 0.25 * raised, arm.abduct + raised * 2.0, arm.twist + raised * -1.5,
                     arm.elbow + raised * (0.9 + wave))  # fmt: skip
        arms = {**pose.arms, self.waving_side: lifted}
        return Pose(pose.yaw, lean=pose.lean, spin=pose.spin, head_yaw=pose.head_yaw, arms=arms, legs=pose.legs)


def walking(phase: float, amount: float, yaw: float) -> Pose:
    """One moment of the gait cycle.

    Args:
        phase: radians; the left leg is in front at pi / 2.
        amount: 0 stands still, 1 walks briskly.
        yaw: turn of the body, radians.
    """
    arms, legs = {}, {}
    for side, at in (("left", phase), ("right", phase + np.pi)):
        swing = np.sin(at) * amount
        # The knee bends while its leg comes forward, a little ahead of the middle of the swing.
        knee = 0.06 + amount * (0.10 + 0.95 * max(0.0, float(np.cos(at + 0.35))) ** 1.5)
        legs[side] = Leg(0.06 * amount + 0.44 * swing, 0.03, knee, 0.15 * swing)
        arms[side] = Arm(-0.45 * swing, 0.12, 0.0, 0.15 + amount * (0.22 - 0.18 * float(np.sin(at))))
    spin = 0.12 * float(np.sin(phase)) * amount
    return Pose(yaw, lean=0.05 * amount, spin=spin, head_yaw=-spin - 0.25 * float(np.sin(yaw)), arms=arms, legs=legs)


def random_pose(rng: np.random.Generator) -> Pose:
    """A pose within the joints' usual ranges: half of them walk or stand, the others move freely."""
    yaw = float(rng.normal(0, 0.7)) if rng.random() < 0.5 else float(rng.uniform(-np.pi, np.pi))
    roll = float(rng.normal(0, 0.07)) if rng.random() < 0.9 else float(rng.uniform(-np.pi, np.pi))
    base = walking(float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0, 1)), yaw)
    free_legs, free_arms = rng.random() < 0.5, rng.random() < 0.7
    return Pose(
        yaw,
        pitch=float(rng.normal(0.08, 0.15)),
        roll=roll,
        lean=float(np.clip(rng.normal(0.15, 0.25), -0.3, 1.1)) if free_legs else base.lean,
        sway=float(rng.normal(0, 0.1)),
        spin=float(rng.normal(0, 0.2)),
        head_yaw=float(np.clip(rng.normal(0, 0.4), -1.1, 1.1)),
        head_pitch=float(np.clip(rng.normal(0.05, 0.2), -0.5, 0.7)),
        head_roll=float(rng.normal(0, 0.12)),
        arms={side: _random_arm(rng) if free_arms else arm for side, arm in base.arms.items()},
        legs={side: _random_leg(rng) if free_legs else leg for side, leg in base.legs.items()},
    )


def _random_arm(rng: np.random.Generator) -> Arm:
    return Arm(
        flex=float(np.clip(rng.normal(0.4, 0.8), -0.7, 2.9)),
        abduct=float(np.clip(abs(rng.normal(0.1, 0.7)), 0.05, 2.5)),
        twist=float(rng.uniform(-1.2, 0.8)),
        elbow=float(np.clip(rng.normal(0.9, 0.7), 0.0, 2.4)),
    )


def _random_leg(rng: np.random.Generator) -> Leg:
    flex = float(np.clip(rng.normal(0.4, 0.55), -0.5, 1.9))
    # Whoever lifts a thigh usually bends the knee, too.
    knee = float(np.clip(flex + rng.normal(0.1, 0.5), 0.02, 2.2))
    return Leg(flex, float(np.clip(abs(rng.normal(0.08, 0.2)), 0.0, 0.8)), knee, float(rng.normal(0, 0.2)))
