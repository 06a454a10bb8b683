import json

import numpy as np
import orjson
import pytest

from eval.__main__ import main
from eval.diagnose import diagnose
from eval.diagnose_files import read_comparison
from eval.diagnose_sigmas import read_sigmas
from posefix_track.error_classes import GOOD, MISS
from posefix_track.errors import InputError, UsageError
from posefix_track.keypoints import COCO_17, LSP_14, POSETRACK_18

# PoseTrack's fifteen joints in an order of their own, as some trackers write them.
FIFTEEN = tuple(sorted(set(POSETRACK_18.joints) - set(POSETRACK_18.dead)))


def _pose(rng, joints):
    keypoints = np.c_[rng.uniform(50, 350, (len(joints), 2)), np.ones(len(joints))]
    keypoints[[i for i, joint in enumerate(joints) if joint in POSETRACK_18.dead and len(joints) == 17]] = 0
    return keypoints


def _sequence(name, truth, joints, **fields):
    images = [{"id": 100 + i, "file_name": f"images/{name}/{i:06d}.jpg"} for i in range(len(truth))]
    people = [
        {"id": 10 * i, "image_id": 100 + i, "track_id": 3, "category_id": 1, "keypoints": pose.ravel().tolist()}
        | fields
        for i, pose in enumerate(truth)
    ]
    return {"images": images, "annotations": people, "categories": [{"id": 1, "keypoints": list(joints)}]}


@pytest.fixture
def folders(tmp_path):
    """Two sequences of four frames; before is off by 30 px, after by 1 px and in another order of images and joints."""
    rng = np.random.default_rng(0)
    for name in ("gt", "before", "after"):
        (tmp_path / name).mkdir()
    for name in ("000001_bonn", "000002_bonn"):
        truth = [_pose(rng, POSETRACK_18.joints) for _ in range(4)]
        moved = [np.where(pose[:, 2:] > 0, pose + np.array([30, 0, 0]), 0) for pose in truth]
        near = [(pose + np.array([1, 0, 0]))[[POSETRACK_18.index[joint] for joint in FIFTEEN]] for pose in truth]
        after = _sequence(name, near, FIFTEEN, scores=[0.5] * 15)
        after["images"].reverse()
        _write(tmp_path / "gt" / f"{name}.json", _sequence(name, truth, POSETRACK_18.joints, bbox=[0, 0, 400, 400]))
        _write(tmp_path / "before" / f"{name}.json", _sequence(name, moved, POSETRACK_18.joints, scores=[0.5] * 17))
        _write(tmp_path / "after" / f"{name}.json", after)
    return tmp_path


def _write(path, content):
    path.write_text(json.dumps(content))
    return path


def _read(folder):
    return read_comparison(folder / "gt", folder / "before", folder / "after")


def test_posetrack_folders_are_joined_and_frames_and_joints_found_by_name(folders):
    comparison = _read(folders)
    assert comparison.people.image.tolist() == list(range(8))
    assert comparison.sequences == ("000001_bonn",) * 4 + ("000002_bonn",) * 4
    found = comparison.after.image.argsort()
    truth, labelled = comparison.people.keypoints, comparison.people.labelled
    np.testing.assert_array_equal(comparison.after.present[found], labelled)
    np.testing.assert_allclose(comparison.after.keypoints[found][labelled], truth[labelled] + [1, 0], rtol=1e-15)


def test_posetrack_areas_come_from_the_box_and_that_is_noted(folders):
    comparison = _read(folders)
    assert set(comparison.people.area) == {0.53 * 400 * 400}
    assert len(comparison.notes) == 1
    assert "0.53 x box" in comparison.notes[0]


def test_posetrack_poses_are_judged(folders):
    diagnosis = diagnose(_read(folders), match_oks=0.01)
    labelled = diagnosis.comparison.people.labelled
    assert (diagnosis.after.codes[labelled] == GOOD).all()
    assert (diagnosis.before.codes[:, 0] == MISS).all()  # a nose 30 px off


def test_the_person_score_is_the_mean_over_present_joints(folders):
    path = folders / "before" / "000001_bonn.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["scores"] = [1.0] * 3 + [9.0, 9.0] + [0.5] * 12  # 3 and 4 are the ears
    del content["annotations"][1]["scores"]
    _write(path, content)
    assert _read(folders).before.scores[:2].tolist() == [pytest.approx(9 / 15), 1.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["annotations"][0].update(scores=[1]), "scores must be 17 finite numbers"),
        (lambda d: [image.update(file_name="x.jpg") for image in d["images"]], "matched by name"),
        (lambda d: d["annotations"][0].update(keypoints=[0.0]), "keypoints must be"),
        (lambda d: d["annotations"].pop(), "same poses in the same order"),
    ],
)
def test_broken_predictions_are_refused(folders, change, message):
    path = folders / "before" / "000001_bonn.json"
    content = json.loads(path.read_text())
    change(content)
    _write(path, content)
    with pytest.raises(InputError, match=message):
        diagnose(_read(folders))


