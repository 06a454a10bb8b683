"""PoseTrack21: PoseTrack 2018's files with a ``person_id`` that stays the same in all videos.

File format: PoseTrack21's doc/dataset_structure.md. ``track_id`` is what tells people of one video apart.
"""

from posefix_track.formats import posetrack18
from posefix_track.formats.number_text import NumberText, is_object
from posefix_track.formats.pose_file import PoseFile
from posefix_track.formats.source import Format, Options, Source


def _matches(source: Source) -> bool:
    if not posetrack18.has_images_and_annotations(source):
        return False
    return any(
        _any_has(text, "annotations", "person_id") or _any_has(text, "images", "has_labeled_person")
        for text in source.texts
    )


def _any_has(text: NumberText, records: str, key: str) -> bool:
    # Looking for the word is a thousand times faster than looking at every record.
    if key.encode() not in text.data:
        return False
    return any(is_object(record) and key in record for record in text.tree[records])


def _read(source: Source, options: Options) -> PoseFile:
    return posetrack18.read_sequences("posetrack21", source, options)


FORMAT = Format("posetrack21", "PoseTrack21 file or folder of such files", "json", _matches, _read)
