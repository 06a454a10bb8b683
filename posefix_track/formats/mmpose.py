"""MMPose 1.x: the inferencer's JSON list of frames, and the JSON object of its demo scripts.

File format: mmpose/structures/utils.py (split_instances), demo/topdown_demo_with_mmdet.py. The two count frames
differently: the inferencer from 0, the demo from 1.
"""

from typing import Any

from posefix_track.formats.number_text import NumberText, is_list, is_object
from posefix_track.formats.pose_file import PoseFile
from posefix_track.formats.rows import (
    FrameRows,
    JointNames,
    Person,
    nested_joints,
    optional_id,
    optional_score,
    pose_file,
)
from posefix_track.formats.source import Format, Options, Source


def _matches(source: Source) -> bool:
    tree = source.trees[0]
    if source.kind != "json" or len(source.texts) > 1:
        return False
    if is_object(tree):
        return "instance_info" in tree
    return is_list(tree) and bool(tree) and is_object(tree[0]) and {"frame_id", "instances"} <= tree[0].keys()


def _read(source: Source, options: Options) -> PoseFile:
    text = source.texts[0]
    is_demo = is_object(text.tree)
    entries, place = (text.record(text.tree, "", "instance_info")["instance_info"], "instance_info") if is_demo else (
        text.tree, "")  # fmt: skip
    frames = [_frame(text, entry, f"{place}[{i}]") for i, entry in enumerate(text.items(entries, place))]
    if is_demo and min((number for number, _ in frames), default=1) > 0:
        frames = [(number - 1, people) for number, people in frames]
    joints = JointNames(options.keypoints, _joint_names(text) if is_demo else None)
    rows = [FrameRows(frame_index=number, people=people) for number, people in frames]
    return pose_file("mmpose", source.path, [text], {"": rows}, joints)


def _frame(text: NumberText, entry: Any, where: str) -> tuple[int, list[Person]]:
    """The frame's number as the file has it, and its people."""
    record = text.record(entry, where, "frame_id", "instances")
    frame = FrameRows()
    for i, instance in enumerate(text.items(record["instances"], f"{where}.instances")):
        frame.add(read_instance(text, instance, f"{where}.instances[{i}]"))
    return text.index(record["frame_id"], f"{where}.frame_id"), frame.people


def read_instance(text: NumberText, instance: Any, where: str) -> Person:
    """The person of one entry of ``instances``."""
    record = text.record(instance, where, "keypoints")
    keypoints = nested_joints(text, record["keypoints"], f"{where}.keypoints", with_scores=False)
    scores = None
    if "keypoint_scores" in record:
        scores = text.ordinals(record["keypoint_scores"], f"{where}.keypoint_scores")
        if len(scores) != len(keypoints):
            raise text.error(f"{where}.keypoint_scores", f"expected {len(keypoints)} scores, got {len(scores)}")
    person_score = optional_score(text, record, "bbox_score", where)
    # MMPose writes no ids; this is where its users put theirs.
    return Person(where, keypoints, scores, person_score, optional_id(text, record, "track_id", where))


def _joint_names(text: NumberText) -> tuple[str, ...] | None:
    """Names from ``meta_info.keypoint_id2name``: {"0": "nose", ...}."""
    meta = text.tree.get("meta_info")
    names = meta.get("keypoint_id2name") if is_object(meta) else None
    if not is_object(names):
        return None
    listed = tuple(name for i in range(len(names)) if isinstance(name := names.get(str(i)), str))
    return listed if len(listed) == len(names) else None


FORMAT = Format("mmpose", "MMPose inferencer or demo JSON of a video", "json", _matches, _read)
