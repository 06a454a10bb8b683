"""Poses of any format written anew as another tool's file.

Unlike refined poses, which go back into the very file they came from, a converted file only has what a PoseFile knows:
joints, scores, ids and frames. What the target has no place for is left out and named.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from posefix_track.errors import InputError, ResourceError, UsageError
from posefix_track.formats import PoseFile
from posefix_track.formats.atomic import write_file, write_folder
from posefix_track.formats.native import native_bytes
from posefix_track.keypoints import (
    BODY_25,
    COCO_17,
    COCO_18,
    HALPE_26,
    MPII_16,
    POSETRACK_18,
    WHOLEBODY_133,
    KeypointSet,
)
from posefix_track.new_files import alphapose, coco, file_name, openpose, posetrack18
from posefix_track.poses import FramePoses, PoseSequence


@dataclass(frozen=True)
class _Target:
    """A format to write.

    Attributes:
        files: file name -> bytes of one sequence, which is called by the second argument.
        suffix: of a sequence's file; "" for a folder.
        sets: keypoint sets that the format is known for; others become the first. Empty: any.
    """

    files: Callable[[PoseSequence, str], dict[str, bytes]]
    suffix: str
    sets: tuple[KeypointSet, ...] = ()


def known_targets() -> dict[str, str]:
    """Name of each format that ``convert`` writes -> suffix of its file, "" for a folder."""
    return {name: target.suffix for name, target in _TARGETS.items()}


def convert(source: PoseFile, output: Path, to: str, video: Mapping[str, Any] | None = None) -> list[str]:
    """Writes the poses of ``source`` as a new file of the format ``to``.

    Joints are matched by name; those that only the target has are absent. Several sequences go into a folder, one file
    each. Files of OpenPose always form a folder.

    Args:
        source: the poses.
        output: a file, or a folder where there are several files.
        to: one of ``known_targets``.
        video: what posefix_track's own format is to say about the frames (path, width, height, fps, ...).

    Returns:
        one sentence for each kind of thing that was left out or made up.

    Raises:
        UsageError: ``to`` is not known, or ``output`` is the source.
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
    mapped = [_mapped(sequence, _target_set(sequence.keypoint_set, target.sets)) for sequence in source.sequences]
    _write(output, _all_files(target, mapped, source.path), is_folder=not target.suffix or len(mapped) != 1)
    return _notes(source.sequences, mapped, to)


def _target_set(given: KeypointSet, known: Sequence[KeypointSet]) -> KeypointSet:
    return given if not known or given in known else known[0]


def _mapped(sequence: PoseSequence, target: KeypointSet) -> PoseSequence:
    """The same people with the joints of ``target``; those that the source lacks are NaN."""
    if target == sequence.keypoint_set:
        return sequence
    places = target.map_from(sequence.keypoint_set)
    frames = []
    for frame in sequence.frames:
        keypoints = np.where((places < 0)[:, None], np.float32(np.nan), frame.keypoints[:, places])
        scores = None if frame.scores is None else np.where(places < 0, np.float32(0), frame.scores[:, places])
        frames.append(replace(frame, keypoints=keypoints, scores=scores))
    return replace(sequence, keypoint_set=target, frames=tuple(frames))


def _all_files(target: _Target, sequences: Sequence[PoseSequence], source: Path) -> dict[str, bytes]:
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
        if is_folder:
            write_folder(output, files)
        else:
            write_file(output, next(iter(files.values())))
    except OSError as error:
        raise ResourceError(f"cannot write {output}: {error.strerror or error}") from error


def _notes(given: Sequence[PoseSequence], mapped: Sequence[PoseSequence], to: str) -> list[str]:
    frames = [frame for sequence in given for frame in sequence.frames]
    people = [frame for frame in frames if len(frame)]
    notes = [f"joints left out: {', '.join(lost)}"] if (lost := _lost_joints(given, mapped)) else []
    if to in ("coco", "alphapose") and len(people) < len(frames):
        notes.append(f"{len(frames) - len(people)} frames without people left out")
    if to in ("coco", "alphapose") and any(frame.person_scores is None for frame in people):
        notes.append("person scores are the mean of the joint scores, since the input has none")
    if to in ("coco", "alphapose", "openpose") and any(frame.scores is None for frame in people):
        notes.append("joint scores are 1, since the input has none")
    if to == "openpose" and any(frame.person_scores is not None for frame in people):
        notes.append("person scores left out")
    if to in ("openpose", "posetrack18") and not all(map(_has_whole_ids, people)):
        notes.append("track ids that are no whole numbers were numbered in the order of appearance")
    if to == "posetrack18" and any(frame.track_ids is None for frame in people):
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


_TARGETS = {
    "posefix": _Target(lambda sequence, name: {name: native_bytes(sequence, {})}, ".jsonl"),
    "coco": _Target(coco, ".json", (COCO_17,)),
    "posetrack18": _Target(posetrack18, ".json", (POSETRACK_18,)),
    "openpose": _Target(openpose, "", (BODY_25, COCO_18, HALPE_26)),
    "alphapose": _Target(alphapose, ".json", (COCO_17, MPII_16, HALPE_26, WHOLEBODY_133)),
}
