"""From people as a reader finds them, one by one, to the columns of a PoseFile."""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from posefix_track.errors import InputError
from posefix_track.formats.number_text import NumberText, Ordinals, is_list
from posefix_track.formats.pose_file import Cells, PoseFile
from posefix_track.keypoints import KEYPOINT_SETS, KeypointSet, keypoint_set, keypoint_set_by_count
from posefix_track.poses import Float, FramePoses, PoseSequence

# Two lists of joint names mean the same set when this much of them agrees; tools spell single joints differently.
_SAME_SET_SHARE = 0.75


@dataclass(frozen=True, slots=True)
class Person:
    """One person of one frame: ordinals of coordinates [K, 2], joint scores [K] and its own score, and who it is.

    -1 stands for a number that the file leaves out.
    """

    where: str
    keypoints: Ordinals
    scores: Ordinals | None = None
    person_score: int | None = None
    track_id: Hashable = None


@dataclass(frozen=True, slots=True)
class FrameRows:
    """One frame: which text of the file it stands in, what it shows, and its people."""

    text: int = 0
    frame_index: int | None = None
    image_name: str | None = None
    people: list[Person] = field(default_factory=list)

    def add(self, person: Person) -> None:
        """Appends a person, unless it has no joints at all, such as one of whom OpenPose has only found the hands."""
        if len(person.keypoints):
            self.people.append(person)


@dataclass(frozen=True)
class JointNames:
    """What is known about the joints besides their number: what the user says, what the file says, what is usual."""

    asked: str | None = None
    stated: tuple[str, ...] | None = None
    usual: KeypointSet | None = None


def flat_triplets(text: NumberText, value: Any, where: str) -> tuple[Ordinals, Ordinals]:
    """Ordinals [K, 2] and [K] from a flat list x, y, score, x, y, score, ..."""
    ordinals = text.ordinals(value, where)
    if len(ordinals) % 3:
        raise text.error(where, f"expected x, y, score for each joint, got {len(ordinals)} numbers")
    triplets = ordinals.reshape(-1, 3)
    return triplets[:, :2], triplets[:, 2]


def nested_joints(text: NumberText, value: Any, where: str, *, with_scores: bool) -> Ordinals:
    """Ordinals [K, 2] or [K, 3] from a list of [x, y] or [x, y, score] lists."""
    joints = text.items(value, where)
    lengths = {len(joint) if is_list(joint) else 0 for joint in joints} or {2}
    allowed = ({2}, {3}) if with_scores else ({2},)
    if lengths not in allowed:
        raise text.error(where, f"expected a list of {'[x, y, score]' if with_scores else '[x, y]'} for each joint")
    return text.ordinals([number for joint in joints for number in joint], where).reshape(len(joints), max(lengths))


def optional_score(text: NumberText, record: Mapping[str, Any], key: str, where: str) -> int | None:
    """The ordinal of a person's score, where there is one."""
    return text.ordinal(record[key], f"{where}.{key}") if key in record else None


def optional_id(text: NumberText, record: Mapping[str, Any], key: str, where: str) -> Hashable:
    """A person's track id, where there is one."""
    return text.scalar(record[key], f"{where}.{key}") if key in record else None


def pose_file(
    name: str,
    path: Path,
    texts: Sequence[NumberText],
    videos: Mapping[str, Sequence[FrameRows]],
    joints: JointNames,
    scale: tuple[float, float] | None = None,
) -> PoseFile:
    """The columns of all ``videos`` (name -> frames), whose people are used up.

    Raises InputError when people have different joint counts, or no keypoint set has that count.
    """
    count = _joint_count(path, _people(videos))
    chosen = chosen_set(path, count, joints)
    columns = _Columns(texts, len(chosen), _has_scores(texts, videos), _has(_people(videos), "person_score"),
                       _has(_people(videos), "track_id"), scale or (1.0, 1.0))  # fmt: skip
    built = {video: [columns.frame(rows) for rows in frames] for video, frames in videos.items()}
    sequences = tuple(
        PoseSequence(chosen, tuple(frame for frame, _ in frames), name=video if len(built) > 1 else "")
        for video, frames in built.items()
    )
    cells = tuple(tuple(cells for _, cells in frames) for frames in built.values())
    return PoseFile(name, path, sequences, tuple(texts), cells, scale)


def _people(videos: Mapping[str, Sequence[FrameRows]]) -> Iterator[Person]:
    return (person for frames in videos.values() for frame in frames for person in frame.people)


