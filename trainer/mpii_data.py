"""MPII and LSP as their authors released them (.mat), and MPII's widely used JSON form -> pictures with their people.

None of them has boxes: the joints' extent is taken, and an eighth of it more on each side, which is about how far
bodies reach beyond their joints (our choice).
"""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from posefix_track.errors import InputError
from posefix_track.keypoints import LSP_14, MPII_16, KeypointSet
from trainer.people import Annotated, Float64, Picture, to_union

_MARGIN = 0.125


def read_mpii_json(rows: list[dict[str, Any]], where: str) -> list[Picture]:
    """The list of people with ``image``, ``joints`` and ``joints_vis`` (Simple Baselines' train.json).

    Raises:
        InputError: naming ``where`` and the row.
    """
    people: dict[str, list[Annotated]] = defaultdict(list)
    for i, row in enumerate(rows):
        try:
            points = np.asarray(row["joints"], np.float64).reshape(16, 2)
            seen = np.asarray(row["joints_vis"], np.float64).reshape(16, 1)
            # Matlab counts pixels from 1.
            people[row["image"]].append(_annotated(i, np.concatenate([points - 1, seen], 1), MPII_16))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{where}: row {i}: expected an MPII person of 16 joints, got {error!r}") from error
    return [Picture(name, name, group) for name, group in people.items()]


def read_mat(path: Path) -> list[Picture]:
    """MPII's ``mpii_human_pose_v1_u12_1.mat`` (its training part), or LSP's or LSPET's ``joints.mat``.

    Raises:
        InputError: scipy is not there, or another file.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise InputError(f'{path}: Matlab files need scipy: pip install -e ".[eval]"') from error
    try:
        content = loadmat(path, struct_as_record=False, squeeze_me=True)
        if "RELEASE" in content:
            return _mpii(content["RELEASE"])
        return _lsp(np.asarray(content["joints"], np.float64))
    except Exception as error:  # scipy raises a dozen kinds for a damaged file
        raise InputError(f"{path}: not MPII's release nor LSP's joints: {error!r}") from error


def _mpii(release: Any) -> list[Picture]:
    pictures, number = [], 0
    for entry, is_train in zip(np.atleast_1d(release.annolist), np.atleast_1d(release.img_train), strict=True):
        people = []
        for person in np.atleast_1d(entry.annorect) if is_train else ():
            number += 1
            if hasattr(getattr(person, "annopoints", None), "point"):
                people.append(_annotated(number, _mpii_joints(person.annopoints.point), MPII_16))
        if people:
            pictures.append(Picture(entry.image.name, entry.image.name, people))
    return pictures


def _mpii_joints(points: Any) -> Float64:
    """[16, 3] from records of id, x and y; a joint that is named is labelled, whether it can be seen or not."""
    triplets = np.zeros((16, 3))
    for point in np.atleast_1d(points):
        triplets[int(point.id)] = point.x - 1, point.y - 1, 1
    return triplets


def _lsp(joints: Float64) -> list[Picture]:
    """LSP has [3, 14, N] with a flag for hidden joints, LSPET [14, 3, N] with one for labelled joints."""
    if joints.shape[:2] == (3, 14):
        triplets = joints.transpose(2, 1, 0).copy()
        triplets[..., 2] = 1
    elif joints.shape[:2] == (14, 3):
        triplets = joints.transpose(2, 0, 1).copy()
    else:
        raise ValueError(f"joints of shape {list(joints.shape)}, expected [3, 14, N] or [14, 3, N]")
    triplets[..., :2] -= 1
    # The pictures are numbered from 1, in LSP with four digits, in LSPET with five.
    digits = 4 if joints.shape[0] == 3 else 5
    names = [f"im{i + 1:0{digits}d}.jpg" for i in range(len(triplets))]
    return [Picture(n, n, [_annotated(i, t, LSP_14)]) for i, (n, t) in enumerate(zip(names, triplets, strict=True))]


def _annotated(number: int, triplets: Float64, source: KeypointSet) -> Annotated:
    points = triplets[triplets[:, 2] > 0, :2]
    if not len(points):
        return Annotated(number, *to_union(triplets, source), np.zeros(4))
    low, high = points.min(0), points.max(0)
    margin = _MARGIN * (high - low)
    return Annotated(number, *to_union(triplets, source), np.concatenate([low - margin, high + margin]))
