import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from posefix_track.errors import InputError, UsageError
from posefix_track.network import PoseFix, original_config
from posefix_track.weights import load_weights
from tests import bundle_writer as writer
from trainer import import_tf
from trainer.crc32c import masked_crc32c
from trainer.tensor_bundle import TensorBundle

# Variables of a training snapshot that are no weights of the network.
OPTIMISER = ("Variable", "beta1_power", "beta2_power", "out/weights/Adam", "up1/BatchNorm/gamma/Adam_1")
BLOCKS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3), "resnet152": (3, 8, 36, 3)}
TENSORS = {"resnet50": 282, "resnet101": 537, "resnet152": 792}

Shapes = dict[str, tuple[int, ...]]


def published_shapes(backbone: str) -> Shapes:
    """Names and shapes of the original's variables, written down from its layer definitions."""
    scope = backbone.replace("resnet", "resnet_v1_")
    shapes = dict(group(f"{scope}/conv1", (7, 7, 20, 64)))
    width = 64
    for b, (units, planes) in enumerate(zip(BLOCKS[backbone], (64, 128, 256, 512), strict=True), 1):
        for u in range(1, units + 1):
            unit = f"{scope}/block{b}/unit_{u}/bottleneck_v1"
            if u == 1:
                shapes.update(group(f"{unit}/shortcut", (1, 1, width, planes * 4)))
            shapes.update(group(f"{unit}/conv1", (1, 1, width, planes)))
            shapes.update(group(f"{unit}/conv2", (3, 3, planes, planes)))
            shapes.update(group(f"{unit}/conv3", (1, 1, planes, planes * 4)))
            width = planes * 4
    for i, channels in enumerate((2048, 256, 256), 1):
        shapes.update(group(f"up{i}", (4, 4, 256, channels), norm=256))
    return shapes | {"out/weights": (1, 1, 256, 17), "out/biases": (17,)}


def group(layer: str, shape: tuple[int, ...], norm: int = 0) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{layer}/weights", shape
    for name in ("gamma", "beta", "moving_mean", "moving_variance"):
        yield f"{layer}/BatchNorm/{name}", (norm or shape[3],)


# One pool of numbers stands for all variables, each beginning one number later: 34 MB in place of 136.
POOL = np.random.default_rng(0).random(4 * 4 * 256 * 2048 + 1000, np.float32)


