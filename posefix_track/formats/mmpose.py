"""MMPose 1.x: the inferencer's JSON list of frames, and the JSON object of its demo scripts.

File format: mmpose/structures/utils.py (split_instances), demo/topdown_demo_with_mmdet.py. The two count frames
differently: the inferencer from 0, the demo from 1.
"""

from typing import Any

from posefix_track.formats.number_text import NumberText
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
    if type(tree) is dict:
        return "instance_info" in tree
    return type(tree) is list and bool(tree) and type(tree[0]) is dict and {"frame_id", "instances"} <= tree[0].keys()


def _read(source: Source, options: Options) -> PoseFile:
    text = source.texts[0]
    is_demo = type(text.tree) is dict
    entries, place = (text.record(text.tree, "", "instance_info")["instance_info"], "instance_info") if is_demo else (
        text.tree, "")  # fmt: skip
    records = [
        (f"{place}[{i}]", text.record(entry, f"{place}[{i}]", "frame_id", "instances"))
        for i, entry in enumerate(text.items(entries, place))
    ]
    numbers = [text.index(record["frame_id"], f"{where}.frame_id") for where, record in records]
    first = 1 if is_demo and min(numbers, default=1) > 0 else 0
    frames = [_frame(text, record, where, number - first)
              for (where, record), number in zip(records, numbers, strict=True)]  # fmt: skip
    joints = JointNames(options.keypoints, _joint_names(text) if is_demo else None)
    return pose_file("mmpose", source.path, [text], {"": frames}, joints)


def _frame(text: NumberText, record: dict[str, Any], where: str, frame_index: int) -> FrameRows:
    frame = FrameRows(frame_index=frame_index)
    for i, instance in enumerate(text.items(record["instances"], f"{where}.instances")):
        frame.add(read_instance(text, instance, f"{where}.instances[{i}]"))
    return frame


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
    names = meta.get("keypoint_id2name") if type(meta) is dict else None
    if type(names) is not dict:
        return None
    listed = tuple(name for i in range(len(names)) if isinstance(name := names.get(str(i)), str))
    return listed if len(listed) == len(names) else None


FORMAT = Format("mmpose", "MMPose inferencer or demo JSON of a video", "json", _matches, _read)
