import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from posefix_track.error_classes import ERROR_CLASSES, GOOD, MISS
from posefix_track.errors import InputError
from posefix_track.keypoints import COCO_17, UNION_19
from posefix_track.synthesis import ErrorModel, People, synthesise
from posefix_track.synthesis_model import KS_LIMITS
from tests.slow_error_classes import slow_classes
from trainer.columns import stacked
from trainer.error_counts import Group, Pose, count_errors, of_people
from trainer.error_model import load_error_model, main, measure, save_error_model
from trainer.input_poses import input_poses
from trainer.people import Person
from trainer.recipe import SynthesisConfig

DATA = Path(__file__).parents[2] / "shared" / "data" / "coco"
TRUTH = np.random.default_rng(0).uniform(50, 250, (17, 2)).round(1)


def annotations(people: int = 1, **changes: Any) -> dict[str, Any]:
    """Image n shows person n."""
    keypoints = np.concatenate([TRUTH, np.full((17, 1), 2)], 1).ravel().tolist()
    rows = [
        {"id": n, "image_id": n, "keypoints": keypoints.copy(), "bbox": [50, 50, 200, 200], "area": 20000} | changes
        for n in range(people)
    ]
    return {"images": [], "annotations": rows, "categories": [{"keypoints": list(COCO_17.joints)}]}


def result(image: int, keypoints: np.ndarray, **changes: Any) -> dict[str, Any]:
    columns = np.concatenate([keypoints, np.ones((17, 1))], 1)
    return {"image_id": image, "keypoints": columns.ravel().tolist(), "score": 0.5} | changes


def written(folder: Path, truth: Any, results: Any) -> tuple[Path, Path]:
    paths = folder / "gt.json", folder / "pred.json"
    for path, content in zip(paths, (truth, results), strict=True):
        path.write_text(json.dumps(content))
    return paths


def group(rng: np.random.Generator, people: int) -> Group:
    keypoints = rng.uniform(0, 100, (people, 19, 2))
    labelled, area = rng.random((people, 19)) < 0.7, rng.uniform(500, 5000, people)
    return Group(np.zeros(people, np.int64), keypoints, labelled, area, list(range(people)))


def errors_of(rng: np.random.Generator, truth: Group, person: int) -> Pose:
    """Some joints jittered, some exchanged with their partner, some another person's, some absent."""
    owner = np.where(rng.random(19) < 0.2, rng.integers(len(truth), size=19), person)
    joint = np.where(rng.random(19) < 0.3, UNION_19.flip_index, np.arange(19))
    return Pose(truth.keypoints[owner, joint] + rng.normal(0, 4, (19, 2)), rng.random(19) < 0.8, 1.0, person)


def test_joints_of_several_people_are_counted_as_the_definition_says() -> None:
    rng = np.random.default_rng(0)
    groups = {image: group(rng, people) for image, people in enumerate((4, 1, 3, 4))}
    poses = {image: [errors_of(rng, one, person) for person in range(len(one))] for image, one in groups.items()}
    status, similarity = np.zeros((19, 5), int), np.zeros((19, 5, 50), int)
    for image, one in groups.items():
        keypoints = np.stack([pose.keypoints for pose in poses[image]])
        slow = slow_classes(one, np.arange(len(one)), keypoints, UNION_19, (0.5, 0.85))
        counted = np.stack([pose.present for pose in poses[image]]) & one.labelled
        for (person, joint), (code, best) in zip(np.ndindex(counted.shape), slow, strict=True):
            status[joint, code] += counted[person, joint]
            similarity[joint, code, min(int(best * 50), 49)] += counted[person, joint]
    counts = count_errors(groups, poses, (0,))
    np.testing.assert_array_equal(counts.status[0], status)
    np.testing.assert_array_equal(counts.similarity, similarity)
    assert counts.people == counts.poses == 12 and (status.sum(0) > 0).all()


def test_poses_go_to_the_person_they_name_or_to_the_most_similar_one() -> None:
    truth = group(np.random.default_rng(1), 3)
    truth.labelled[:] = True
    poses = [
        Pose(truth.keypoints[i] + 1, np.ones(19, bool), score, None) for i, score in ((2, 0.9), (2, 0.3), (0, 0.2))
    ]

    def pairs(*poses: Pose) -> list[tuple[int, int]]:
        matched = of_people(truth, [*poses])
        return list(zip(matched.rows.tolist(), matched.found.tolist(), strict=True))

    assert pairs(*poses) == [(2, 0), (0, 2)]
    assert pairs(*poses[::-1]) == [(2, 2), (0, 0)]
    named = replace(poses[0], person=1)
    assert pairs(named) == [(1, 0)]
    assert pairs(poses[1], named) == [(1, 1), (2, 0)]
    assert pairs(replace(named, person="somebody")) == []


