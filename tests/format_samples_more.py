"""Sample builders of the formats that fewer people use, see format_samples.py."""

from collections.abc import Callable
from typing import Any

from tests.format_scene import HEIGHT, WIDTH, Dump, Human, Sample, Scene, Token, flat, plain_dump


def posetrack21(scene: Scene, dump: Dump = plain_dump) -> Sample:
    images = [
        {"id": n, "file_name": f"images/val/a_mpii/{n:06d}.jpg", "has_labeled_person": True} for n in scene.frames
    ]
    people = [
        {
            "image_id": number,
            "track_id": h.track_id,
            "person_id": 100 + h.track_id,
            "keypoints": [value for x, y, _ in h.joints for value in (x, y, 1)],
            "scores": [score for _, _, score in h.joints],
        }
        for number, humans in scene.frames.items()
        for h in humans
    ]
    return Sample("posetrack21", {"a_mpii.json": dump({"images": images, "annotations": people})})


def posetrack17(scene: Scene, dump: Dump = plain_dump) -> Sample:
    def person(h: Human) -> dict[str, Any]:
        points = [
            {"id": [i], "x": [x], "y": [y], "score": [s], "is_visible": [1]} for i, (x, y, s) in enumerate(h.joints)
        ]
        box = {"x1": [1], "y1": [2], "x2": [3], "y2": [4], "score": [h.score], "track_id": [h.track_id]}
        return {**box, "annopoints": [{"point": points}]}

    entries = [
        {"image": [{"name": f"images/a/{n + 1:08d}.jpg"}], "imgnum": [n + 2], "annorect": [person(h) for h in humans]}
        for n, humans in scene.frames.items()
    ]
    return Sample("posetrack17", {"a.json": dump({"annolist": entries})})


def openpifpaf(scene: Scene, dump: Dump = plain_dump) -> Sample:
    lines = [
        {
            "frame": number + 1,
            "predictions": [
                {"keypoints": flat(h), "bbox": [1, 2, 3, 4], "score": h.score, "category_id": 1, "id_": h.track_id}
                for h in humans
            ],
        }
        for number, humans in scene.frames.items()
    ]
    if not lines:
        return Sample("openpifpaf", {})
    text = "".join(dump(line).replace("\r", " ").replace("\n", " ") + "\n" for line in lines)
    return Sample("openpifpaf", {"clip.mp4.openpifpaf.json": text})


def alphapose_cmu(scene: Scene, _: Dump = plain_dump) -> Sample:
    """Every key is an image's name, so there can be no unknown ones."""
    content = {
        f"{n}.jpg": {"version": "AlphaPose v0.3", "bodies": [{"joints": flat(h)} for h in humans]}
        for n, humans in scene.frames.items()
    }
    return Sample("alphapose_cmu", {"alphapose-results.json": plain_dump(content)})


def alphapose_open(scene: Scene, _: Dump = plain_dump) -> Sample:
    content = {
        f"{n}.jpg": {"version": "AlphaPose v0.3", "people": [{"pose_keypoints_2d": flat(h)} for h in humans]}
        for n, humans in scene.frames.items()
    }
    return Sample("alphapose_cmu", {"alphapose-results.json": plain_dump(content)})


def poseflow(scene: Scene, _: Dump = plain_dump) -> Sample:
    content = {
        f"{n}.jpg": [{"keypoints": flat(h), "scores": h.score, "idx": h.track_id} for h in humans]
        for n, humans in scene.frames.items()
    }
    return Sample("poseflow", {"alphapose-results-forvis-tracked.json": plain_dump(content)})


def mmpose_image(scene: Scene, dump: Dump = plain_dump) -> Sample:
    files = {
        f"{number:06d}.json": dump(
            [
                {
                    "keypoints": [[x, y] for x, y, _ in h.joints],
                    "keypoint_scores": [s for _, _, s in h.joints],
                    "track_id": h.track_id,
                }
                for h in humans
            ]
        )
        for number, humans in scene.frames.items()
    }
    return Sample("mmpose_image", files)


