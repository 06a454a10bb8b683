"""What holds for all formats alike."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from posefix_track.formats import known_formats, read_poses
from tests.format_samples import (
    BUILDERS,
    FLAT,
    JOINTS,
    frames,
    plain_dump,
    read_json,
    sample_of,
    simple_scene,
)


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_every_format_is_told_from_its_content(name: str, tmp_path: Path) -> None:
    sample = sample_of(name)
    poses = read_poses(sample.place(tmp_path), **sample.options)
    assert poses.format == sample.format
    assert poses.format in dict(known_formats())


def test_suffixes_do_not_matter_where_the_content_speaks(tmp_path: Path) -> None:
    for name, expected in (("coco", "coco"), ("posefix", "posefix")):
        (text,) = BUILDERS[name](simple_scene()).files.values()
        for suffix in (".json", ".txt", ".jsonl" if name == "posefix" else ""):
            (tmp_path / f"poses{suffix}").write_text(text)
            assert read_poses(tmp_path / f"poses{suffix}").format == expected


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_absent_joints_are_absent(name: str, tmp_path: Path) -> None:
    sample = sample_of(name)
    frame = read_poses(sample.place(tmp_path), **sample.options).sequences[0].frames[0]
    assert frame.present.tolist() == [[k != 4 for k in range(JOINTS.get(name, 17))]] * 2


# All JSON


def test_byte_order_mark_and_foreign_bytes_survive(tmp_path: Path) -> None:
    path = tmp_path / "poses.json"
    row = plain_dump([{"image_id": "caf\udce9.jpg", "keypoints": FLAT}]).replace("\\udce9", "\udce9")
    path.write_bytes(b"\xef\xbb\xbf" + row.encode("utf-8", "surrogateescape") + b"\n\n")
    poses = read_poses(path)
    assert poses.sequences[0].frames[0].image_name == "caf\udce9.jpg"
    poses.write(tmp_path / "out.json", poses.sequences)
    assert (tmp_path / "out.json").read_bytes() == path.read_bytes()


def test_null_coordinates_are_absent_and_can_be_filled(tmp_path: Path) -> None:
    holes = [None if i < 2 else value for i, value in enumerate(FLAT)]
    poses = read_json(tmp_path, [{"image_id": 1, "keypoints": holes, "score": None}])
    (frame,) = frames(poses)
    assert not frame.present[0, 0]
    filled = frame.with_keypoints(np.where(np.isnan(frame.keypoints), np.float32(9.5), frame.keypoints))
    poses.write(tmp_path / "out.json", [replace(poses.sequences[0], frames=(filled,))])
    row = json.loads((tmp_path / "out.json").read_text())[0]
    assert row["keypoints"] == [9.5, 9.5, *FLAT[2:]]
    assert row["score"] is None
