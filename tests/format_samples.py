"""Builds small pose files of every format from one scene, with every number given as the text to write."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from posefix_track.formats import PoseFile, read_poses
from posefix_track.keypoints import POSETRACK_18
from posefix_track.poses import FramePoses
from tests import format_samples_more as more
from tests.format_scene import (
    HEIGHT,
    WIDTH,
    Dump,
    Human,
    Sample,
    Scene,
    Token,
    flat,
    plain_dump,
    simple_scene,
)

__all__ = [
    "BUILDERS", "FLAT", "HEIGHT", "JOINTS", "NORMALISED", "PAIRS", "TEXT_FORMATS", "WIDTH", "WITHOUT_IDS",
    "Human", "Sample", "Scene", "Token", "flat", "frames", "plain_dump", "read_json", "sample_of", "simple_scene",
    "write_folder",
]  # fmt: skip


def coco(scene: Scene, dump: Dump = plain_dump) -> Sample:
    rows = [
        {"image_id": number, "category_id": 1, "track_id": h.track_id, "keypoints": flat(h), "score": h.score}
        for number, people in scene.frames.items()
        for h in people
    ]
    return Sample("coco", {"results.json": dump(rows)})


def alphapose(scene: Scene, dump: Dump = plain_dump) -> Sample:
    rows = [
        {"image_id": f"{number}.jpg", "keypoints": flat(h), "score": h.score, "box": [1, 2, 3, 4], "idx": [h.track_id]}
        for number, people in scene.frames.items()
        for h in people
    ]
    return Sample("alphapose", {"alphapose-results.json": dump(rows)})


def openpose(scene: Scene, dump: Dump = plain_dump) -> Sample:
    files = {}
    for number, people in scene.frames.items():
        people_json = [
            {"person_id": [h.track_id], "pose_keypoints_2d": flat(h), "hand_left_keypoints_2d": [1.5, 2.5, 0.9]}
            for h in people
        ]
        files[f"clip_{number:012d}_keypoints.json"] = dump({"version": 1.3, "people": people_json})
    return Sample("openpose", files)


def posetrack18(scene: Scene, dump: Dump = plain_dump) -> Sample:
    images = [
        {"id": 10128340000 + n, "file_name": f"images/val/012834_mpii_test/{n:06d}.jpg", "vid_id": "012834"}
        for n in scene.frames
    ]
    annotations = [
        {
            "image_id": 10128340000 + number,
            "track_id": h.track_id,
            "keypoints": [value for x, y, _ in h.joints for value in (x, y, 1)],
            "scores": [score for _, _, score in h.joints],
            "score": h.score,
        }
        for number, people in scene.frames.items()
        for h in people
    ]
    categories = [{"id": 1, "name": "person", "keypoints": list(POSETRACK_18.joints)}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    return Sample("posetrack18", {"012834_mpii_test.json": dump(content)})


def _instances(people: list[Human]) -> list[dict[str, Any]]:
    return [
        {
            "keypoints": [[x, y] for x, y, _ in h.joints],
            "keypoint_scores": [score for _, _, score in h.joints],
            "bbox": [[1.0, 2.0, 3.0, 4.0]],
            "bbox_score": h.score,
            "track_id": h.track_id,
        }
        for h in people
    ]


def mmpose(scene: Scene, dump: Dump = plain_dump) -> Sample:
    content = [{"frame_id": number, "instances": _instances(people)} for number, people in scene.frames.items()]
    return Sample("mmpose", {"clip.json": dump(content)})


def mmpose_demo(scene: Scene, dump: Dump = plain_dump) -> Sample:
    frames = [{"frame_id": number + 1, "instances": _instances(people)} for number, people in scene.frames.items()]
    return Sample("mmpose", {"results_clip.json": dump({"meta_info": {"dataset": "any"}, "instance_info": frames})})


def native(scene: Scene, dump: Dump = plain_dump) -> Sample:
    def one_line(value: Any) -> str:
        return dump(value).replace("\n", " ")

    header = {"format": "posefix_track", "version": 1, "video": {}, "keypoints": list(POSETRACK_18.joints)}
    frames = [
        {
            "frame": number,
            "poses": [{"id": h.track_id, "score": h.score, "keypoints": [list(j) for j in h.joints]} for h in people],
        }
        for number, people in scene.frames.items()
    ]
    return Sample("posefix", {"clip.jsonl": "\n".join([plain_dump(header), *map(one_line, frames)]) + "\n"})


def ultralytics(scene: Scene, dump: Dump = plain_dump) -> Sample:
    """Coordinates are divided by the frame size; ``dump`` only matters for the white space between columns."""
    files = {}
    for number, people in scene.frames.items():
        rows = []
        for h in people:
            joints = [
                text for x, y, s in h.joints for text in (_share(x, WIDTH), _share(y, HEIGHT), s.text)
            ]  # fmt: skip
            rows.append(" ".join(["0", "0.5", "0.5", "0.2", "0.4", *joints, h.score.text, str(h.track_id)]))
        if rows:
            files[f"clip_{number + 1}.txt"] = "".join(row + "\n" for row in rows)
    return Sample("ultralytics", files, {"frame_size": (HEIGHT, WIDTH)})


def _share(token: Token, length: int) -> str:
    return f"{float(token) / length:.6g}"


BUILDERS: dict[str, Callable[..., Sample]] = {
    "coco": coco, "alphapose": alphapose, "openpose": openpose, "posetrack18": posetrack18, "mmpose": mmpose,
    "mmpose_demo": mmpose_demo, "posefix": native, "ultralytics": ultralytics,
    **more.BUILDERS,
}  # fmt: skip
# How many joints a builder wants its people to have; 17 for all others.
JOINTS = {"posetrack17": 15, "alphapose_cmu": 18, "alphapose_open": 18, "mediapipe": 33}
WITHOUT_IDS = {"alphapose_cmu", "alphapose_open", "mediapipe"}
# Neither JSON nor in need of any white space but the builder's own.
TEXT_FORMATS = {"ultralytics", "deeplabcut", "sleap"}
NORMALISED = {"ultralytics", "mediapipe"}


def sample_of(name: str) -> Sample:
    """The simple scene in the format ``name``."""
    return BUILDERS[name](simple_scene(JOINTS.get(name, 17)))


FLAT = [float(number) for number in flat(simple_scene().frames[0][0])]
PAIRS = [FLAT[i : i + 2] for i in range(0, 51, 3)]


def read_json(folder: Path, content: Any, **options: Any) -> PoseFile:
    """Reads ``content`` from a file in ``folder``."""
    path = folder / "poses.json"
    path.write_text(json.dumps(content))
    return read_poses(path, **options)


def write_folder(folder: Path, files: dict[str, Any]) -> Path:
    """Writes each of ``files``, as text or as JSON."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def frames(poses: PoseFile) -> tuple[FramePoses, ...]:
    """The frames of the only sequence."""
    (sequence,) = poses.sequences
    return sequence.frames
