"""PoseTrack 2018 and PoseTrack21: `images`, `annotations` and one category that names the joints."""

from typing import Any

import numpy as np

from eval.posetrack_columns import Row, integers, numbers, rows_of, shortened
from eval.posetrack_frames import JOINTS, MISSING_SCORE, Bool, Float, Int, People, PoseFile, first_repeat, head_size
from posefix_track.errors import InputError


def parse_posetrack18(document: Row, where: str, is_truth: bool) -> PoseFile:
    """Columns of one file; joints are found by name. Raises InputError that names file and annotation."""
    images, rows = rows_of(document, "images", where), rows_of(document, "annotations", where)
    slots, width = _joint_slots(document, where)
    image_ids = _image_ids(images, where)
    frame = _frames(rows, image_ids, where)
    order = np.argsort(frame, kind="stable")
    ordered, places = [rows[i] for i in order], [f"{where}: annotation {i}" for i in order]
    annotated = np.bincount(frame, minlength=len(images)) > 0
    return PoseFile(
        where=where,
        image_ids=tuple(image_ids.tolist()),
        image_names=tuple(str(image.get("file_name", "")) for image in images),
        labelled=annotated | np.array([bool(image.get("is_labeled", False)) for image in images], dtype=bool),
        annotated=annotated,
        ignore_regions=tuple(_ignore_regions(image, where) for image in images),
        people=_people(ordered, places, frame[order], slots, width, is_truth),
        unscored=0 if is_truth else sum(not row.get("scores") for row in rows),
    )


def _joint_slots(document: Row, where: str) -> tuple[Int, int]:
    """Where each of the fifteen joints stands in a row of keypoints, and how many joints such a row has."""
    categories = rows_of(document, "categories", where)
    if len(categories) != 1:
        raise InputError(f"{where}: needs exactly one entry in 'categories' (person), got {len(categories)}")
    names = categories[0].get("keypoints")
    if not isinstance(names, list):
        raise InputError(
            f"{where}: its category needs a list of joint names called 'keypoints', got {shortened(names)}"
        )
    wrong = [joint for joint in JOINTS if names.count(joint) != 1]
    if wrong:
        raise InputError(
            f"{where}: its category must name each of PoseTrack's fifteen joints once, "
            f"but that is not so for {', '.join(wrong)}"
        )
    return np.array([names.index(joint) for joint in JOINTS]), len(names)


def _image_ids(images: list[Row], where: str) -> Int:
    places = [f"{where}: image {i}" for i in range(len(images))]
    image_ids = integers([image.get("id") for image in images], "id", places)
    repeat = first_repeat(image_ids[:, None])
    if repeat is not None:
        raise InputError(f"{where}: image id {image_ids[repeat]} stands twice in 'images'; every frame needs its own")
    videos = {str(image["vid_id"]) for image in images if "vid_id" in image}
    if len(videos) > 1:
        raise InputError(
            f"{where}: holds {len(videos)} videos ({', '.join(sorted(videos)[:3])}...); one file per video"
        )
    return image_ids


def _frames(rows: list[Row], image_ids: Int, where: str) -> Int:
    """int64 [N]: position of each annotation's image in `images`."""
    wanted = integers(
        [row.get("image_id") for row in rows], "image_id", [f"{where}: annotation {i}" for i in range(len(rows))]
    )
    position = {image_id: i for i, image_id in enumerate(image_ids.tolist())}
    for i, image_id in enumerate(wanted.tolist()):
        if image_id not in position:
            raise InputError(f"{where}: annotation {i} belongs to image id {image_id}, which 'images' does not list")
    return np.array([position[image_id] for image_id in wanted.tolist()], dtype=np.int64)


def _people(rows: list[Row], places: list[str], frame: Int, slots: Int, width: int, is_truth: bool) -> People:
    flat = numbers([row.get("keypoints") for row in rows], 3 * width, "keypoints", places)
    triplets = flat.reshape(len(rows), width, 3)[:, slots]
    return People(
        frame=frame,
        track_ids=integers([row.get("track_id") for row in rows], "track_id", places),
        keypoints=triplets[..., :2],
        present=_present(triplets),
        scores=np.zeros((len(rows), len(JOINTS))) if is_truth else _scores(rows, places, slots, width),
        head_sizes=_head_sizes(rows, places) if is_truth else np.full(len(rows), np.nan),
    )


def _present(triplets: Float) -> Bool:
    """A joint is absent where x, y and the flag are all zero; the flag alone says nothing."""
    return np.asarray((triplets != 0).any(-1))


def _scores(rows: list[Row], places: list[str], slots: Int, width: int) -> Float:
    missing = [MISSING_SCORE] * width
    return numbers([row.get("scores") or missing for row in rows], width, "scores", places)[:, slots]


def _head_sizes(rows: list[Row], places: list[str]) -> Float:
    x1, y1, width, height = numbers([row.get("bbox_head") for row in rows], 4, "bbox_head", places).T
    # Through the far corner, because that rounds as the official evaluator does.
    return head_size((x1 + width) - x1, (y1 + height) - y1)


def _ignore_regions(image: Row, where: str) -> tuple[Float, ...]:
    if "ignore_regions_x" not in image or "ignore_regions_y" not in image:
        return ()
    xs, ys = image["ignore_regions_x"], image["ignore_regions_y"]
    place = f"{where}: image {image.get('file_name', image.get('id'))!r}"
    if not isinstance(xs, list) or not isinstance(ys, list) or len(xs) != len(ys):
        raise InputError(f"{place}: ignore_regions_x and ignore_regions_y must be lists with one entry per region")
    return tuple(_outline(x, y, place) for x, y in zip(xs, ys, strict=True))


def _outline(x: Any, y: Any, place: str) -> Float:
    if not isinstance(x, list) or not isinstance(y, list) or len(x) != len(y):
        raise InputError(f"{place}: an ignore region must have as many x as y, got {shortened(x)} and {shortened(y)}")
    return numbers([x, y], len(x), "an ignore region", [place, place]).T