def test_statuses_absent_joints_and_bands_are_counted(tmp_path: Path) -> None:
    gone, missed = TRUTH.copy(), TRUTH.copy()
    gone[0] = 0
    missed[9] += 5000
    truth = annotations(3)
    truth["annotations"][2]["keypoints"][5 * 3 :] = [0.0] * 36  # five labelled joints
    results = [result(0, gone), result(1, missed), result(2, TRUTH)]
    counts = measure(*written(tmp_path, truth, results), (0, 6, 11))
    assert counts.people == 3
    assert counts.labelled.sum(1).tolist() == [5, 0, 34]
    assert counts.absent.sum() == counts.absent[2, 0] == 1
    assert counts.status[2, 9].tolist() == [1, 0, 0, 0, 1]
    assert counts.status.sum((0, 1)).tolist() == [37, 0, 0, 0, 1]
    assert counts.similarity[:, GOOD, -1].sum() == 37
    assert counts.similarity[9, MISS, 0] == 1


def test_a_model_has_the_frequencies_of_many_joints_and_the_group_s_of_few(tmp_path: Path) -> None:
    missed = TRUTH.copy()
    missed[[5, 9]] += 5000  # left shoulder and left wrist, always
    truth = annotations(400)
    for row in truth["annotations"][5:]:
        row["keypoints"][6 * 3 + 2] = 0  # right shoulders are labelled five times only
    assert main(["--gt", *map(str, written(tmp_path, truth, [result(n, missed) for n in range(400)])[:1]),
                 "--pred", str(tmp_path / "pred.json"), "-o", str(tmp_path / "model.json")]) == 0  # fmt: skip
    model = load_error_model(tmp_path / "model.json")
    misses = dict(zip(UNION_19.joints, model.frequencies[0, :, MISS], strict=True))
    assert misses["left_wrist"] > 0.95
    assert misses["left_knee"] < 0.02
    # The other shoulder is missed nearly always: (0 + 20 * 0.98) / 25.
    assert 0.7 < misses["right_shoulder"] < 0.8
    # Nobody has head_top; the rest of the face is never missed.
    assert misses["head_top"] < 0.02
    assert model.absent.max() < 1e-6


def test_by_visible_gives_each_band_its_own_statuses(tmp_path: Path) -> None:
    truth = annotations(200)
    for row in truth["annotations"][:100]:
        row["keypoints"][5 * 3 :] = [0.0] * 36
    wrong = TRUTH + (0, 5000) * (np.arange(17) == 0)[:, None]
    gt, pred = written(tmp_path, truth, [result(n, wrong if n < 100 else TRUTH) for n in range(200)])
    out = tmp_path / "model.json"
    assert main(["--gt", str(gt), "--pred", str(pred), "-o", str(out), "--by-visible"]) == 0
    model = load_error_model(out)
    assert model.band(np.array([0, 5, 6, 10, 11, 17])).tolist() == [0, 0, 1, 1, 2, 2]
    assert model.frequencies[0, 0, MISS] > 0.85 > 0.15 > model.frequencies[2, 0, MISS]


def a_model(**changes: Any) -> ErrorModel:
    similarity = np.zeros((19, 5, 50))
    similarity[..., [3, 30, 44]] = [0.2, 0.3, 0.5]
    values = {
        "keypoints": UNION_19, "visible_from": (0,), "frequencies": np.full((1, 19, 5), 0.2),
        "absent": np.full((1, 19), 0.25), "similarity": similarity,
    }  # fmt: skip
    return ErrorModel(**(values | changes))


def test_similarities_follow_the_histogram_within_the_status_s_limits() -> None:
    status = np.repeat(np.arange(5), 4)
    drawn = a_model().draw_similarity(np.arange(20) % 19, status, 3000, np.random.default_rng(0))
    assert (drawn > 0).all()
    assert (drawn >= KS_LIMITS[status, :1]).all()
    assert (drawn <= KS_LIMITS[status, 1:]).all()
    misses = drawn[status == MISS]
    assert ((misses >= 0.06) & (misses <= 0.08)).mean() == pytest.approx(0.2, abs=0.015)  # four standard errors


def test_synthesis_errs_as_the_model_says() -> None:
    count, frequencies = 1500, np.tile([0.4, 0.3, 0.2, 0.0, 0.1], (1, 19, 1))
    base = np.stack([np.arange(19) * 1e5, np.zeros(19)], -1)[None].repeat(count, 0)
    people = People(base, np.ones((count, 19), bool), np.zeros((count, 0, 19, 2)), np.zeros((count, 0, 19), bool),
                    np.full(count, 3e4))  # fmt: skip
    model = a_model(frequencies=frequencies)
    position, status = synthesise(people, UNION_19, np.random.default_rng(0), error_model=model)
    wrist = UNION_19.index["left_wrist"]
    found = np.bincount(status[:, wrist], minlength=5) / count
    np.testing.assert_allclose(found, frequencies[0, wrist], atol=0.05)  # four standard errors
    jitter = np.linalg.norm(position - base, axis=-1)[:, wrist][status[:, wrist] == 1]
    similarity = np.exp(-(jitter**2) / (2 * 3e4 * (2 * UNION_19.sigmas[wrist]) ** 2))
    bins = [(0.5, 0.5), (0.6, 0.62), (0.85, 0.85)]  # 0.06 and 0.88 are no jitter: cut off at its limits
    shares = [((similarity >= low - 1e-9) & (similarity <= high + 1e-9)).mean() for low, high in bins]
    np.testing.assert_allclose(shares, [0.2, 0.3, 0.5], atol=0.1)