def test_a_missing_sequence_is_named(folders):
    (folders / "after" / "000002_bonn.json").unlink()
    with pytest.raises(InputError, match=r"000002_bonn.json: missing"):
        _read(folders)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds no \.json files"):
        read_comparison(tmp_path, tmp_path, tmp_path)


@pytest.fixture
def coco(tmp_path):
    rng = np.random.default_rng(0)
    people, results = [], ([], [])
    for i in range(6):
        truth = np.c_[rng.uniform(0, 200, (17, 2)), np.full(17, 2)]
        people.append({"id": i, "image_id": i // 2, "area": 12000.0, "keypoints": truth.ravel().tolist()})
        for side, noise in zip(results, (9.0, 3.0), strict=True):
            pose = truth + rng.normal(0, noise, truth.shape)
            entry = {"image_id": i // 2, "category_id": 1, "score": 0.9 - 0.1 * i}
            side.append(entry | {"keypoints": pose.ravel().tolist()})
    images = [{"id": i, "file_name": f"{i}.jpg"} for i in range(3)]
    gt = {"images": images, "annotations": people, "categories": [{"id": 1, "keypoints": list(COCO_17.joints)}]}
    paths = [_write(tmp_path / f"{name}.json", x) for name, x in (("gt", gt), ("a", results[0]), ("b", results[1]))]
    return ["diagnose", "--gt", str(paths[0]), "--before", str(paths[1]), "--after", str(paths[2])]


def test_command_prints_figures_and_writes_them(coco, tmp_path, capsys):
    assert main([*coco, "--json", str(tmp_path / "out.json")]) == 0
    written = orjson.loads((tmp_path / "out.json").read_bytes())
    good = written["overall"]["after"]["frequencies"]["good"]
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("good "))
    assert line.split()[2] == f"{100 * good:.1f}"
    assert len(written["per_person"]) == 6
    assert sum(bin_["people"] for bin_ in written["oks_bins"]) == 6


@pytest.mark.parametrize("condition", ["harm>0", "good<+90"])
def test_command_fails_on_a_condition(coco, condition, capsys):
    assert main([*coco, "--fail-if", condition]) == 1
    assert capsys.readouterr().err.startswith(f"failed: {condition}")


def test_command_passes_when_no_condition_holds(coco):
    assert main([*coco, "--fail-if", "good<+1.0", "harm>90"]) == 0


def test_command_matches_each_side_on_its_own(coco, tmp_path):
    shorter = json.loads((tmp_path / "b.json").read_text())[:-1]
    _write(tmp_path / "b.json", shorter)
    assert main(coco) == InputError.exit_code
    assert main([*coco, "--pair", "each", "--json", str(tmp_path / "out.json")]) == 0
    overall = json.loads((tmp_path / "out.json").read_text())["overall"]
    assert sum(overall["before"]["counts"].values()) == 6 * 17
    assert sum(overall["after"]["counts"].values()) == 5 * 17


def test_command_takes_other_limits_and_sigmas(coco, tmp_path):
    strict, out = [*coco, "--ks", "0.98,0.99"], tmp_path / "out.json"
    assert main([*strict, "--sigmas", "posetrack", "--match-oks", "0.05", "--json", str(out)]) == 0
    settings = json.loads(out.read_text())["settings"]
    assert settings["ks_thresholds"] == [0.98, 0.99]
    assert settings["sigmas"]["left_eye"] == POSETRACK_18.sigmas[1]


def test_sigmas_come_from_names_or_files(tmp_path):
    listed, named, short = (tmp_path / name for name in ("listed.json", "named.json", "short.json"))
    listed.write_text(json.dumps([0.1] * 17))
    named.write_text(json.dumps(dict.fromkeys(COCO_17.joints, 0.2)))
    short.write_text(json.dumps([0.1, 0.0]))
    assert read_sigmas(None, LSP_14) is LSP_14.sigmas
    assert read_sigmas("coco", POSETRACK_18) is COCO_17.sigmas
    assert set(read_sigmas(str(listed), COCO_17)) == {0.1}
    assert set(read_sigmas(str(named), COCO_17)) == {0.2}
    with pytest.raises(InputError, match="17 positive sigmas"):
        read_sigmas(str(short), COCO_17)
    with pytest.raises(UsageError, match="17 joints"):
        read_sigmas("coco", LSP_14)
