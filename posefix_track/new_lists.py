"""New JSON files in the formats of more tools, see new_files.py."""

from typing import Any

import numpy as np
import numpy.typing as npt

from posefix_track.formats.rounding import rounded_joints
from posefix_track.new_files import (
    dumped,
    frame_number,
    image_name,
    numbered,
    openpose_files,
    person_score,
    posetrack18_content,
    track_id,
)
from posefix_track.poses import FramePoses, PoseSequence

_Joints = npt.NDArray[np.float64]


def box_of(joints: _Joints) -> tuple[float, float, float, float]:
    """x1, y1, x2, y2 round the present of joints [K, 3]; zeros where there are none."""
    found = joints[joints[:, 2] > 0, :2]
    if not len(found):
        return 0.0, 0.0, 0.0, 0.0
    (x1, y1), (x2, y2) = found.min(0).tolist(), found.max(0).tolist()
    return x1, y1, x2, y2


def posetrack21(sequence: PoseSequence, name: str) -> dict[str, bytes]:
    """A PoseTrack21 prediction file; the same people in several videos are not known, so person_id is the track's."""
    content = posetrack18_content(sequence, name)
    for annotation in content["annotations"]:
        annotation["person_id"] = annotation.get("track_id", 0)
    labelled = {annotation["image_id"] for annotation in content["annotations"]}
    for image in content["images"]:
        image["has_labeled_person"] = image["id"] in labelled
    return {name: dumped(content)}


def posetrack17(sequence: PoseSequence, name: str) -> dict[str, bytes]:
    """A PoseTrack 2017 prediction file; images are numbered from 1, and absent joints are left out."""
    stem = name.removesuffix(".json")
    entries = []
    for frame in numbered(sequence).frames:
        number = frame_number(frame, "PoseTrack 2017") + 1
        people = [_annorect(frame, i, joints) for i, joints in enumerate(rounded_joints(frame))]
        image = {"name": f"images/{stem}/{number:08d}.jpg"}
        entries.append({"image": [image], "imgnum": [number + 1], "annorect": people})
    return {name: dumped({"annolist": entries})}


def _annorect(frame: FramePoses, i: int, joints: _Joints) -> dict[str, Any]:
    points = [
        {"id": [j], "x": [x], "y": [y], "score": [score]} for j, (x, y, score) in enumerate(joints.tolist()) if score
    ]
    person: dict[str, Any] = {"score": [person_score(frame, i, joints)], "annopoints": [{"point": points}]}
    found = track_id(frame, i)
    return person if found is None else {**person, "track_id": [found]}


def alphapose_cmu(sequence: PoseSequence, name: str) -> dict[str, bytes]:
    """AlphaPose's ``--format cmu``."""
    return {name: _by_image(sequence, "bodies", "joints")}


def alphapose_open(sequence: PoseSequence, name: str) -> dict[str, bytes]:
    """AlphaPose's ``--format open``."""
    return {name: _by_image(sequence, "people", "pose_keypoints_2d")}


def _by_image(sequence: PoseSequence, people: str, joints: str) -> bytes:
    return dumped(
        {
            image_name(frame, "{}.jpg"): {
                "version": "AlphaPose v0.3",
                people: [{joints: found.ravel().tolist()} for found in rounded_joints(frame)],
            }
            for frame in sequence.frames
        }
    )


def poseflow(sequence: PoseSequence, name: str) -> dict[str, bytes]:
    """PoseFlow's tracks."""
    content: dict[str, list[dict[str, Any]]] = {}
    for frame in numbered(sequence).frames:
        people = content.setdefault(image_name(frame, "{}.jpg"), [])
        for i, joints in enumerate(rounded_joints(frame)):
            found = track_id(frame, i)
            person = {"keypoints": joints.ravel().tolist(), "scores": person_score(frame, i, joints)}
            people.append(person if found is None else {**person, "idx": found})
    return {name: dumped(content)}


