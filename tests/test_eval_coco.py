import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import orjson
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from eval.__main__ import main
from eval.coco import coco_ap, coco_evaluation
from eval.coco_files import AREA_OF_BOX, checked_truth, read_coco_truth
from eval.coco_interval import ap_intervals
from eval.coco_pck import pck
from posefix_track.errors import InputError, UsageError
from posefix_track.keypoints import COCO_17, LSP_14

SHARED = Path(__file__).parents[1] / ".." / "shared"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared reference data is not beside the checkout")


def _person(number, image, joints, rng, visible=2):
    keypoints = rng.uniform(20, 180, (joints, 2))
    return {
        "id": number, "image_id": image, "category_id": 1, "iscrowd": 0, "num_keypoints": joints,
        "area": 9000.0, "bbox": [20.0, 20.0, 160.0, 160.0],
        "keypoints": np.c_[keypoints, np.full(joints, visible)].ravel().tolist(),
    }  # fmt: skip


def _annotations(joints=COCO_17.joints, images=4, each=2):
    rng = np.random.default_rng(0)
    people = [_person(i + 1, i // each + 1, len(joints), rng) for i in range(images * each)]
    listed = [{"id": i + 1, "file_name": f"{i + 1}.jpg"} for i in range(images)]
    return {"images": listed, "annotations": people, "categories": [{"id": 1, "keypoints": list(joints)}]}


def _results(annotations, noise=8.0):
    rng = np.random.default_rng(1)
    return [
        {
            "image_id": person["image_id"], "category_id": 1, "score": float(rng.random()),
            "keypoints": (np.array(person["keypoints"]) + rng.normal(0, noise, len(person["keypoints"]))).tolist(),
        }
        for person in annotations["annotations"]
    ]  # fmt: skip


def _written(folder, name, content):
    path = folder / name
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def files(tmp_path):
    annotations = _annotations()
    return _written(tmp_path, "gt.json", annotations), _written(tmp_path, "results.json", _results(annotations))


def _plain_pycocotools(gt, results):
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(gt))
        evaluation = COCOeval(truth, truth.loadRes(str(results)), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats.tolist()


def test_the_ten_numbers_are_those_of_pycocotools(files):
    assert list(coco_ap(*files).to_dict().values()) == _plain_pycocotools(*files)


def test_a_list_gives_the_same_as_a_file_and_stays_as_it_is(files):
    listed = json.loads(files[1].read_text())
    assert coco_ap(files[0], listed) == coco_ap(*files)
    assert listed == json.loads(files[1].read_text())


def test_pycocotools_does_not_print(files, capsys):
    coco_ap(*files)
    assert capsys.readouterr() == ("", "")


def test_perfect_poses_have_an_ap_of_1(tmp_path):
    annotations = _annotations()
    gt = _written(tmp_path, "gt.json", annotations)
    assert coco_ap(gt, _results(annotations, noise=0.0)).ap == pytest.approx(1)  # denominators hold a tiny number


def test_an_annotation_id_of_0_is_matched_too(tmp_path):
    annotations = _annotations(images=1, each=1)
    annotations["annotations"][0]["id"] = 0  # which pycocotools takes for "no match"
    summary = coco_ap(_written(tmp_path, "gt.json", annotations), _results(annotations, noise=0.0))
    assert summary.ap == pytest.approx(1)  # pycocotools adds a tiny number to each denominator


def test_empty_results_have_an_ap_of_0(files):
    assert set(coco_ap(files[0], []).to_dict().values()) == {0.0}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("keypoints", [float("nan")] * 51, "must be finite numbers"),
        ("keypoints", ["1"] * 51, "must be finite numbers"),
        ("keypoints", [True] * 51, "must be finite numbers"),
        ("keypoints", [[1, 2, 3]] * 51, "must be finite numbers"),
        ("keypoints", [1.0] * 50, "expected 51 keypoint numbers"),
        ("keypoints", None, "expected 51 keypoint numbers"),
        ("score", float("nan"), "score must be a finite number"),
        ("score", "high", "score must be a finite number"),
        ("score", 10**400, "score must be a finite number"),
        ("image_id", 77, "image_id 77 is not among"),
        ("image_id", [1], "is not among the annotated images"),
        ("category_id", 2, "category_id 2 is unknown"),
    ],
)
def test_a_broken_result_is_named(files, field, value, message):
    results = json.loads(files[1].read_text())
    results[3][field] = value
    with pytest.raises(InputError, match=f"entry 3.*{message}"):
        coco_ap(files[0], results)


def test_nan_in_a_file_is_named(files, tmp_path):
    results = json.loads(files[1].read_text())
    results[0]["score"] = float("nan")
    with pytest.raises(InputError, match="entry 0: score"):
        coco_ap(files[0], _written(tmp_path, "nan.json", results))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("images"), "lists 'images' and 'annotations'"),
        (lambda d: d["images"].append({"file_name": "x"}), "every image needs an id"),
        (lambda d: d["annotations"][1].update(image_id=99), "annotation 1: its image_id"),
        (lambda d: d["annotations"][1].update(category_id=9), "annotation 1: its category_id"),
        (lambda d: d["annotations"][1].update(keypoints=[1, 2]), "annotation 1: keypoints must be 51"),
        (lambda d: d["annotations"][1].update(bbox=[1, 2]), "annotation 1: bbox"),
        (lambda d: d["annotations"][1].update(area="big"), "annotation 1: area"),
        (lambda d: d["annotations"][1].update(area=-1.0), "annotation 1: area"),
        (lambda d: d["annotations"][1].update(iscrowd=[]), "annotation 1: iscrowd"),
        (lambda d: d["annotations"][1]["keypoints"].__setitem__(0, 1e200), "annotation 1: keypoints must be"),
        (lambda d: d["categories"][0].update(keypoints=["toe"] * 17), "joint names must be"),
        (lambda d: d.update(categories=3), "'categories' must be"),
    ],
)
def test_a_broken_annotation_file_is_refused(change, message):
    content = _annotations()
    change(content)
    with pytest.raises(InputError, match=message):
        checked_truth(content, "gt.json")


