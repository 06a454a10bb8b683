"""Annotations of any known layout, pictures and estimators' poses -> a data set of people in union-19 joints."""

from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from posefix_track.errors import InputError
from posefix_track.keypoints import keypoint_set
from trainer.coco_data import read_coco
from trainer.estimates import read_estimates
from trainer.images import Images, Pictures
from trainer.json_files import read_json
from trainer.mpii_data import read_mat, read_mpii_json
from trainer.people import Persons, Picture, Pose, person_table
from trainer.posetrack_data import read_posetrack
from trainer.recipe import DataConfig


@dataclass(frozen=True)
class Dataset:
    """People and where their pictures are; how many annotations were skipped, by reason."""

    people: Persons
    images: Pictures
    weight: float
    skipped: Mapping[str, int] = field(default_factory=dict)

    def summary(self) -> str:
        """Such as "4632 people, 3 skipped (2 no such picture, 1 a box without area)"."""
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.skipped.items())
        return f"{len(self.people)} people" + (f", {sum(self.skipped.values())} skipped ({reasons})" if reasons else "")


def load_dataset(config: DataConfig, root: Path) -> Dataset:
    """Read one data set. People whose image is missing or whose annotation is unusable are skipped and counted.

    Raises:
        InputError: naming a file that is not what it should be.
    """
    path = root / config.annotations
    images = Images(root / name for name in config.images)
    pictures, unusable, poses = _annotations(path, config.neighbour_frames)
    files = (config.estimates,) if isinstance(config.estimates, str) else config.estimates
    estimates = [root / name for name in files if name]
    for person, found in read_estimates(estimates, keypoint_set(config.estimate_keypoints), pictures).items():
        poses[person] = [*poses.get(person, []), *found]
    if poses:
        _check_ids(pictures, path)
    at_hand = [bool(picture.people) and picture.name in images for picture in pictures]
    people, skipped = person_table(pictures, at_hand, poses)
    skipped += unusable
    if not people:
        raise InputError(f"{path}: nobody to train on; skipped: {dict(skipped)}; see if the images are there")
    return Dataset(people, images, config.weight, skipped)


def _annotations(path: Path, neighbours: bool) -> tuple[list[Picture], Counter[str], dict[Hashable, list[Pose]]]:
    """Pictures, skipped annotations and poses from neighbouring frames. The layout is told from the content."""
    if path.is_dir():
        pictures, skipped, poses = read_posetrack(path)
        return pictures, skipped, poses if neighbours else {}
    if neighbours:
        raise InputError(f"{path}: neighbour_frames needs tracks: a folder of PoseTrack 2018 files")
    if path.suffix == ".mat":
        return read_mat(path), Counter(), {}
    content = read_json(path)
    if isinstance(content, list):
        return read_mpii_json(content, str(path)), Counter(), {}
    return *read_coco(content, str(path)), {}


def _check_ids(pictures: list[Picture], path: Path) -> None:
    """Raises InputError where two annotations have one id, so that nobody can tell whose a pose is."""
    counts = Counter(one.id for picture in pictures for one in picture.people)
    repeated = [(number, count) for number, count in counts.most_common(1) if count > 1]
    if repeated:
        raise InputError(f"{path}: {repeated[0][1]} annotations have the id {repeated[0][0]}; make ids unique")
