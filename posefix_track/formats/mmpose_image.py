"""MMPose 1.x inferencer on images: one JSON list of people an image.

File format: mmpose/structures/utils.py (split_instances); files are named after the images.
"""

from posefix_track.formats.image_files import by_video, file_frame
from posefix_track.formats.mmpose import read_instance
from posefix_track.formats.number_text import is_list, is_object
from posefix_track.formats.pose_file import PoseFile
from posefix_track.formats.rows import FrameRows, JointNames, pose_file
from posefix_track.formats.source import Format, Options, Source


def _matches(source: Source) -> bool:
    rows = [tree[0] for tree in source.trees if is_list(tree) and tree and is_object(tree[0])]
    return source.kind == "json" and any({"keypoints", "keypoint_scores"} <= row.keys() for row in rows)


def _read(source: Source, options: Options) -> PoseFile:
    frames: list[FrameRows] = []
    for i, text in enumerate(source.texts):
        frame = file_frame(i, text.path.stem)
        for j, instance in enumerate(text.items(text.tree, "")):
            frame.add(read_instance(text, instance, f"{text.path.name} [{j}]"))
        frames.append(frame)
    return pose_file("mmpose_image", source.path, source.texts, by_video(frames), JointNames(options.keypoints))


FORMAT = Format("mmpose_image", "MMPose inferencer JSON of images, one file an image", "json", _matches, _read)