def mmpose(sequence: PoseSequence, name: str) -> dict[str, bytes]:
    """The list that MMPose's inferencer writes of a video."""
    frames = [{"frame_id": frame_number(f, "MMPose"), "instances": _instances(f)} for f in sequence.frames]
    return {name: dumped(frames)}


def mmpose_image(sequence: PoseSequence, name: str) -> dict[str, bytes]:
    """The files that MMPose's inferencer writes of images."""
    return {f"{name}_{frame_number(f, 'MMPose'):06d}.json": dumped(_instances(f)) for f in sequence.frames}


def _instances(frame: FramePoses) -> list[dict[str, Any]]:
    people = []
    for i, joints in enumerate(rounded_joints(frame)):
        person: dict[str, Any] = {"keypoints": joints[:, :2].tolist(), "keypoint_scores": joints[:, 2].tolist()}
        person |= {"bbox": [list(box_of(joints))], "bbox_score": person_score(frame, i, joints)}
        found = track_id(frame, i)
        people.append(person if found is None else {**person, "track_id": found})
    return people


def ultralytics_json(sequence: PoseSequence, name: str) -> dict[str, bytes]:
    """One list a frame from frame 0 on, as nothing else says which frame it is."""
    found: dict[int, list[dict[str, Any]]] = {}
    for frame in sequence.frames:
        people = found.setdefault(frame_number(frame, "Ultralytics"), [])
        people += [_summary(frame, i, joints) for i, joints in enumerate(rounded_joints(frame))]
    return {name: dumped([found.get(number, []) for number in range(max(found, default=-1) + 1)])}


def _summary(frame: FramePoses, i: int, joints: _Joints) -> dict[str, Any]:
    xs, ys, visible = joints.T.tolist()
    person: dict[str, Any] = {"name": "person", "class": 0, "confidence": person_score(frame, i, joints)}
    person["box"] = dict(zip(("x1", "y1", "x2", "y2"), box_of(joints), strict=True))
    found = track_id(frame, i)
    person |= {} if found is None else {"track_id": found}
    return {**person, "keypoints": {"x": xs, "y": ys, "visible": visible}}


def openpifpaf(sequence: PoseSequence, name: str) -> dict[str, bytes]:
    """JSON lines as openpifpaf writes them of a video, numbered from 1."""
    lines = []
    for frame in numbered(sequence).frames:
        people = [_prediction(frame, i, joints) for i, joints in enumerate(rounded_joints(frame))]
        lines.append(dumped({"frame": frame_number(frame, "openpifpaf") + 1, "predictions": people}) + b"\n")
    return {name: b"".join(lines)}


def _prediction(frame: FramePoses, i: int, joints: _Joints) -> dict[str, Any]:
    x1, y1, x2, y2 = box_of(joints)
    box = [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)]
    person: dict[str, Any] = {"keypoints": joints.ravel().tolist(), "bbox": box}
    person |= {"score": person_score(frame, i, joints), "category_id": 1}
    found = track_id(frame, i)
    return person if found is None else {**person, "id_": found}


def pose2sim(sequence: PoseSequence, name: str) -> dict[str, bytes]:
    """One OpenPose file a frame with Pose2Sim's names. Raises InputError when two frames would have the same."""
    return openpose_files(sequence, lambda frame: f"{name}_{frame_number(frame, 'Pose2Sim'):06d}.json")


def mediapipe(sequence: PoseSequence, name: str, size: tuple[int, int]) -> dict[str, bytes]:
    """One list of poses a frame from frame 0 on; ``size`` is (height, width). An absent joint has visibility 0."""
    found: dict[int, list[Any]] = {}
    for frame in sequence.frames:
        shares = rounded_joints(frame) / (size[1], size[0], 1)
        found.setdefault(frame_number(frame, "MediaPipe"), []).extend(
            [{"x": float(f"{x:.6g}"), "y": float(f"{y:.6g}"), "z": 0.0, "visibility": s} for x, y, s in pose]
            for pose in shares.tolist()
        )
    return {name: dumped([found.get(number, []) for number in range(max(found, default=-1) + 1)])}
