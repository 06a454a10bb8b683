"""Pictures of single people for the report: before, after, and the annotation."""

import base64
from dataclasses import dataclass
from html import escape
from pathlib import Path

import cv2
import numpy as np

from eval.diagnose_tables import DiagnosisTables
from eval.report_tables import signed
from posefix_track.crops import crop_transform, keypoint_boxes
from posefix_track.errors import InputError
from posefix_track.frames import Image
from posefix_track.image_folder import ImageFolder
from posefix_track.keypoints import KeypointSet
from posefix_track.oks import Bool, Float64
from posefix_track.render import draw_poses

# (height, width) in pixels: three of them side by side fill a card on a phone's dense screen.
_PICTURE = (256, 200)
_PADDING = 1.25
_JPEG_QUALITY = 82
# With fewer annotated joints nobody can see what was right.
_LEAST_JOINTS = 5


@dataclass(frozen=True)
class PeoplePictures:
    """HTML of the people who changed most.

    Attributes:
        improved: cards of those whose OKS rose most.
        harmed: cards of those whose OKS fell most.
        missing: images that could not be read; their people are left out.
    """

    improved: str
    harmed: str
    missing: tuple[str, ...]


def people_pictures(tables: DiagnosisTables, images: Path, most: int = 6) -> PeoplePictures:
    """Cards of the ``most`` improved and harmed people of at least five annotated joints.

    Their images are looked up by name in the folder ``images``. Raises InputError for a folder without any image.
    """
    folder, missing = ImageFolder(images), []
    change = tables.diagnosis.after.oks - tables.diagnosis.before.oks
    clear = tables.counted & (tables.diagnosis.comparison.people.labelled.sum(1) >= _LEAST_JOINTS)
    changed = np.flatnonzero(np.where(clear, np.nan_to_num(change), 0.0))
    order = changed[np.argsort(-change[changed], kind="stable")].tolist()
    cards = []
    for people in ([i for i in order if change[i] > 0][:most], [i for i in reversed(order) if change[i] < 0][:most]):
        shown = []
        for person in people:
            try:
                shown.append(_card(tables, person, _read(tables, folder, person)))
            except InputError as error:
                missing.append(str(error))
        cards.append("".join(shown))
    return PeoplePictures(cards[0], cards[1], tuple(dict.fromkeys(missing)))


def _read(tables: DiagnosisTables, folder: ImageFolder, person: int) -> Image:
    comparison = tables.diagnosis.comparison
    return folder.read(comparison.image_names[comparison.people.image[person]]).image


def _card(tables: DiagnosisTables, person: int, image: Image) -> str:
    comparison, before, after = tables.diagnosis.comparison, tables.diagnosis.before, tables.diagnosis.after
    first, second = before.detection[person], after.detection[person]
    labelled = comparison.people.labelled[person]
    poses = [
        (comparison.before.keypoints[first], comparison.before.present[first] & labelled),
        (comparison.after.keypoints[second], comparison.after.present[second] & labelled),
        (comparison.people.keypoints[person], labelled),
    ]
    captions = [f"before {before.oks[person]:.2f}", f"after {after.oks[person]:.2f}", "annotated"]
    pictures = _pictures(image, poses, comparison.keypoint_set)
    figures = "".join(
        f'<figure><img src="{_data_uri(picture)}" width="{_PICTURE[1]}" height="{_PICTURE[0]}" alt="pose {caption}">'
        f"<figcaption>{caption}</figcaption></figure>"
        for picture, caption in zip(pictures, captions, strict=True)
    )
    name = escape(comparison.image_names[comparison.people.image[person]])
    change = signed(100 * (after.oks[person] - before.oks[person]))
    text = f"OKS {change} \u00b7 {name}, person {escape(str(comparison.people.ids[person]))}"
    return f'<div class="person"><div class="three">{figures}</div><p>{text}</p></div>'


def _pictures(image: Image, poses: list[tuple[Float64, Bool]], keypoint_set: KeypointSet) -> list[Image]:
    """The same cut-out with each of the poses drawn on it."""
    boxes = np.concatenate([keypoint_boxes(joints[None], found[None]) for joints, found in poses])
    # All three poses are seen, however far apart; one without a joint has no box.
    around = np.concatenate([np.nanmin(boxes[:, :2], 0), np.nanmax(boxes[:, 2:], 0)])[None]
    transform = crop_transform(around, _PICTURE, _PADDING)
    picture = transform.crop(image)[0]
    return [draw_poses(picture, transform.to_crop(joints[None]), found[None], keypoint_set) for joints, found in poses]


def _data_uri(picture: Image) -> str:
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"