def ultralytics_json(scene: Scene, dump: Dump = plain_dump) -> Sample:
    def person(h: Human) -> dict[str, Any]:
        xs, ys, scores = (list(column) for column in zip(*h.joints, strict=True))
        joints = {"x": xs, "y": ys, "visible": scores}
        return {"name": "person", "class": 0, "confidence": h.score, "track_id": h.track_id, "keypoints": joints}

    last = max(scene.frames, default=-1)
    # The frame size only matters for scenes that happen to be within one pixel.
    frames = [[person(h) for h in scene.frames.get(number, [])] for number in range(last + 1)]
    return Sample("ultralytics_json", {"results.json": dump(frames)}, {"frame_size": (1, 1)})


def mediapipe(scene: Scene, dump: Dump = plain_dump) -> Sample:
    def pose(h: Human) -> list[dict[str, Any]]:
        return [
            {"x": _share(x, WIDTH), "y": _share(y, HEIGHT), "z": Token("-0.25"), "visibility": s}
            for x, y, s in h.joints
        ]

    last = max(scene.frames, default=-1)
    frames = [[pose(h) for h in scene.frames.get(number, [])] for number in range(last + 1)]
    return Sample("mediapipe", {"landmarks.json": dump(frames)}, {"frame_size": (HEIGHT, WIDTH)})


def _share(token: Token, length: int) -> Token:
    return Token(f"{float(token) / length:.6g}")


# What users call COCO's joints.
NAMES = (
    "nose", "LEye", "REye", "left ear", "right_ear", "LShoulder", "r_shoulder", "leftElbow", "elbow_r", "l_wri",
    "RWrist", "L.Hip", "R.Hip", "lknee", "rknee", "leftankle", "rightankle",
)  # fmt: skip


def deeplabcut(scene: Scene, _: Dump = plain_dump) -> Sample:
    """Each id of the scene must be there at most once a frame; people come in the order of the first frames."""
    ids = list(dict.fromkeys(h.track_id for humans in scene.frames.values() for h in humans))
    names = NAMES[: max((len(h.joints) for humans in scene.frames.values() for h in humans), default=17)]
    columns = [(i, name, coord) for i in ids for name in names for coord in ("x", "y", "likelihood")]
    header = [["scorer", *("DLC_net" for _ in columns)]] + [
        [title, *(str(column[level]) for column in columns)]
        for level, title in enumerate(("individuals", "bodyparts", "coords"))
    ]
    lines = header + [
        [str(n), *(text for i in ids for text in _cells(humans, i, len(names)))] for n, humans in scene.frames.items()
    ]
    return Sample("deeplabcut", {"clipDLC_net.csv": "".join(",".join(line) + "\n" for line in lines)})


def _cells(humans: list[Human], track_id: int, joints: int) -> list[str]:
    human = next((h for h in humans if h.track_id == track_id), None)
    return [_cell(number) for number in flat(human)] if human else [""] * (3 * joints)


def _cell(number: Token) -> str:
    return "" if number.text == "null" else number.text


def sleap(scene: Scene, _: Dump = plain_dump) -> Sample:
    header = ["track", "frame_idx", "instance.score", *(f"{n}.{c}" for n in NAMES for c in ("x", "y", "score"))]
    lines = [
        [str(h.track_id), str(n), h.score.text, *map(_cell, flat(h))]
        for n, humans in scene.frames.items()
        for h in humans
    ]
    return Sample("sleap", {"clip.analysis.csv": "".join(",".join(line) + "\r\n" for line in [header, *lines])})


BUILDERS: dict[str, Callable[..., Sample]] = {
    "posetrack21": posetrack21, "posetrack17": posetrack17, "openpifpaf": openpifpaf, "alphapose_cmu": alphapose_cmu,
    "alphapose_open": alphapose_open, "poseflow": poseflow, "mmpose_image": mmpose_image,
    "ultralytics_json": ultralytics_json, "mediapipe": mediapipe, "deeplabcut": deeplabcut, "sleap": sleap,
}  # fmt: skip
