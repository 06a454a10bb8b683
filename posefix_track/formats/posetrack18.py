"""PoseTrack 2018: one JSON file a sequence with ``images``, ``annotations`` and ``categories``.

COCO's annotation files have the same layout and are read as well. File format: poseval's README.
"""

from collections.abc import Mapping
from typing import Any

from posefix_track.formats.file_names import image_number
from posefix_track.formats.number_text import NumberText, Ordinals, is_list, is_object
from posefix_track.formats.pose_file import PoseFile
from posefix_track.formats.rows import (
    FrameRows,
    JointNames,
    Person,
    flat_triplets,
    optional_id,
    optional_score,
    pose_file,
)
from posefix_track.formats.source import Format, Options, Source
from posefix_track.keypoints import POSETRACK_18

Videos = dict[str, list[FrameRows]]


def has_images_and_annotations(source: Source) -> bool:
    """Whether every file is an object with the lists ``images`` and ``annotations``."""
    return source.kind == "json" and all(
        is_object(tree) and is_list(tree.get("images")) and is_list(tree.get("annotations")) for tree in source.trees
    )


def _read(source: Source, options: Options) -> PoseFile:
    return read_sequences("posetrack18", source, options)


def read_sequences(name: str, source: Source, options: Options) -> PoseFile:
    """The poses of files with ``images`` and ``annotations``, one file a video or a merged file of several."""
    videos: Videos = {}
    for i, text in enumerate(source.texts):
        found = _videos(i, text)
        for folder, frames in found.items():
            # One video a file is the rule, and the file's name is that of the video.
            videos.setdefault(folder if len(found) > 1 else text.path.stem, []).extend(frames)
    names = next((names for text in source.texts if (names := _joint_names(text))), None)
    joints = JointNames(options.keypoints, names, usual=POSETRACK_18)
    return pose_file(name, source.path, source.texts, videos, joints)


def _videos(index: int, text: NumberText) -> Videos:
    """The file's frames by the folder that their images are in; images without people are frames, too."""
    content = text.record(text.tree, "", "images", "annotations")
    videos: Videos = {}
    frames: dict[object, FrameRows] = {}
    for i, value in enumerate(text.items(content["images"], "images")):
        image = text.record(value, f"images[{i}]", "id", "file_name")
        frame = _frame(index, text, image, f"images[{i}]")
        # An image that is listed twice keeps both entries; its people go to the first.
        frames.setdefault(text.scalar(image["id"], f"images[{i}].id"), frame)
        videos.setdefault(str(frame.image_name).rpartition("/")[0], []).append(frame)
    for i, value in enumerate(text.items(content["annotations"], "annotations")):
        _add_person(text, frames, value, f"annotations[{i}]")
    return videos


def _frame(index: int, text: NumberText, image: Mapping[str, Any], where: str) -> FrameRows:
    name = image["file_name"]
    if not isinstance(name, str):
        raise text.error(f"{where}.file_name", "expected a file name")
    return FrameRows(index, image_number(name), name)


def _add_person(text: NumberText, frames: dict[object, FrameRows], value: object, where: str) -> None:
    annotation = text.record(value, where, "image_id")
    # Boxes without keypoints, such as those of ignored people, are nothing to refine.
    if "keypoints" not in annotation:
        return
    image_id = text.scalar(annotation["image_id"], f"{where}.image_id")
    if image_id not in frames:
        raise text.error(f"{where}.image_id", f"no image of this file has the id {image_id!r}")
    keypoints, _ = flat_triplets(text, annotation["keypoints"], f"{where}.keypoints")
    scores = _scores(text, annotation, len(keypoints), where)
    person_score = optional_score(text, annotation, "score", where)
    track_id = optional_id(text, annotation, "track_id", where)
    frames[image_id].add(Person(f"{text.path.name} {where}", keypoints, scores, person_score, track_id))


def _scores(text: NumberText, annotation: Mapping[str, Any], count: int, where: str) -> Ordinals | None:
    """``scores`` has one number a joint in predictions, none in ground truth; a joint's third value is just a flag."""
    scores = text.ordinals(annotation.get("scores", []), f"{where}.scores")
    if len(scores) not in (0, count):
        raise text.error(f"{where}.scores", f"expected {count} scores, one for each joint, got {len(scores)}")
    return scores if len(scores) else None


def _joint_names(text: NumberText) -> tuple[str, ...] | None:
    categories = text.tree.get("categories", [])
    for i, value in enumerate(text.items(categories, "categories")):
        names = text.record(value, f"categories[{i}]").get("keypoints")
        if is_list(names) and names and all(isinstance(name, str) for name in names):
            return tuple(names)
    return None


FORMAT = Format(
    "posetrack18",
    "PoseTrack 2018 file or folder of such files, COCO annotation file",
    "json",
    has_images_and_annotations,
    _read,
)
