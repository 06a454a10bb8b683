"""Poses of any format written anew as another tool's file.

Unlike refined poses, which go back into the very file they came from, a converted file only has what a PoseFile knows:
joints, scores, ids and frames. What the target has no place for is left out and named.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from posefix_track.errors import InputError, ResourceError, UsageError
from posefix_track.formats import PoseFile
from posefix_track.formats.atomic import write_file, write_folder
from posefix_track.formats.native import native_bytes
from posefix_track.formats.source import Options
from posefix_track.keypoints import (
    BODY_25,
    COCO_17,
    COCO_18,
    HALPE_26,
    MEDIAPIPE_33,
    MPII_16,
    POSETRACK_17,
    POSETRACK_18,
    WHOLEBODY_133,
    KeypointSet,
)
from posefix_track.new_files import alphapose, coco, file_name, openpose, posetrack18
from posefix_track.new_hdf5 import deeplabcut_h5, sleap_h5
from posefix_track.new_lists import (
    alphapose_cmu,
    alphapose_open,
    mediapipe,
    mmpose,
    mmpose_image,
    openpifpaf,
    pose2sim,
    poseflow,
    posetrack17,
    posetrack21,
    ultralytics_json,
)
from posefix_track.new_tables import deeplabcut, sleap, ultralytics
from posefix_track.poses import FramePoses, PoseSequence

Files = Callable[[PoseSequence, str], dict[str, bytes]]


@dataclass(frozen=True)
class Target:
    """A format to write.

    Attributes:
        files: file name -> bytes of one sequence, which is called by the second argument.
        suffix: of a sequence's file; "" for a folder.
        sets: keypoint sets that the format is known for; others become the first. Empty: any.
        reader: the format's name where it is read; None where that is the same.
        ids: whether it holds track ids of "any" kind, only "whole" numbers, or "none".
        person_scores: whether people have a score, and whether they "must".
        joint_scores: whether joints must have a score.
        empty_frames: whether it holds frames without people.
        sized: makes ``files`` from (height, width), where coordinates are divided by the frame size.
    """

    files: Files
    suffix: str
    sets: tuple[KeypointSet, ...] = ()
    reader: str | None = None
    ids: Literal["any", "whole", "none"] = "any"
    person_scores: Literal["may", "must", "none"] = "must"
    joint_scores: bool = True
    empty_frames: bool = True
    sized: Callable[[tuple[int, int]], Files] | None = None


def known_targets() -> dict[str, Target]:
    """Each format that ``convert`` writes, by its name."""
    return dict(_TARGETS)


def convert(
    source: PoseFile,
    output: Path,
    to: str,
    video: Mapping[str, Any] | None = None,
    frame_size: tuple[int, int] | None = None,
) -> list[str]:
    """Writes the poses of ``source`` as a new file of the format ``to``.

    Joints are matched by name; those that only the target has are absent. Several sequences go into a folder, one file
    each. Formats with one file a frame always form a folder.

    Args:
        source: the poses.
        output: a file, or a folder where there are several files.
        to: one of ``known_targets``.
        video: what posefix_track's own format is to say about the frames (path, width, height, fps, ...).
        frame_size: (height, width) of the video in pixels; only formats that divide by it need it.

    Returns:
        one sentence for each kind of thing that was left out or made up.

    Raises:
        UsageError: ``to`` is not known, ``output`` is the source, or ``frame_size`` is needed and missing.
        InputError: the target needs what the source does not have, such as frame numbers.
        ResourceError: the disk does not take it.
    """
    if to not in _TARGETS:
        raise UsageError(f"cannot write the format {to!r}; known are {', '.join(_TARGETS)}")
    if output.resolve() == source.path.resolve():
        raise UsageError(f"{output} is the input itself; choose another output")
    target = _TARGETS[to]
    if to == "posefix" and video:
        target = replace(target, files=lambda sequence, name: {name: native_bytes(sequence, video)})
    if target.sized is not None:
        target = replace(
            target, files=target.sized(Options(frame_size=frame_size).size(source.path, f"{to} coordinates"))
        )
    mapped = [_mapped(sequence, _target_set(sequence.keypoint_set, target.sets)) for sequence in source.sequences]
    _write(output, _all_files(target, mapped, source.path), is_folder=not target.suffix or len(mapped) != 1)
    return _notes(source.sequences, mapped, target, to)


def _target_set(given: KeypointSet, known: Sequence[KeypointSet]) -> KeypointSet:
    return given if not known or given in known else known[0]


def _mapped(sequence: PoseSequence, target: KeypointSet) -> PoseSequence:
    """The same people with the joints of ``target``; those that the source lacks are NaN, but for the neck."""
    if target == sequence.keypoint_set:
        return sequence
    places = target.map_from(sequence.keypoint_set)
    middle = _middle(target, sequence.keypoint_set)
    frames = []
    for frame in sequence.frames:
        keypoints = np.where((places < 0)[:, None], np.float32(np.nan), frame.keypoints[:, places])
        scores = None if frame.scores is None else np.where(places < 0, np.float32(0), frame.scores[:, places])
        for joint, sides in middle.items():
            keypoints[:, joint] = frame.keypoints[:, sides].mean(1)
            keypoints[~frame.present[:, sides].all(1), joint] = np.nan
            if scores is not None:
                scores[:, joint] = frame.scores[:, sides].mean(1) if frame.scores is not None else 0
        frames.append(replace(frame, keypoints=keypoints, scores=scores))
    return replace(sequence, keypoint_set=target, frames=tuple(frames))


def _middle(target: KeypointSet, source: KeypointSet) -> dict[int, list[int]]:
    """AlphaPose's neck in COCO-18 is nothing but the middle of the shoulders: target joint -> the source's two."""
    sides = [source.index.get(f"{side}_shoulder", -1) for side in ("left", "right")]
    return {} if target != COCO_18 or "neck" in source.index or min(sides) < 0 else {target.index["neck"]: sides}


def _all_files(target: Target, sequences: Sequence[PoseSequence], source: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for sequence in sequences:
        name = file_name(sequence.name or source.stem) + target.suffix
        made = target.files(sequence, name)
        if files.keys() & made.keys():
            raise InputError(f"{source}: two sequences would be written to {min(files.keys() & made.keys())}")
        files |= made
    return files


def _write(output: Path, files: Mapping[str, bytes], is_folder: bool) -> None:
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        if is_folder:
            write_folder(output, files)
        else:
            write_file(output, next(iter(files.values())))
    except OSError as error:
        raise ResourceError(f"cannot write {output}: {error.strerror or error}") from error


def _notes(given: Sequence[PoseSequence], mapped: Sequence[PoseSequence], target: Target, to: str) -> list[str]:
    frames = [frame for sequence in given for frame in sequence.frames]
    people = [frame for frame in frames if len(frame)]
    notes = [f"joints left out: {', '.join(lost)}"] if (lost := _lost_joints(given, mapped)) else []
    if not target.empty_frames and len(people) < len(frames):
        notes.append(f"{len(frames) - len(people)} frames without people left out")
    if target.person_scores == "must" and any(frame.person_scores is None for frame in people):
        notes.append("person scores are the mean of the joint scores, since the input has none")
    if target.joint_scores and any(frame.scores is None for frame in people):
        notes.append("joint scores are 1, since the input has none")
    if target.person_scores == "none" and any(frame.person_scores is not None for frame in people):
        notes.append("person scores left out")
    if target.ids == "none" and any(frame.track_ids is not None for frame in people):
        notes.append("track ids left out")
    if target.ids == "whole" and not all(map(_has_whole_ids, people)):
        notes.append("track ids that are no whole numbers were numbered in the order of appearance")
    if to.startswith("posetrack") and any(frame.track_ids is None for frame in people):
        notes.append("there are no track ids, which PoseTrack's evaluation needs")
    return notes


def _lost_joints(given: Sequence[PoseSequence], mapped: Sequence[PoseSequence]) -> list[str]:
    lost: dict[str, None] = {}
    for before, after in zip(given, mapped, strict=True):
        alive = set(after.keypoint_set.joints) - set(after.keypoint_set.dead)
        known = before.keypoint_set
        lost |= dict.fromkeys(j for j in known.joints if j not in alive and j not in known.dead)
    return [*lost]


def _has_whole_ids(frame: FramePoses) -> bool:
    return all(i is None or (type(i) is int and i >= 0) for i in frame.track_ids or ())


def _native(sequence: PoseSequence, name: str) -> dict[str, bytes]:
    return {name: native_bytes(sequence, {})}


def _divided(files: Callable[[PoseSequence, str, tuple[int, int]], dict[str, bytes]]) -> dict[str, Any]:
    """Arguments of a target whose coordinates are divided by the frame size."""

    def without_size(sequence: PoseSequence, name: str) -> dict[str, bytes]:
        raise UsageError(f"{name}: coordinates are divided by the frame size, which is not known")

    return {"files": without_size, "sized": lambda size: lambda sequence, name: files(sequence, name, size)}


_OPENPOSE = (BODY_25, COCO_18, HALPE_26)
_ALPHAPOSE = (COCO_17, MPII_16, HALPE_26, WHOLEBODY_133)
_POSETRACK: dict[str, Any] = {"ids": "whole", "person_scores": "may", "joint_scores": False}
_CMU: dict[str, Any] = {"sets": (COCO_18,), "reader": "alphapose_cmu", "ids": "none", "person_scores": "none"}
_TARGETS = {
    "posefix": Target(_native, ".jsonl", person_scores="may", joint_scores=False),
    "coco": Target(coco, ".json", (COCO_17,), empty_frames=False),
    "posetrack18": Target(posetrack18, ".json", (POSETRACK_18,), **_POSETRACK),
    "posetrack21": Target(posetrack21, ".json", (POSETRACK_18,), **_POSETRACK),
    "posetrack17": Target(posetrack17, ".json", (POSETRACK_17,), ids="whole"),
    "openpose": Target(openpose, "", _OPENPOSE, ids="whole", person_scores="none"),
    "pose2sim": Target(
        pose2sim, "", (*_OPENPOSE, COCO_17, WHOLEBODY_133), reader="openpose", ids="whole", person_scores="none"
    ),
    "alphapose": Target(alphapose, ".json", _ALPHAPOSE, empty_frames=False),
    "alphapose_cmu": Target(alphapose_cmu, ".json", **_CMU),
    "alphapose_open": Target(alphapose_open, ".json", **_CMU),
    "poseflow": Target(poseflow, ".json", _ALPHAPOSE, ids="whole"),
    "mmpose": Target(mmpose, ".json"),
    "mmpose_image": Target(mmpose_image, ""),
    "openpifpaf": Target(openpifpaf, ".json", (COCO_17, WHOLEBODY_133, POSETRACK_18), ids="whole"),
    "ultralytics": Target(**_divided(ultralytics), suffix="", ids="whole", empty_frames=False),
    "ultralytics_json": Target(ultralytics_json, ".json"),
    "deeplabcut": Target(deeplabcut, ".csv", person_scores="none"),
    "deeplabcut_h5": Target(deeplabcut_h5, ".h5", person_scores="none"),
    "sleap": Target(sleap, ".csv", empty_frames=False),
    "sleap_h5": Target(sleap_h5, ".h5", empty_frames=False),
    "mediapipe": Target(**_divided(mediapipe), suffix=".json", sets=(MEDIAPIPE_33,), ids="none", person_scores="none"),
}