def test_a_file_that_is_missing_or_no_json_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_coco_truth(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(InputError, match="not a JSON file"):
        read_coco_truth(tmp_path / "bad.json")


def test_missing_areas_are_a_share_of_the_box_and_noted():
    content = _annotations()
    del content["annotations"][0]["area"], content["annotations"][1]["bbox"]
    truth = checked_truth(content, "gt.json")
    assert truth.annotations[0]["area"] == AREA_OF_BOX * 160 * 160
    assert len(truth.notes) == 2


def test_other_than_17_joints_are_refused(tmp_path):
    annotations = _annotations(LSP_14.joints)
    with pytest.raises(InputError, match="defined for 17 joints"):
        coco_ap(_written(tmp_path, "gt.json", annotations), [])


def test_the_middle_of_the_interval_is_the_value_of_pycocotools(files):
    annotations = json.loads(files[0].read_text())
    sides = [coco_evaluation(files[0], path) for path in (files[1], _results(annotations, noise=4.0))]
    intervals = ap_intervals(*sides)
    for name, side in zip(("AP before", "AP after"), sides, strict=True):
        assert intervals[name].value == pytest.approx(side.stats[0], abs=1e-12)  # another order of summation
        assert intervals[name].low <= intervals[name].value <= intervals[name].high


def test_command_prints_and_writes_the_same_numbers(files, tmp_path, capsys):
    assert main(["coco", "--gt", str(files[0]), "--pred", str(files[1]), "--json", str(tmp_path / "out.json")]) == 0
    written = orjson.loads((tmp_path / "out.json").read_bytes())
    assert list(written.values()) == _plain_pycocotools(*files)
    assert f"{100 * written['AP50']:.1f}" in capsys.readouterr().out


def test_command_reports_bad_input_in_one_line(files, capsys):
    assert main(["coco", "--gt", str(files[1]), "--pred", str(files[1])]) == InputError.exit_code
    assert capsys.readouterr().err.count("\n") == 1


def test_a_reader_who_leaves_early_gets_no_traceback(files):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "eval", "coco", "--gt", str(files[0]), "--pred", str(files[1])]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, cwd=Path(__file__).parents[1], check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_command_reports_an_output_that_cannot_be_written(files, capsys):
    assert main(["coco", "--gt", str(files[0]), "--pred", str(files[1]), "--json", str(files[0] / "x.json")]) == 5
    assert "cannot be written" in capsys.readouterr().err


def test_pck_counts_the_joints_that_both_sets_have(tmp_path):
    annotations = _annotations(LSP_14.joints, images=3, each=1)
    pose = np.zeros((17, 3))
    target = np.array(annotations["annotations"][0]["keypoints"]).reshape(14, 3)
    for joint, place in zip(LSP_14.joints, target, strict=True):
        if joint in COCO_17.index:
            pose[COCO_17.index[joint]] = place
    pose[COCO_17.index["left_knee"], 0] += 15.9  # a tenth of the box side is 16
    pose[COCO_17.index["right_knee"], 0] += 16.1
    results = [{"image_id": 1, "category_id": 1, "score": 1.0, "keypoints": pose.ravel().tolist()}]
    summary = pck(_written(tmp_path, "gt.json", annotations), results)
    assert len(summary.joints) == 12
    assert sum(summary.counts) == 36
    assert sum(summary.correct) == 11  # all of the first person's but one; nobody found the other two people


def test_pck_gives_every_person_a_pose_of_its_own(tmp_path):
    annotations = _annotations(images=1, each=3)
    results = _results(annotations, noise=0.0)[::-1]
    assert pck(_written(tmp_path, "gt.json", annotations), results).pck == 1
    assert pck(_written(tmp_path, "gt.json", annotations), results[:2]).pck == pytest.approx(2 / 3)


def test_pck_needs_a_positive_fraction(files):
    with pytest.raises(UsageError, match="must be positive"):
        pck(*files, 0.0)


@needs_shared
def test_recorded_ap_is_reproduced_exactly():
    recorded = json.loads((SHARED / "golden/coco_ap/dev_ap.json").read_text())
    data = SHARED / "data/coco"
    summary = coco_ap(data / "person_keypoints_val.json", data / "simplepose_val.json")
    assert summary.to_dict() == recorded["stats"]


@needs_shared
def test_documented_pck_of_the_sports_poses_is_reproduced(capsys):
    data = SHARED / "data/lspet"
    assert main(["pck", "--gt", str(data / "val.json"), "--pred", str(data / "simplepose_val.json")]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["all", "5225", "51.0"]