def _joint_count(path: Path, people: Iterable[Person]) -> int | None:
    counts = {len(person.keypoints): person.where for person in people}
    if len(counts) > 1:
        listed = ", ".join(f"{count} ({where})" for count, where in list(counts.items())[:3])
        raise InputError(f"{path}: people have different numbers of joints: {listed}; one file must use one set")
    return next(iter(counts), None)


def chosen_set(path: Path, count: int | None, joints: JointNames) -> KeypointSet:
    """The keypoint set of people with ``count`` joints; None where there is nobody. Raises InputError for no set."""
    if joints.asked is not None:
        asked = keypoint_set(joints.asked)
        if count not in (None, len(asked)):
            raise InputError(f"{path}: people have {count} joints, but {asked.name} has {len(asked)}")
        return asked
    if joints.stated and count in (None, len(joints.stated)):
        return set_by_names(joints.stated, path)
    if joints.usual and count in (None, len(joints.usual)):
        return joints.usual
    return keypoint_set_by_count(17 if count is None else count, str(path))


def set_by_names(names: Sequence[str], path: Path) -> KeypointSet:
    """The registered set that these joint names mean, else a set of their own called "custom"."""
    if len(set(names)) < len(names):
        raise InputError(f"{path}: joint names must be unique, got {', '.join(names)[:200]}")
    alike = {s: sum(a == b for a, b in zip(s.joints, names, strict=True))
             for s in KEYPOINT_SETS.values() if len(s) == len(names)}  # fmt: skip
    best = max(alike, key=lambda s: alike[s], default=None)
    if best is None or alike[best] < _SAME_SET_SHARE * len(names):
        return KeypointSet("custom", tuple(names))
    return best


def _has(people: Iterable[Person], attribute: str) -> bool:
    return any(getattr(person, attribute) is not None for person in people)


def _has_scores(texts: Sequence[NumberText], videos: Mapping[str, Sequence[FrameRows]]) -> bool:
    """Whether the file has joint scores that say anything: a column of zeros is a flag that nobody has filled in."""
    return any(
        (_known(texts[frame.text].values, person.scores) > 0).any()
        for frames in videos.values()
        for frame in frames
        for person in frame.people
        if person.scores is not None
    )


@dataclass(frozen=True)
class _Columns:
    """Which columns the frames of a file have, so that all frames have the same."""

    texts: Sequence[NumberText]
    joints: int
    scores: bool
    person_scores: bool
    track_ids: bool
    scale: tuple[float, float]

    def frame(self, rows: FrameRows) -> tuple[FramePoses, Cells]:
        values, people = self.texts[rows.text].values, rows.people
        keypoints = np.array([p.keypoints for p in people], dtype=np.int32).reshape(len(people), self.joints, 2)
        scores = self._score_ordinals(people) if self.scores else None
        person_scores = _person_score_ordinals(people) if self.person_scores else None
        frame = FramePoses(
            keypoints=_float32(_known(values, keypoints) * self.scale),
            frame_index=rows.frame_index,
            image_name=rows.image_name,
            # A person without joint scores among others that have them: nothing speaks against its joints.
            scores=None if scores is None else _float32(np.where(scores < 0, 1.0, values[scores])),
            person_scores=None if person_scores is None else _known(values, person_scores),
            track_ids=tuple(p.track_id for p in people) if self.track_ids else None,
        )
        cells = Cells(rows.text, keypoints, scores, person_scores)
        # A large file's people are taken apart one frame after the other: both forms of all would not fit.
        people.clear()
        return frame, cells

    def _score_ordinals(self, people: Sequence[Person]) -> Ordinals:
        none = np.full(self.joints, -1, np.int32)
        rows = [none if person.scores is None else person.scores for person in people]
        return np.array(rows, dtype=np.int32).reshape(len(people), self.joints)


def _known(values: npt.NDArray[np.float32], ordinals: Ordinals) -> npt.NDArray[np.float32]:
    """The numbers at ``ordinals``, NaN for those that the file leaves out."""
    return np.where(ordinals < 0, np.float32(np.nan), values[ordinals])


def _person_score_ordinals(people: Sequence[Person]) -> Ordinals:
    return np.array([-1 if p.person_score is None else p.person_score for p in people], dtype=np.int32)


def _float32(values: npt.NDArray[np.floating[Any]]) -> Float:
    # A number too large for float32 becomes infinite: an absent joint, as any other that is not finite.
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(np.float32)
