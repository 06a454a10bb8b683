import json
from pathlib import Path

import numpy as np
import pytest

from eval.posetrack import evaluate_posetrack
from eval.posetrack_frames import JOINTS
from tests.posetrack_random import write_perfect_set, write_random_set
from tests.posetrack_slow import slow_evaluate

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden" / "poseval_dev"
SETS = (
    "set01_jitter", "set02_missed_extra", "set03_id_switches", "set04_missing_joints", "set05_ignore_regions",
    "set06_empty_frames", "set07_ties", "set08_everything", "set09_real_annotations",
)  # fmt: skip
# Percent; sums of about a thousand float64 terms in another order.
ROUNDING = 1e-9
# Our names for the vectors of poseval's two files.
OFFICIAL = {
    "AP": {"ap": "ap", "ap_precision": "pre", "ap_recall": "rec"},
    "MOT": {"mota": "mota", "mot_precision": "pre", "mot_recall": "rec"},
}


def assert_same(actual, expected, what):
    np.testing.assert_allclose(actual, np.array(expected, dtype=float), rtol=0, atol=ROUNDING, err_msg=what)


def totals(folders, **options):
    return {name: values[-1] for name, values in evaluate_posetrack(*folders, **options).metrics.items()}


def edit(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("seed", range(30))
def test_equals_the_slow_evaluator(tmp_path, seed, strict):
    folders = write_random_set(tmp_path, seed, ties=seed % 3 == 0)
    metrics = evaluate_posetrack(*folders, strict=strict).metrics
    for name, expected in slow_evaluate(*folders, strict).items():
        assert_same(metrics[name], expected, name)


def official(folder, name):
    """What poseval wrote about one sequence or the whole set, and MOTP done right."""
    values, right = {}, json.loads((folder / "motp_correct.json").read_text())
    for kind, names in OFFICIAL.items():
        document = json.loads((folder / f"{name}_{kind}_metrics.json").read_text())
        values |= {ours: document[theirs] for ours, theirs in names.items()}
    return values | {"motp": (right if name == "total" else right["per_sequence"][name])["motp"]}


@pytest.mark.parametrize("name", SETS)
def test_equals_recorded_poseval(name):
    if not GOLDEN.is_dir():
        pytest.skip("the recorded poseval outputs (../shared/golden/poseval_dev) are not beside this checkout")
    result = evaluate_posetrack(GOLDEN / name / "gt", GOLDEN / name / "pred", per_sequence=True)
    for part, metrics in {"total": result.metrics, **result.per_sequence}.items():
        expected = official(GOLDEN / name / "expected", part)
        if name == "set07_ties":
            # Equal scores: poseval's AP depends on an unstable sort.
            expected.pop("ap")
        for metric, values in expected.items():
            assert_same(metrics[metric], values, f"{part} {metric}")


def test_ties_stay_between_their_recorded_bounds():
    if not GOLDEN.is_dir():
        pytest.skip("the recorded poseval outputs (../shared/golden/poseval_dev) are not beside this checkout")
    bounds = json.loads((GOLDEN / "set07_ties" / "expected" / "tie_bounds.json").read_text())
    for strict in (False, True):
        ap = evaluate_posetrack(*(GOLDEN / "set07_ties" / side for side in ("gt", "pred")), strict=strict).metrics["ap"]
        assert (np.array(bounds["ap_min"]) - ROUNDING <= ap).all()
        assert (ap <= np.array(bounds["ap_max"]) + ROUNDING).all()


def test_processes_change_nothing(tmp_path):
    folders = write_random_set(tmp_path, 5)
    alone, shared = (evaluate_posetrack(*folders, workers=n, per_sequence=True).to_dict() for n in (1, 2))
    assert alone == shared


def test_order_of_frames_in_the_prediction_does_not_matter(tmp_path):
    folders = write_random_set(tmp_path, 3)
    before = totals(folders)
    for path in folders[1].glob("*.json"):
        edit(path, lambda document: document["images"].reverse())
    np.testing.assert_equal(totals(folders), before)


def test_frames_are_found_by_name_where_ids_are_renumbered(tmp_path):
    folders = write_random_set(tmp_path, 3)
    before = totals(folders)

    def renumber(document):
        number = {image["id"]: i for i, image in enumerate(document["images"])}
        for image in document["images"]:
            image |= {"id": number[image["id"]], "file_name": "/elsewhere/" + image["file_name"]}
        for row in document["annotations"]:
            row["image_id"] = number[row["image_id"]]

    for path in folders[1].glob("*.json"):
        edit(path, renumber)
    np.testing.assert_equal(totals(folders), before)


def test_free_file_names_are_accepted(tmp_path):
    folders = write_random_set(tmp_path, 3)
    before = totals(folders)

    def rename(document):
        for i, image in enumerate(document["images"]):
            image["file_name"] = f"my video/frame {i}.png"

    for folder in folders:
        for path in folder.glob("*.json"):
            edit(path, rename)
            path.rename(path.with_name(path.name.replace("_mpii_test", " of mine")))
    np.testing.assert_equal(totals(folders), before)


@pytest.mark.parametrize("strict", [False, True])
def test_the_truth_itself_scores_100(tmp_path, strict):
    metrics = evaluate_posetrack(*write_perfect_set(tmp_path), strict=strict).metrics
    assert set(metrics) == {name for names in OFFICIAL.values() for name in names} | {"motp", "hota", "deta", "assa"}
    for name, values in metrics.items():
        assert_same(values, [100] * 16, name)


def test_no_predicted_people_give_ap_zero(tmp_path):
    folders = write_random_set(tmp_path, 4)
    for path in folders[1].glob("*.json"):
        edit(path, lambda document: document["annotations"].clear())
    assert totals(folders)["ap"] == 0
    # The official evaluator counts a false positive for each empty frame; strictly there is none.
    assert totals(folders)["mota"] == pytest.approx(-100)
    assert totals(folders, strict=True)["mota"] == 0


def test_last_frame_counts_only_when_strict(tmp_path):
    folders = write_perfect_set(tmp_path, frames=4)
    for path in folders[1].glob("*.json"):
        edit(path, lambda document: keep_people(document, document["images"][:3]))
    assert totals(folders)["mota"] == 100
    assert totals(folders, strict=True)["mota"] == 75


def keep_people(document, images):
    ids = {image["id"] for image in images}
    document["annotations"] = [row for row in document["annotations"] if row["image_id"] in ids]


def test_predictions_in_a_labelled_frame_without_people_count_only_when_strict(tmp_path):
    folders = write_perfect_set(tmp_path, frames=4)
    for path in folders[0].glob("*.json"):
        edit(path, lambda document: keep_people(document, document["images"][1:]))
    assert totals(folders)["mot_precision"] == 100
    assert totals(folders, strict=True)["mot_precision"] == 75
    # HOTA has no peculiarities to keep: three of four frames are right.
    assert totals(folders)["deta"] == pytest.approx(75)


def test_a_frame_ignored_as_a_whole_is_a_miss_and_a_false_positive_unless_strict(tmp_path):
    folders = write_perfect_set(tmp_path, frames=4, people=1)
    square = {"ignore_regions_x": [[-9, 999, 999, -9]], "ignore_regions_y": [[-9, -9, 999, 999]]}
    edit(folders[0] / "video.json", lambda document: document["images"][1].update(square))
    # Frames 0 to 2 count: two objects found, and the ignored frame stands for a third one.
    assert totals(folders)["mota"] == pytest.approx(100 * (1 - 2 / 3))
    assert totals(folders, strict=True)["mota"] == 100


def test_a_predicted_person_without_joints_keeps_a_frame_two_sided(tmp_path):
    folders = write_perfect_set(tmp_path, frames=4, people=2)

    def empty_second_frame(document):
        document["annotations"][2]["keypoints"] = [0] * 51
        del document["annotations"][3]

    edit(folders[1] / "video.json", empty_second_frame)
    assert totals(folders)["mot_precision"] == 100
    assert totals(folders)["mot_recall"] == pytest.approx(100 * 4 / 6)


def test_a_sequence_of_one_frame_has_no_mota(tmp_path):
    folders = write_perfect_set(tmp_path, frames=1)
    result = evaluate_posetrack(*folders)
    assert np.isnan(result.metrics["mota"]).all()
    assert result.to_dict()["mota"] == dict.fromkeys((*JOINTS, "total"))
