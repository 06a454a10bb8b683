"""Drawn figures as a data set: every joint's truth is exact, also where it is hidden."""

import numpy as np
import numpy.typing as npt

from posefix_track.errors import InputError
from posefix_track.figures import FigureFrame, render_person
from trainer.datasets import Dataset
from trainer.people import Person

_SIZE = (256, 256)


class _Pictures:
    """Pictures held in memory, by number."""

    def __init__(self, pictures: list[npt.NDArray[np.uint8]]) -> None:
        self._pictures = pictures

    def read(self, name: str, shrink: int = 1) -> tuple[npt.NDArray[np.uint8], int]:
        """Picture number ``name``, never shrunk. Raises InputError where there is none."""
        if not name.isdecimal() or int(name) >= len(self._pictures):
            raise InputError(f"no rendered picture {name!r}; there are {len(self._pictures)}")
        return self._pictures[int(name)], 1


def rendered_dataset(pictures: int, weight: float, seed: int) -> Dataset:
    """``pictures`` drawings of one or two people each; the same for the same seed."""
    rng = np.random.default_rng(seed)
    frames = [render_person(rng, _SIZE) for _ in range(pictures)]
    people = [person for i, frame in enumerate(frames) for person in _people(str(i), frame)]
    return Dataset(people, _Pictures([frame.image for frame in frames]), weight)


def _people(name: str, frame: FigureFrame) -> list[Person]:
    keypoints = frame.keypoints.astype(np.float64)
    result = []
    for i, visible in enumerate(frame.visible):
        if visible.sum() < 6:
            continue
        others = [j for j in range(len(keypoints)) if j != i]
        person = Person(
            image=name, keypoints=keypoints[i], labelled=visible, near=keypoints[others],
            near_labelled=frame.visible[others], estimates=np.zeros((0, 19, 2)), estimated=np.zeros((0, 19), bool),
            bbox_xyxy=frame.bbox_xyxy[i].astype(np.float64),
        )  # fmt: skip
        result.append(person)
    return result
