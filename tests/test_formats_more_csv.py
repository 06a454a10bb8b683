"""DeepLabCut's and SLEAP's CSV files, and CSV text itself."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from posefix_track.errors import InputError
from posefix_track.formats import PoseFile, read_poses
from posefix_track.formats.csv_text import parse_csv
from posefix_track.formats.joint_names import canonical_joint
from posefix_track.keypoints import COCO_17, KEYPOINT_SETS, KeypointSet
from tests.format_samples import frames

JOINTS = ("nose", "LShoulder", "RShoulder", "LElbow", "RElbow", "LWrist", "tail")
CANONICAL = ("nose", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "tail")


def read_csv(folder: Path, text: str, **options: str) -> PoseFile:
    path = folder / "poses.csv"
    path.write_bytes(text.encode())
    return read_poses(path, **options)


def dlc(*rows: str, joints: tuple[str, ...] = JOINTS, index: str = "") -> str:
    columns = [(joint, coord) for joint in joints for coord in ("x", "y", "likelihood")]
    header = [["scorer", *("net" for _ in columns)], ["bodyparts", *(j for j, _ in columns)]]
    header.append(["coords", *(c for _, c in columns)])
    return "\n".join([",".join([line[0] + index, *line[1:]]) for line in header] + list(rows)) + "\n"


# Joint names


@pytest.mark.parametrize(
    "name",
    ["LShoulder", "left_shoulder", "l_shoulder", "leftShoulder", "Left Shoulder", "shoulder.L", "lshoulder", "LSho"],
)
def test_one_joint_has_many_names(name: str) -> None:
    assert canonical_joint(name) == "left_shoulder"


@pytest.mark.parametrize("joint", sorted({joint for known in KEYPOINT_SETS.values() for joint in known.joints}))
def test_canonical_names_are_their_own(joint: str) -> None:
    assert canonical_joint(joint) == joint


def test_words_that_only_begin_like_a_side_are_none() -> None:
    assert [canonical_joint(name) for name in ("Lip", "rear", "tail", "R")] == ["lip", "right_ear", "tail", "right_"]


# DeepLabCut


def test_deeplabcut_single_animal(tmp_path: Path) -> None:
    row = ",".join(f"{10 + k}.5,{k + 20},0.75" for k in range(7))
    poses = read_csv(tmp_path, dlc("0," + row, "1," + "," * 20, "5," + row))
    assert poses.sequences[0].keypoint_set == KeypointSet("custom", CANONICAL)
    assert [(f.frame_index, len(f), f.track_ids) for f in frames(poses)] == [(0, 1, None), (1, 0, None), (5, 1, None)]
    assert frames(poses)[2].keypoints[0, 1].tolist() == [11.5, 21]


def test_deeplabcut_empty_cells_can_be_filled(tmp_path: Path) -> None:
    row = ",,0.01," + ",".join(["10.5,20,0.75"] * 6)
    poses = read_csv(tmp_path, dlc("0," + row))
    (frame,) = frames(poses)
    assert frame.present.tolist() == [[False] + [True] * 6]
    filled = frame.with_keypoints(np.where(np.isnan(frame.keypoints), np.float32(7), frame.keypoints))
    poses.write(tmp_path / "out.csv", [replace(poses.sequences[0], frames=(filled,))])
    assert (tmp_path / "out.csv").read_text() == dlc("0," + row.replace(",,0.01", "7.0,7.0,0.01"))


def test_deeplabcut_unique_parts_belong_to_nobody(tmp_path: Path) -> None:
    people = [("ann", joint) for joint in JOINTS] + [("bob", joint) for joint in JOINTS] + [("single", "ball")]
    header = [
        ["scorer", *["net"] * 30],
        ["individuals", *(name for name, _ in people for _ in "xy")],
        ["bodyparts", *(joint for _, joint in people for _ in "xy")],
        ["coords", *"xy" * 15],
    ]
    text = "\n".join(map(",".join, header)) + "\n0" + ",5.5" * 30 + "\n1" + ",5.5" * 14 + "," * 14 + ",5.5" * 2
    poses = read_csv(tmp_path, text)
    assert [(f.track_ids, f.scores) for f in frames(poses)] == [(("ann", "bob"), None), (("ann",), None)]


def test_deeplabcut_labelled_images_have_names(tmp_path: Path) -> None:
    rows = [f"labeled-data,clip,img{n:03d}.png" + ",5,6,1" * 7 for n in (3, 8)]
    found = frames(read_csv(tmp_path, dlc(*rows, index=",,")))
    assert [f.image_name for f in found] == ["labeled-data/clip/img003.png", "labeled-data/clip/img008.png"]


def test_animals_are_refused_unless_the_joints_are_stated(tmp_path: Path) -> None:
    joints = ("nose", *(f"part{k}" for k in range(16)))
    text = dlc("0" + ",5,6,1" * 17, joints=joints)
    with pytest.raises(InputError, match=r"1 of the body parts nose, part0.* are human joints.*at least 6"):
        read_csv(tmp_path, text)
    assert read_csv(tmp_path, text, keypoints="coco17").sequences[0].keypoint_set == COCO_17


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (dlc("0,1,2"), "line 4: expected 22 cells as in the header, got 3"),
        (dlc("0" + ",a,6,1" * 7), "line 4: expected a number, got 'a'"),
        (dlc("-1" + ",5,6,1" * 7), "line 4: expected a frame number"),
        ("scorer,a\nbodyparts,nose\ncoords\n", "all equally long"),
        ("scorer,a\nbodyparts,nose\ncoords,x\n", "columns x and y for each body part"),
        ('scorer,"a\n', "line 1: a quote is not closed"),
    ],
)
def test_deeplabcut_errors_name_the_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_csv(tmp_path, text)
    assert str(tmp_path) in str(caught.value)


# SLEAP


def sleap(*rows: str, nodes: tuple[str, ...] = JOINTS) -> str:
    columns = ",".join(f"{node}.{coord}" for node in nodes for coord in ("score", "x", "y"))
    return "\n".join([f"track,frame_idx,instance.score,{columns}", *rows]) + "\n"


def test_sleap_columns_may_stand_in_any_order(tmp_path: Path) -> None:
    joints = ",0.5,10.25,20" * 6 + ",,,"
    poses = read_csv(tmp_path, sleap(f"track_0,4,0.9{joints}", f",4,{joints}", f"track_0,2,0.9{joints}"))
    assert [(f.frame_index, f.track_ids) for f in frames(poses)] == [(4, ("track_0", None)), (2, ("track_0",))]
    frame = frames(poses)[0]
    assert frame.keypoints[0, 0].tolist() == [10.25, 20]
    assert frame.present[0].tolist() == [True] * 6 + [False]
    np.testing.assert_array_equal(frame.person_scores, np.array([0.9, np.nan], np.float32))


def test_sleap_scores_of_people_go_back_to_their_own_lines(tmp_path: Path) -> None:
    rows = [f"t{i},{number},0.{i}{',0.5,10.25,20' * 7}" for i, number in enumerate((4, 2, 4, 2), start=1)]
    poses = read_csv(tmp_path, sleap(*rows))
    (sequence,) = poses.sequences
    assert [frame.track_ids for frame in sequence.frames] == [("t1", "t3"), ("t2", "t4")]
    found = np.stack([frame.person_scores for frame in sequence.frames])
    np.testing.assert_array_equal(found, np.float32([[0.1, 0.3], [0.2, 0.4]]))
    half = [replace(f, person_scores=f.person_scores * np.float32(0.5)) for f in sequence.frames]
    poses.write(tmp_path / "out.csv", [replace(sequence, frames=tuple(half))])
    written = (tmp_path / "out.csv").read_text().splitlines()[1:]
    assert [line.split(",")[2] for line in written] == ["0.05", "0.1", "0.15", "0.2"]
    assert [line.split(",")[3:] for line in written] == [row.split(",")[3:] for row in rows]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (sleap("a,1"), "line 2: expected 24 cells as in the header, got 2"),
        (sleap("a,1.5,0.9" + ",1,2,3" * 7), "line 2: frame_idx: expected a frame number"),
        (sleap(nodes=("nose", "nose")), "the nodes, each once"),
        ("frame_idx,instance.score,nose.x\n", "a column .y for each column .x"),
        (sleap(nodes=("nose", "tail")), "1 of the body parts nose, tail are human joints"),
    ],
)
def test_sleap_errors_name_the_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_csv(tmp_path, text)


# CSV text


def test_csv_cells_keep_their_places(tmp_path: Path) -> None:
    data = b'\xef\xbb\xbfa, 1.50 ,"x, ""y""","7",\r\n\r\n-Infinity,1_0,nan\n'
    text = parse_csv(tmp_path, data)
    assert [*text.tree] == [(1, ["a", 0, 'x, "y"', 1, 2]), (3, [3, "1_0", 4])]
    assert [text.token(n) for n in range(5)] == [b"1.50", b"7", b"", b"-Infinity", b"nan"]
    np.testing.assert_array_equal(text.values, [1.5, 7, np.nan, -np.inf, np.nan])
    assert text.replaced({1: b"8", 2: b"9"}) == data.replace(b'"7",', b'"8",9')
