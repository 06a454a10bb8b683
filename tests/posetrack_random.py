"""Random small PoseTrack 2018 sets: everything that an evaluator can stumble over, on whole-number coordinates."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from posefix_track.keypoints import POSETRACK_18

_FIFTEEN = [joint for joint in POSETRACK_18.joints if joint not in POSETRACK_18.dead]
# The last one crosses itself: its middle is outside.
_OUTLINES = (
    [(0, 0), (60, 0), (60, 40), (0, 40)],
    [(0, 0), (80, 0), (80, 30), (30, 30), (30, 90), (0, 90)],
    [(20, 0), (60, 25), (45, 70), (5, 70), (-10, 25)],
    [(40, 0), (64, 76), (0, 29), (80, 29), (16, 76)],
)


def write_random_set(folder: Path, seed: int, ties: bool = False) -> tuple[Path, Path]:
    """Writes one to three sequences; returns the folders of ground truth and prediction."""
    rng = np.random.default_rng(seed)
    sides = folder / "gt", folder / "pred"
    for side in sides:
        side.mkdir(parents=True)
    options = _options(rng, ties)
    for sequence in range(rng.integers(1, 4)):
        name = f"{sequence + 1:06d}_mpii_test"
        for side, document in zip(sides, _sequence(name, sequence + 1, options, rng), strict=True):
            (side / f"{name}.json").write_text(json.dumps(document))
    return sides


def write_perfect_set(folder: Path, frames: int = 4, people: int = 2) -> tuple[Path, Path]:
    """One sequence whose prediction is its ground truth, everybody with all joints."""
    names, images, rows = list(POSETRACK_18.joints), [], []
    for frame in range(frames):
        images.append({"id": frame, "file_name": f"video/{frame:06d}.jpg", "is_labeled": True})
        for person in range(people):
            keypoints = [float(v) for k in range(len(names)) for v in (200 * person + k, 50 + frame, 1)]
            row = {"image_id": frame, "track_id": person, "keypoints": keypoints, "bbox_head": [0, 0, 6, 8]}
            rows.append(row | {"scores": [1 / (1 + frame + person)] * len(names)})
    for side in (folder / "gt", folder / "pred"):
        side.mkdir(parents=True)
        (side / "video.json").write_text(json.dumps(_document(images, rows, names)))
    return folder / "gt", folder / "pred"


def _options(rng: np.random.Generator, ties: bool) -> dict[str, Any]:
    never = {side: rng.choice(_FIFTEEN, rng.integers(0, 3), replace=False).tolist() for side in ("gt", "pred")}
    names = [_FIFTEEN, list(POSETRACK_18.joints), list(POSETRACK_18.joints[::-1])]
    return {
        "people": int(rng.integers(1, 5)),
        "frames": int(rng.integers(4, 10)),
        "noise": float(rng.choice([2, 6, 14])),
        "absent": float(rng.choice([0, 0.2])),
        "empty": float(rng.choice([0, 0.3])),
        "regions": int(rng.choice([0, 3])),
        "switch": float(rng.choice([0, 0.3])),
        "levels": 4 if ties else 10**6,
        "never": never if rng.random() < 0.5 else {"gt": [], "pred": []},
        "names": {side: names[rng.integers(3)] for side in ("gt", "pred")},
    }


def _sequence(name: str, number: int, options: dict[str, Any], rng: np.random.Generator) -> tuple[Any, Any]:
    images, rows = [], {"gt": [], "pred": []}
    places, ids = rng.integers(60, 160, (options["people"], 2)), rng.permutation(options["people"])
    body = rng.integers(-40, 40, (len(_FIFTEEN), 2))
    for frame in range(options["frames"]):
        image = {"id": 10**10 + number * 10**4 + frame, "file_name": f"images/val/{name}/{frame:06d}.jpg"}
        # The first two frames are kept whole: the official evaluator stops at a sequence of a single frame.
        labelled, someone = frame < 2 or rng.random() > 0.2, frame < 2 or rng.random() > options["empty"]
        image |= {"is_labeled": bool(labelled), **_regions(options["regions"] if frame > 1 else 0, rng)}
        if rng.random() < options["switch"]:
            ids = rng.permutation(options["people"] + 2)[: options["people"]]
        for person in np.flatnonzero(rng.random(options["people"]) < 0.9) if someone and labelled else ():
            rows["gt"].append(_annotation("gt", body + places[person], person, image["id"], options, rng))
        for person in np.flatnonzero(rng.random(options["people"]) < 0.9) if rng.random() > options["empty"] else ():
            noisy = body + places[person] + rng.normal(0, options["noise"], body.shape).round()
            rows["pred"].append(_annotation("pred", noisy, ids[person], image["id"], options, rng))
        images.append(image)
    if not any(row["image_id"] == images[0]["id"] for row in rows["gt"]):
        rows["gt"] += [_annotation("gt", body + places[0], 0, image["id"], options, rng) for image in images[:1]]
    return tuple(_document(images, rows[side], options["names"][side]) for side in ("gt", "pred"))


def _document(images: list[Any], rows: list[Any], names: list[str]) -> Any:
    return {"images": images, "annotations": rows, "categories": [{"name": "person", "keypoints": names}]}


def _regions(count: int, rng: np.random.Generator) -> dict[str, Any]:
    if not count:
        return {}
    outlines = [np.array(_OUTLINES[i]) + rng.integers(40, 180, 2) for i in rng.integers(0, len(_OUTLINES), count)]
    xs, ys = ([outline[:, axis].tolist() for outline in outlines] for axis in (0, 1))
    return {"ignore_regions_x": xs, "ignore_regions_y": ys}


def _annotation(side: str, body: Any, track: int, image_id: int, options: Any, rng: np.random.Generator) -> Any:
    everything_absent = rng.random() < 0.05
    keypoints, names = [], options["names"][side]
    for name in names:
        gone = name not in _FIFTEEN or name in options["never"][side] or rng.random() < options["absent"]
        x, y = (0, 0) if gone or everything_absent else (float(v) for v in body[_FIFTEEN.index(name)])
        flag = 0 if gone or everything_absent else int(rng.random() < 0.9)
        # The corner of the image is a place like any other, as long as the flag says that the joint is there.
        keypoints += [0, 0, 1] if flag and rng.random() < 0.03 else [x, y, flag]
    row = {"image_id": image_id, "track_id": int(track), "keypoints": keypoints}
    if side == "gt":
        # 3-4-5 triangles: offsets such as (9, 12) are exactly half a head size.
        return row | {"bbox_head": [10, 10, 30, 40] if rng.random() < 0.7 else [0, 5, 18, 24], "scores": []}
    levels = options["levels"]
    return row | {"scores": [int(level) / levels for level in rng.integers(0, levels, len(names))]}
