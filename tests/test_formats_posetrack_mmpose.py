"""PoseTrack 2018 and MMPose."""

from pathlib import Path
from typing import Any

from posefix_track.formats import read_poses
from posefix_track.keypoints import COCO_17, H36M_17, POSETRACK_18
from tests.format_samples import FLAT, PAIRS, frames, read_json, write_folder

# PoseTrack 2018


def posetrack_content(folder: str = "images/val/a", scores: Any = ()) -> dict[str, Any]:
    images = [{"id": i, "file_name": f"{folder}/{i:06d}.jpg"} for i in range(3)]
    people = [{"image_id": i, "track_id": 0, "keypoints": FLAT, "scores": list(scores)} for i in (2, 0)]
    return {"images": images, "annotations": people}


def test_posetrack_images_without_people_are_frames(tmp_path: Path) -> None:
    poses = read_json(tmp_path, posetrack_content())
    assert poses.sequences[0].keypoint_set == POSETRACK_18
    assert [(f.frame_index, len(f), f.image_name) for f in frames(poses)] == [
        (0, 1, "images/val/a/000000.jpg"),
        (1, 0, "images/val/a/000001.jpg"),
        (2, 1, "images/val/a/000002.jpg"),
    ]
    assert frames(poses)[0].scores is None


def test_posetrack_folder_has_one_sequence_a_file(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", {f"{name}.json": posetrack_content() for name in ("b_mpii", "a_mpii")})
    poses = read_poses(folder)
    assert [s.name for s in poses.sequences] == ["a_mpii", "b_mpii"]
    poses.write(tmp_path / "out", poses.sequences)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["a_mpii.json", "b_mpii.json"]


def test_posetrack_merged_file_has_one_sequence_an_image_folder(tmp_path: Path) -> None:
    first, second = posetrack_content("val/a"), posetrack_content("val/b")
    for record in second["images"] + second["annotations"]:
        record["id" if "id" in record else "image_id"] += 10
    merged = {key: first[key] + second[key] for key in first}
    poses = read_json(tmp_path, merged)
    assert [(s.name, [len(f) for f in s.frames]) for s in poses.sequences] == [
        ("val/a", [1, 0, 1]),
        ("val/b", [1, 0, 1]),
    ]


def test_posetrack_files_that_share_image_folders_lose_no_frame(tmp_path: Path) -> None:
    content = posetrack_content("val/a")
    content["images"].append({"id": 7, "file_name": "val/b/000000.jpg"})
    poses = read_poses(write_folder(tmp_path, {"x.json": content, "y.json": content}))
    assert [(s.name, len(s.frames)) for s in poses.sequences] == [("val/a", 6), ("val/b", 2)]


def test_coco_annotation_files_are_read_by_their_joint_names(tmp_path: Path) -> None:
    content = posetrack_content() | {"categories": [{"id": 1, "keypoints": list(COCO_17.joints)}]}
    content["annotations"].append({"image_id": 1, "bbox": [1, 2, 3, 4]})
    poses = read_json(tmp_path, content)
    assert poses.sequences[0].keypoint_set == COCO_17
    assert [len(f) for f in frames(poses)] == [1, 0, 1]


def test_posetrack_fifteen_names_for_seventeen_slots(tmp_path: Path) -> None:
    names = [joint for joint in POSETRACK_18.joints if joint not in POSETRACK_18.dead]
    poses = read_json(tmp_path, posetrack_content() | {"categories": [{"id": 1, "keypoints": names}]})
    assert poses.sequences[0].keypoint_set == POSETRACK_18


# MMPose


def test_mmpose_counts_from_zero_and_its_demo_from_one(tmp_path: Path) -> None:
    entries = [{"frame_id": n, "instances": [{"keypoints": PAIRS}]} for n in (4, 9)]
    assert [f.frame_index for f in frames(read_json(tmp_path, entries))] == [4, 9]
    assert [f.frame_index for f in frames(read_json(tmp_path, {"instance_info": entries}))] == [3, 8]
    entries[0]["frame_id"] = 0
    assert [f.frame_index for f in frames(read_json(tmp_path, {"instance_info": entries}))] == [0, 9]


def test_mmpose_demo_names_its_joints(tmp_path: Path) -> None:
    names = ["root" if name == "pelvis" else name for name in H36M_17.joints]  # as MMPose spells it
    meta = {"keypoint_id2name": {str(i): name for i, name in enumerate(names)}}
    entries = [{"frame_id": 1, "instances": [{"keypoints": PAIRS}]}]
    poses = read_json(tmp_path, {"meta_info": meta, "instance_info": entries})
    assert poses.sequences[0].keypoint_set == H36M_17


def test_mmpose_without_scores(tmp_path: Path) -> None:
    (frame,) = frames(read_json(tmp_path, [{"frame_id": 0, "instances": [{"keypoints": PAIRS}]}]))
    assert frame.scores is frame.person_scores is frame.track_ids is None
