import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from posefix_track.errors import InputError
from posefix_track.keypoints import COCO_17
from posefix_track.network import PoseFix
from tests.training_data import PICTURES, annotation, recipe, write_training_data
from trainer.recipe import ValidationConfig
from trainer.validation import Validation, load_validation

REAL = Path(__file__).parents[2] / "shared" / "data"
CONFIG = ValidationConfig("people.json", ("pictures", "shard.tar"), "poses.json")


def official(truth: Path, results: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    coco = COCO(str(truth))
    evaluation = COCOeval(coco, coco.loadRes(str(results)), "keypoints")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    capsys.readouterr()
    return dict(zip(("ap", "ap50", "ap75"), evaluation.stats[:3].tolist(), strict=True))


def random_scene(rng: np.random.Generator, root: Path) -> None:
    """Six pictures of several people, among them crowds and people without joints; poses near, far and tied."""
    people, poses = [], []
    for number in range(24):
        one = annotation(number, image_id=number % PICTURES, area=float(rng.uniform(500, 6000)))
        one["bbox"] = [*rng.uniform(0, 30, 2).tolist(), *rng.uniform(20, 90, 2).tolist()]
        one["iscrowd"] = int(number % 7 == 3)
        if number % 5 == 2:
            one["keypoints"] = [0] * 51
        one["num_keypoints"] = int((np.array(one["keypoints"])[2::3] > 0).sum())
        people.append(one)
        for _ in range(rng.integers(0, 8)):
            points = np.array(one["keypoints"], float).reshape(17, 3)
            points[:, :2] += rng.normal(0, rng.choice([0.1, 3, 10]), (17, 2))
            row = {"image_id": number % PICTURES, "category_id": 1, "score": float(rng.integers(1, 9) / 8)}
            poses.append(row | {"keypoints": points.ravel().tolist()})
    write_training_data(root, people)
    (root / "poses.json").write_text(json.dumps(poses))


@pytest.mark.parametrize("seed", range(6))
def test_average_precision_is_that_of_pycocotools(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    random_scene(np.random.default_rng(seed), tmp_path)
    validation = load_validation(CONFIG, tmp_path)
    assert validation is not None
    found = validation._precision(validation.rows)
    expected = official(tmp_path / "people.json", tmp_path / "poses.json", capsys)
    assert 0 < expected["ap"] < 1
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real COCO samples are not beside this checkout")
@pytest.mark.parametrize("name", ["val", "val2"])
def test_average_precision_of_real_poses_is_that_of_pycocotools(capsys: pytest.CaptureFixture[str], name: str) -> None:
    truth, poses = f"coco/person_keypoints_{name}.json", f"coco/simplepose_{name}.json"
    validation = load_validation(ValidationConfig(truth, (f"coco/images/{name}",), poses), REAL)
    assert validation is not None
    found = validation._precision(validation.rows)
    assert found == pytest.approx(official(REAL / truth, REAL / poses, capsys), abs=1e-12)


class _Shifting(PoseFix):
    """Moves every joint by some pixels of the crop, whatever the picture shows."""

    shift = (0.0, 0.0)

    def forward(self, images: Any, keypoints: Any, present: Any) -> Any:
        moved = keypoints + keypoints.new_tensor(self.shift)
        return moved, keypoints.new_tensor([1.0, 0.0]).expand_as(keypoints)


@pytest.fixture
def validation(tmp_path: Path) -> Validation:
    """People whose poses are exact but for a wrist of each, which is far away."""
    write_training_data(tmp_path)
    poses = []
    for number in range(PICTURES):
        points = np.array(annotation(number)["keypoints"], float).reshape(17, 3)
        points[:, 2] = 1
        points[COCO_17.index["left_wrist"], 0] += 500
        poses.append({"image_id": number, "category_id": 1, "score": 0.5, "keypoints": points.ravel().tolist()})
    (tmp_path / "poses.json").write_text(json.dumps(poses))
    found = load_validation(CONFIG, tmp_path)
    assert found is not None
    return found


def test_a_network_that_moves_nothing_changes_no_score(validation: Validation) -> None:
    network = _Shifting(replace(recipe().network, keypoints="coco17"))
    scores = validation.scores(network.train())
    assert network.training
    assert scores["harmed"] == scores["mended"] == 0
    for name in ("ap", "ap50", "ap75", "good", "jitter", "inversion", "swap", "miss"):
        assert scores[name] == pytest.approx(scores[f"{name}_before"], abs=1e-6)
    joints = [np.array(annotation(n)["keypoints"])[2::3] > 0 for n in range(PICTURES)]
    wrists = sum(bool(labelled[COCO_17.index["left_wrist"]]) for labelled in joints)
    assert scores["good"] == pytest.approx(1 - wrists / sum(map(sum, joints)))
    assert sum(scores[name] for name in ("good", "jitter", "inversion", "swap", "miss")) == pytest.approx(1)


def test_harm_is_counted(validation: Validation) -> None:
    network = _Shifting(replace(recipe().network, keypoints="coco17"))
    network.shift = (0.0, 1000.0)  # so far that flipping the crop changes nothing
    scores = validation.scores(network)
    assert scores["harmed"] == 1 and scores["mended"] == 0 and scores["good"] == 0
    assert scores["ap"] == 0 < scores["ap_before"]


def test_no_validation_is_none(tmp_path: Path) -> None:
    assert load_validation(ValidationConfig(), tmp_path) is None


@pytest.mark.parametrize("name", ["people.json", "poses.json"])
@pytest.mark.parametrize("content", ["", "{}", "[3]", '[{"image_id": 1}]'])
def test_a_bad_validation_file_is_named(tmp_path: Path, name: str, content: str) -> None:
    random_scene(np.random.default_rng(0), tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=name):
        load_validation(CONFIG, tmp_path)


def test_missing_pictures_are_counted(tmp_path: Path) -> None:
    random_scene(np.random.default_rng(0), tmp_path)
    with pytest.raises(InputError, match=r"people\.json: 3 pictures are not there, such as 1\.png"):
        load_validation(replace(CONFIG, images=("pictures",)), tmp_path)


def test_poses_of_other_pictures_are_refused(validation: Validation, tmp_path: Path) -> None:
    poses = [row | {"image_id": row["image_id"] + 50} for rows in validation.rows.values() for row in rows]
    (tmp_path / "poses.json").write_text(json.dumps(poses))
    other = load_validation(CONFIG, tmp_path)
    assert other is not None
    with pytest.raises(InputError, match="none of the validation's poses belongs to an annotated person"):
        other.scores(_Shifting(recipe().network))


def test_validation_needs_no_pycocotools(validation: Validation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    assert "ap" in validation.scores(_Shifting(recipe().network))