def entries_of(shapes: Shapes, checked: bool = False) -> dict[str, dict[int, bytes]]:
    """Entries with a checksum only where the test comes to read values."""
    entries = {}
    for i, (name, shape) in enumerate(shapes.items()):
        size = 4 * int(np.prod(shape))
        crc = masked_crc32c(POOL[i : i + size // 4].tobytes()) if checked else 0
        where = {4: writer.field(4, 4 * i), 5: writer.field(5, size), 6: writer.fixed(6, crc)}
        entries[name] = {1: writer.field(1, writer.FLOAT), 2: writer.field(2, writer.shape_message(shape)), **where}
    return entries


@pytest.fixture
def shapes() -> Shapes:
    return published_shapes("resnet50") | dict.fromkeys(OPTIMISER, ())


def write_snapshot(folder: Path, shapes: Shapes, data: bytes = b"") -> Path:
    writer.write_files(folder / "snapshot_9.ckpt", entries_of(shapes), data)
    return folder / "snapshot_9.ckpt"


def write_meta(snapshot: Path, content: bytes) -> None:
    snapshot.with_name(snapshot.name + ".meta").write_bytes(content)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights file of a whole synthetic ResNet-50 snapshot."""
    folder = tmp_path_factory.mktemp("snapshot")
    shapes = published_shapes("resnet50") | dict.fromkeys(OPTIMISER, ())
    writer.write_files(folder / "snapshot_9.ckpt", entries_of(shapes, checked=True), POOL.tobytes())
    output = folder / "out" / "weights.safetensors"
    arguments = [str(folder / "snapshot_9.ckpt.index"), "-o", str(output), "--keypoints", "posetrack18"]
    assert import_tf.main([*arguments, "--input-size", "384x288"]) == 0
    return output


@pytest.mark.parametrize("backbone", BLOCKS)
def test_every_published_variable_has_its_place(backbone: str) -> None:
    with torch.device("meta"):
        network = PoseFix(original_config(backbone))
    names = import_tf.variable_names(network)
    ours = {name for name in network.state_dict() if not name.endswith("num_batches_tracked")}
    assert names.keys() == published_shapes(backbone).keys()
    assert set(names.values()) == ours
    assert len(names) == len(ours) == TENSORS[backbone]


def test_every_value_arrives_at_its_place(imported: Path) -> None:
    network = load_weights(imported).network
    state, names = network.state_dict(), import_tf.variable_names(network)
    for i, (name, shape) in enumerate(published_shapes("resnet50").items()):
        values = POOL[i : i + np.prod(shape)].reshape(shape)
        ours = state[names[name]].numpy()
        # Kernels: [height, width, a, b] -> [b, a, height, width].
        expected = np.moveaxis(values, (3, 2), (0, 1)) if values.ndim == 4 else values
        np.testing.assert_array_equal(ours, expected, err_msg=name)


def test_the_weights_file_is_the_originals_network(imported: Path) -> None:
    config = load_weights(imported).network.config
    assert config == replace(original_config("resnet50", (384, 288)), keypoints="posetrack18")
    assert config.sigma == 9


def test_the_weights_file_says_where_it_comes_from(imported: Path) -> None:
    info = load_weights(imported).info
    digest = hashlib.sha256(POOL.tobytes()).hexdigest()
    assert info["imported_from"] == "snapshot_9.ckpt"
    assert info["sha256"] == {"snapshot_9.ckpt.data-00000-of-00001": digest}
    assert "licence" in info


def test_an_existing_output_is_kept(imported: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = imported.stat().st_mtime_ns
    snapshot = imported.parent.parent / "snapshot_9.ckpt"
    assert import_tf.main([str(snapshot), "-o", str(imported)]) == UsageError.exit_code
    assert imported.stat().st_mtime_ns == before
    assert "already exists; choose another output or add --overwrite" in caplog.text


def test_a_missing_snapshot_is_one_sentence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    arguments = [str(tmp_path / "no.ckpt.meta"), "-o", str(tmp_path / "w.safetensors")]
    assert import_tf.main(arguments) == InputError.exit_code
    assert "error: cannot read the checkpoint index" in caplog.text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["up2/BatchNorm/beta", "out/biases", "resnet_v1_50/block4/unit_3/bottleneck_v1/conv2/weights"]
)
def test_a_missing_variable_is_named(tmp_path: Path, shapes: Shapes, name: str) -> None:
    del shapes[name]
    with pytest.raises(InputError, match=rf"snapshot_9\.ckpt: .* lacks 1 variables such as {name}$"):
        import_tf.import_checkpoint(write_snapshot(tmp_path, shapes))


@pytest.mark.parametrize("name", ["resnet_v1_50/logits/weights", "up4/weights", "up4/weights/Adam", "Variable_1"])
def test_an_unknown_variable_is_named(tmp_path: Path, shapes: Shapes, name: str) -> None:
    with pytest.raises(InputError, match=rf"has unknown 1 variables such as {name}$"):
        import_tf.import_checkpoint(write_snapshot(tmp_path, shapes | {name: (1,)}))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("resnet_v1_50/conv1/weights", (7, 7, 3, 64)),
        ("out/weights", (1, 1, 256, 16)),
        ("up1/weights", (4, 4, 2048, 256)),
    ],
    ids=["ImageNet classifier", "16 joints", "transposed"],
)
def test_a_variable_of_another_shape_is_named(
    tmp_path: Path, shapes: Shapes, name: str, shape: tuple[int, ...]
) -> None:
    with pytest.raises(InputError, match=rf"{name} has shape {re.escape(str(list(shape)))}, expected \["):
        import_tf.import_checkpoint(write_snapshot(tmp_path, shapes | {name: shape}))


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path, shapes: Shapes) -> None:
    with pytest.raises(InputError, match="not a PoseFix snapshot: expected one ResNet-50, 101 or 152, got 0"):
        import_tf.import_checkpoint(write_snapshot(tmp_path, {"dense/weights": (2, 2)}))
    with pytest.raises(InputError, match="got 2"):
        import_tf.import_checkpoint(write_snapshot(tmp_path, shapes | published_shapes("resnet101")))


@pytest.mark.parametrize(
    ("name", "value"),
    [("out/biases", np.nan), ("out/biases", np.inf), ("resnet_v1_50/conv1/BatchNorm/moving_variance", -1.0)],
)
def test_impossible_values_are_refused(tmp_path: Path, name: str, value: float) -> None:
    values = np.full(64, value, np.float32)
    writer.write_bundle(tmp_path / "s.ckpt", {name: values})
    with pytest.raises(InputError, match=rf"s\.ckpt: {name} holds NaN, infinite or impossible values"):
        import_tf.checked_values(TensorBundle(tmp_path / "s.ckpt"), name)


@pytest.mark.parametrize("size", [(256, 192), (384, 288)])
def test_the_graph_tells_the_input_size(tmp_path: Path, shapes: Shapes, size: tuple[int, int]) -> None:
    snapshot = write_snapshot(tmp_path, shapes)
    others = [writer.field(1, b"x") + writer.field(2, b"Add"), writer.placeholder(()), writer.placeholder((12, 17, 2))]
    write_meta(snapshot, writer.meta([*others, writer.placeholder((12, *size, 3))]))
    assert import_tf.recorded_input_size(TensorBundle(snapshot)) == size


def test_a_graph_without_images_or_no_graph_tells_nothing(tmp_path: Path, shapes: Shapes) -> None:
    snapshot = write_snapshot(tmp_path, shapes)
    assert import_tf.recorded_input_size(TensorBundle(snapshot)) is None
    write_meta(snapshot, writer.meta([writer.placeholder((12, 64, 48, 17))]))
    assert import_tf.recorded_input_size(TensorBundle(snapshot)) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            writer.meta([writer.placeholder((12, 256, 256, 3))]),
            "trained with 256x256 crops, expected 256x192 or 384x288",
        ),
        (writer.meta([writer.placeholder((12, 256, 192, 3))])[:-3], "not a readable TensorFlow graph"),
        (b"\xff" * 20, "not a readable TensorFlow graph: .*; give --input-size"),
    ],
    ids=["odd size", "cut short", "noise"],
)
def test_an_odd_graph_is_refused(tmp_path: Path, shapes: Shapes, content: bytes, message: str) -> None:
    snapshot = write_snapshot(tmp_path, shapes)
    write_meta(snapshot, content)
    with pytest.raises(InputError, match=rf"snapshot_9\.ckpt\.meta: {message}"):
        import_tf.import_checkpoint(snapshot)
