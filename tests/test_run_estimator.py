"""Poses of an estimator on annotated people."""

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from posefix_track.keypoints import COCO_17
from trainer.run_estimator import Estimator, estimate, main, peaks


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every heatmap is the picture's brightness: all joints are where it is brightest."""
    path = tmp_path_factory.mktemp("model") / "bright.onnx"
    nodes = [
        helper.make_node("AveragePool", ["crop"], ["cells"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Conv", ["cells", "weight"], ["heatmaps"]),
    ]
    picture = helper.make_tensor_value_info("crop", TensorProto.FLOAT, [1, 3, 64, 64])
    heatmaps = helper.make_tensor_value_info("heatmaps", TensorProto.FLOAT, [1, 17, 16, 16])
    weight = numpy_helper.from_array(np.full((17, 3, 1, 1), 1 / 3, np.float32), "weight")
    graph = helper.make_graph(nodes, "bright", [picture], [heatmaps], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A picture with one white spot at (120, 80), within a person's box."""
    image = np.zeros((200, 240, 3), np.uint8)
    cv2.circle(image, (120, 80), 6, (255, 255, 255), -1)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    person = {"id": 7, "image_id": 3, "bbox": [80, 40, 80, 80], "keypoints": [90, 50, 2] * 17, "iscrowd": 0}
    content = {
        "images": [{"id": 3, "file_name": "a.png"}],
        "annotations": [person],
        "categories": [{"keypoints": list(COCO_17.joints)}],
    }
    (tmp_path / "people.json").write_text(json.dumps(content))
    return tmp_path


def test_peaks_lie_between_cells_towards_the_larger_neighbour() -> None:
    heatmap = np.zeros((1, 8, 8), np.float32)
    heatmap[0, 5, 3], heatmap[0, 5, 4], heatmap[0, 4, 3] = 1, 0.5, 0.2
    position, value = peaks(heatmap)
    assert position.tolist() == [[13.0, 19.0]]
    assert value.tolist() == [1.0]


def test_every_variant_finds_the_spot_in_image_pixels(model: Path, data: Path) -> None:
    rows = list(estimate(Estimator.load(model), data / "people.json", [data], variants=8))
    assert [row["ann_id"] for row in rows] == [7] * 8
    found = np.array([row["keypoints"] for row in rows]).reshape(8, 17, 3)[..., :2]
    near = np.linalg.norm(found - (120, 80), axis=2).max(1) < 12  # the spot's radius and a heatmap cell
    assert near[0]
    assert near.sum() >= 6  # a covered or repainted crop may show something brighter
    assert len(np.unique(found[:, 0], axis=0)) == 8


def test_the_same_seed_gives_the_same_file(model: Path, data: Path) -> None:
    files = data / "1.json", data / "2.json"
    for file in files:
        options = ["--annotations", str(data / "people.json"), "--images", str(data), "-o", str(file)]
        assert main([str(model), *options]) == 0
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_file_that_is_no_network_is_refused(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    (data / "bad.onnx").write_bytes(b"nothing")
    files = ["--annotations", str(data / "people.json"), "--images", str(data), "-o", str(data / "out.json")]
    assert main([str(data / "bad.onnx"), *files]) == 3
    assert "not an ONNX network" in caplog.text
    assert not (data / "out.json").exists()
