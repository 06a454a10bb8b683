"""Real pose files, where they lie beside the checkout, are read and written back byte by byte."""

from pathlib import Path

import pytest

from posefix_track.formats import read_poses

DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data beside the checkout")
@pytest.mark.parametrize(
    ("name", "format_name", "people"),
    [
        ("video/soccer_kick_openpose", "openpose", 91),
        ("coco/simplepose_val.json", "coco", 199),
        ("lspet/simplepose_val.json", "coco", 492),
        ("lspet/val.json", "posetrack18", 492),
        ("posetrack18/annotations/val", "posetrack18", 14),
        ("posetrack18/annotations/test_posetrack18_val.json", "posetrack18", 14),
    ],
)
def test_real_files_survive(tmp_path: Path, name: str, format_name: str, people: int) -> None:
    poses = read_poses(DATA / name)
    assert poses.format == format_name
    assert sum(len(frame) for sequence in poses.sequences for frame in sequence.frames) == people
    poses.write(tmp_path / "out", poses.sequences)
    for text in poses.texts:
        out = tmp_path / "out" / text.path.name if poses.is_folder else tmp_path / "out"
        assert out.read_bytes() == text.data