def test_a_model_of_other_joints_is_refused() -> None:
    people = People(np.zeros((1, 17, 2)), np.ones((1, 17), bool), np.zeros((1, 0, 17, 2)), np.zeros((1, 0, 17), bool),
                    np.ones(1))  # fmt: skip
    with pytest.raises(InputError, match="coco17"):
        synthesise(people, COCO_17, np.random.default_rng(0), error_model=a_model())


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"absent": np.zeros((2, 19))}, "absent"),
        ({"absent": np.full((1, 19), 1.5)}, "absent"),
        ({"frequencies": np.full((1, 19, 5), 0.3)}, "frequencies"),
        ({"similarity": np.full((19, 5, 50), np.nan)}, "similarity"),
        ({"visible_from": (1,)}, "visible_from"),
    ],
)
def test_impossible_models_are_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        a_model(**changes)


def test_absent_joints_of_the_model_are_missing_from_training_poses() -> None:
    person = Person("0", np.random.default_rng(0).uniform(0, 99, (19, 2)), np.ones(19, bool), np.zeros((0, 19, 2)),
                    np.zeros((0, 19), bool), np.zeros((0, 19, 2)), np.zeros((0, 19), bool),
                    np.array([0.0, 0, 50, 100]))  # fmt: skip
    config = SynthesisConfig(absent=0.9, absent_head=0)
    rng = np.random.default_rng(1)
    _, present = input_poses(stacked([person] * 400, rng), config, rng, a_model())
    assert present.mean() == pytest.approx(0.75, abs=0.02)  # four standard errors


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda m: m | {"format": "other"}, "not an error model"),
        (lambda m: m | {"version": 2}, "version 2"),
        (lambda m: {k: v for k, v in m.items() if k != "joints"}, "joints"),
        (lambda m: m | {"joints": m["joints"] | {"nose": {}}}, "labelled"),
        (lambda m: m | {"visible_from": [0, 6]}, "labelled"),
        (lambda m: m | {"joints": m["joints"] | {"nose": m["joints"]["nose"] | {"absent": [99]}}}, "absent"),
        (lambda m: [], "not an error model"),
    ],
)
def test_damaged_model_files_are_refused_by_name(tmp_path: Path, damage: Any, named: str) -> None:
    path = tmp_path / "model.json"
    counts = measure(*written(tmp_path, annotations(), [result(0, TRUTH)]))
    save_error_model(path, counts, "gt.json", "pred.json")
    assert load_error_model(path).frequencies.shape == (1, 19, len(ERROR_CLASSES))
    path.write_text(json.dumps(damage(json.loads(path.read_text()))))
    with pytest.raises(InputError, match=rf"model\.json: .*{named}"):
        load_error_model(path)


@pytest.mark.parametrize(
    ("truth", "results"),
    [
        ({}, []),
        (annotations(), [{"image_id": 0}]),
        (annotations(), [result(0, TRUTH) | {"keypoints": [1, 2, 3]}]),
        (annotations(), [result(77, TRUTH)]),
        (annotations(area=float("nan")), [result(0, TRUTH)]),
        (annotations(), 5),
    ],
)
def test_unusable_files_end_with_exit_code_3(
    tmp_path: Path, truth: Any, results: Any, caplog: pytest.LogCaptureFixture
) -> None:
    gt, pred = written(tmp_path, truth, results)
    assert main(["--gt", str(gt), "--pred", str(pred), "-o", str(tmp_path / "model.json")]) == 3
    assert "error: " in caplog.text
    assert not (tmp_path / "model.json").exists()


@pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data beside the checkout")
def test_a_real_estimator_s_errors_are_the_recorded_ones(tmp_path: Path) -> None:
    recorded = json.loads((DATA.parents[1] / "golden" / "coco_ap" / "dev_diagnosis.json").read_text())
    results = json.loads((DATA / "simplepose_val.json").read_text())
    anonymous = [{k: v for k, v in row.items() if k != "ann_id"} for row in results]
    (tmp_path / "pred.json").write_text(json.dumps(anonymous))
    counts = measure(DATA / "person_keypoints_val.json", tmp_path / "pred.json")
    expected = recorded["including_people_below_the_area_limit"]
    assert counts.people == expected["matched_people"]
    assert counts.status.sum((0, 1)).tolist() == [expected["counts"][name] for name in ERROR_CLASSES]
