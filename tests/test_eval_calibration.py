"""Reliability of the expected similarities, and what gates make of them."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.__main__ import main
from eval.calibration import JudgedJoints, gate_results, reliability
from posefix_track.errors import InputError
from posefix_track.gate import Gate
from posefix_track.keypoints import COCO_17


def _joints(count: int = 500, seed: int = 0) -> JudgedJoints:
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0, 200, (count, 2))
    expected = rng.uniform(0, 1, (count, 2))
    moved = [truth + rng.normal(0, 12, (count, 2)) for _ in range(2)]
    distance = np.linalg.norm(moved[1] - moved[0], axis=1) / 14
    return JudgedJoints(moved[0], moved[1], truth, expected, distance, np.full(count, 1e4), np.full(count, 0.07))


def test_similarity_is_that_of_oks_joint_by_joint() -> None:
    joints = _joints(5)
    for i in range(5):
        squared = ((joints.before[i] - joints.truth[i]) ** 2).sum()
        slow = np.exp(-squared / (2 * 1e4 * (2 * 0.07) ** 2))
        np.testing.assert_allclose(joints.similarity(joints.before)[i], slow, rtol=1e-12)


def test_honest_expectations_have_no_calibration_error_and_boastful_ones_do() -> None:
    rng = np.random.default_rng(0)
    expected = rng.uniform(0, 1, 200_000)
    true = (rng.random(200_000) < expected).astype(np.float64)
    assert reliability(expected, true).error < 0.01  # 20,000 draws a bin: about 0.003
    assert reliability(np.minimum(expected + 0.2, 1), true).error > 0.1


def test_reliability_counts_every_joint_once() -> None:
    table = reliability(np.array([0.0, 0.05, 0.1, 0.999, 1.0]), np.array([0.0, 1.0, 0.5, 1.0, 0.5]))
    assert table.count.tolist() == [2, 1, 0, 0, 0, 0, 0, 0, 0, 2]
    np.testing.assert_allclose(table.true[[0, 1, 9]], [0.5, 0.5, 0.75])


def test_the_oracle_is_at_least_as_good_as_either_side_and_does_no_harm() -> None:
    results = {r.name: r for r in gate_results(_joints(), [Gate()])}
    assert results["tracker"].harm == results["tracker"].healed == 0
    assert results["oracle"].harm == 0
    assert results["oracle"].similarity >= max(results["tracker"].similarity, results["no gate"].similarity)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(-0.2, 0.2), st.floats(0, 0.3), st.floats(0, 5))
def test_a_gate_moves_further_the_more_it_gains(
    refined: float, tracker: float, margin: float, width: float, distance: float
) -> None:
    gate, far = Gate(margin, width), np.array(distance, np.float32)
    here = gate.share(np.array([refined, tracker], np.float32), far)
    more = gate.share(np.array([min(refined + 0.1, 1), tracker], np.float32), far)
    farther = gate.share(np.array([refined, tracker], np.float32), far + 1)
    assert 0 <= farther <= here <= more <= 1


def test_a_gate_without_width_and_slope_is_all_or_nothing() -> None:
    expected = np.array([[0.9, 0.5], [0.55, 0.5], [0.2, 0.9]], np.float32)
    assert Gate(0.1, 0, 0).share(expected, np.full(3, 2, np.float32)).tolist() == [1, 0, 0]


def test_a_gate_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(InputError, match="width"):
        Gate(0.0, -1)


def test_the_command_judges_every_labelled_joint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    images = tmp_path / "images"
    images.mkdir()
    cv2.imwrite(str(images / "a.png"), rng.integers(0, 255, (200, 200, 3), np.uint8))
    truth = np.concatenate([rng.uniform(40, 160, (17, 2)), np.full((17, 1), 2.0)], 1)
    truth[3] = 0
    poses = truth + np.concatenate([rng.normal(0, 3, (17, 2)), np.zeros((17, 1))], 1)
    person = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 1e4, "bbox": [40, 40, 120, 120]}
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 200, "height": 200}],
        "annotations": [person | {"keypoints": truth.ravel().tolist(), "num_keypoints": 16}],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO_17.joints)}],
    }
    (tmp_path / "gt.json").write_text(json.dumps(content))
    row = {"image_id": 1, "category_id": 1, "score": 1.0, "keypoints": poses.ravel().tolist()}
    (tmp_path / "poses.json").write_text(json.dumps([row]))
    files = ["--gt", str(tmp_path / "gt.json"), "--poses", str(tmp_path / "poses.json"), "--images", str(images)]
    plot, out = tmp_path / "plot.png", tmp_path / "out.json"
    assert main(["calibration", *files, "--plot", str(plot), "--json", str(out)]) == 0
    assert "oracle" in capsys.readouterr().out
    assert json.loads(out.read_text())["joints"] == 16
    assert cv2.imread(str(plot)) is not None
