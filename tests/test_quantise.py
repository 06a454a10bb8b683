"""Networks in INT8: the file, the engine that runs it, how NNCF makes it, and the command."""

import logging
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engines import compile_engine
from engines.benchmark import random_inputs
from engines.engine import EngineError
from engines.openvino_engine import OpenVinoEngine, to_openvino
from engines.quantise import quantise, serialised
from engines.quantised import quantised_facts, read_quantised, write_quantised
from posefix_track.cli import main
from posefix_track.errors import InputError, ResourceError
from posefix_track.figures import render_clip
from posefix_track.figures.tracker import tracked
from posefix_track.formats import write_native
from posefix_track.keypoints import COCO_17
from posefix_track.network import NetworkConfig, PoseFix
from posefix_track.poses import FramePoses, PoseSequence
from posefix_track.quantisation import _thinned, agreement
from posefix_track.refiner import PoseRefiner
from posefix_track.video import VideoWriter
from posefix_track.weights import SHIPPED, Weights, find_quantised, load_weights, quantised_path, save_weights
from tests.decided_network import decided_network

SIZE, JOINTS = (64, 64), 19
CONFIG = NetworkConfig("resnet18", input_size=SIZE, head_channels=(32, 32, 32))


@pytest.fixture(scope="module")
def network() -> PoseFix:
    return decided_network(CONFIG)


@pytest.fixture(scope="module")
def stored(network: PoseFix, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file's form without its arithmetic: what is stored is FP32."""
    path = tmp_path_factory.mktemp("int8") / "net.int8.safetensors"
    write_quantised(path, *serialised(to_openvino(network, SIZE, JOINTS)), {"weights_sha256": "abc"})
    return path


@pytest.fixture(scope="module")
def int8(network: PoseFix) -> ov.Model:
    pytest.importorskip("nncf", reason="quantising needs NNCF: pip install posefix_track[int8]")
    return quantise(network, SIZE, JOINTS, [random_inputs(4, SIZE, JOINTS, seed) for seed in range(2)])


def test_what_is_written_is_read(network: PoseFix, stored: Path) -> None:
    inputs = random_inputs(3, SIZE, JOINTS)
    found = OpenVinoEngine(network, SIZE, JOINTS, "int8", stored)
    # Kernels are chosen anew at each compilation and sum in another order.
    np.testing.assert_allclose(found(*inputs)[0], OpenVinoEngine(network, SIZE, JOINTS, "fp32")(*inputs)[0], atol=1e-3)
    assert found.name == "openvino cpu int8"
    assert quantised_facts(stored)["weights_sha256"] == "abc"


@pytest.mark.parametrize(("precision", "runs"), [("auto", "int8"), ("int8", "int8"), ("fp32", "fp32")])
def test_auto_takes_int8_where_there_is_one(network: PoseFix, stored: Path, precision: str, runs: str) -> None:
    engine = compile_engine(network, SIZE, JOINTS, "openvino", "cpu", precision, stored)
    assert engine.name == f"openvino cpu {runs}"


@pytest.mark.parametrize(
    ("precision", "message"),
    [("int8", "posefix-track quantise"), ("fp16", "has no precision 'fp16'"), ("int4", "unknown precision 'int4'")],
)
def test_a_precision_is_never_replaced(network: PoseFix, precision: str, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        compile_engine(network, SIZE, JOINTS, "openvino", "cpu", precision)


def test_bf16_without_its_instructions_is_refused(network: PoseFix, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ov.Core, "get_property", lambda *_: ["FP32"])
    with pytest.raises(EngineError, match="no BF16 instructions"):
        OpenVinoEngine(network, SIZE, JOINTS, "bf16")


def test_bf16_is_near_fp32(network: PoseFix) -> None:
    if "BF16" not in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor has no BF16 instructions")
    engine, inputs = OpenVinoEngine(network, SIZE, JOINTS, "bf16"), random_inputs(4, SIZE, JOINTS)
    difference = np.abs(engine(*inputs)[0] - OpenVinoEngine(network, SIZE, JOINTS, "fp32")(*inputs)[0])
    # BF16 keeps eight bits: measured 0.2 px in the median on a trained network of twice this size.
    assert 0 < np.median(difference) < 0.5


@pytest.mark.parametrize("content", [b"", b"not safetensors", None])
def test_a_damaged_file_is_refused(network: PoseFix, stored: Path, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(stored.read_bytes()[:-100] if content is None else content)
    with pytest.raises(EngineError, match="not a readable safetensors file"):
        OpenVinoEngine(network, SIZE, JOINTS, "int8", path)


def test_weights_are_no_int8_file() -> None:
    with pytest.raises(EngineError, match="not a network in INT8"):
        read_quantised(SHIPPED["lite"])


def fed_by_int8(model: ov.Model) -> set[str]:
    """Kinds of operations that see quantised values."""
    quantised = [op for op in model.get_ops() if op.get_type_name() == "FakeQuantize"]
    return {port.get_node().get_type_name() for op in quantised for port in op.output(0).get_target_inputs()}


def test_layers_are_quantised_and_coordinates_are_not(int8: ov.Model) -> None:
    kinds = fed_by_int8(int8)
    assert {"Convolution", "ConvolutionBackpropData"} <= kinds
    assert not kinds & {"MatMul", "Softmax", "ReduceSum", "Sigmoid", "Exp", "Result"}
    names = [op.get_friendly_name() for op in int8.get_ops() if op.get_type_name() == "FakeQuantize"]
    assert len(names) > 20
    assert not any("final" in name for name in names)


def test_int8_is_near_fp32(network: PoseFix, int8: ov.Model, tmp_path: Path) -> None:
    write_quantised(tmp_path / "net.safetensors", *serialised(int8), {})
    inputs = random_inputs(8, SIZE, JOINTS, seed=9)
    found = OpenVinoEngine(network, SIZE, JOINTS, "int8", tmp_path / "net.safetensors")(*inputs)
    expected = OpenVinoEngine(network, SIZE, JOINTS, "fp32")(*inputs)
    distance = np.linalg.norm(found[0] - expected[0], axis=-1)
    # Random deep networks amplify rounding; coordinates in INT8 would be off by a quarter of the crop.
    assert 0 < np.median(distance) < 4


def test_quantising_talks_to_nobody() -> None:
    pytest.importorskip("nncf", reason="quantising needs NNCF: pip install posefix_track[int8]")
    program = """
import sys
calls = []
sys.addaudithook(lambda event, _: calls.append(event) if event in ("socket.connect", "socket.getaddrinfo") else None)
from engines.quantise import _nncf
from importlib import import_module
_nncf()
print(calls, type(import_module("nncf.telemetry.wrapper").telemetry).__name__)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] MagicMock"


def test_int8_of_other_weights_is_not_used(
    network: PoseFix, stored: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_weights(tmp_path / "net.safetensors", network, {})
    weights = load_weights(tmp_path / "net.safetensors")
    assert find_quantised(weights) is None
    quantised_path(tmp_path / "net.safetensors").write_bytes(stored.read_bytes())
    with caplog.at_level(logging.WARNING):
        assert find_quantised(weights) is None
    assert "made from other weights" in caplog.text


def test_int8_is_not_replaced_where_weights_have_no_such_form(network: PoseFix) -> None:
    with pytest.raises(ResourceError, match="posefix-track quantise"):
        PoseRefiner(Weights(network, {}, ""), engine="openvino", device="cpu", precision="int8")


def test_a_damaged_int8_file_beside_weights_is_named(network: PoseFix, tmp_path: Path) -> None:
    save_weights(tmp_path / "net.safetensors", network, {})
    quantised_path(tmp_path / "net.safetensors").write_bytes(b"?")
    with pytest.raises(InputError, match=r"net\.int8\.safetensors: not a readable"):
        find_quantised(load_weights(tmp_path / "net.safetensors"))


def test_the_shipped_int8_form_belongs_to_the_shipped_weights() -> None:
    assert find_quantised(load_weights("lite")) == quantised_path(SHIPPED["lite"])


@given(st.lists(st.integers(0, 3), max_size=60), st.floats(0, 1.5))
def test_thinning_keeps_the_share_of_the_frames(people: list[int], share: float) -> None:
    frames = tuple(FramePoses(np.ones((n, 17, 2), np.float32), frame_index=i) for i, n in enumerate(people))
    thinned = _thinned(PoseSequence(COCO_17, frames), share).frames
    kept = [len(after) == len(before) for before, after in zip(frames, thinned, strict=True) if len(before)]
    assert len(thinned) == len(frames)
    assert [f.frame_index for f in thinned] == [f.frame_index for f in frames]
    assert all(len(after) in (0, len(before)) for before, after in zip(frames, thinned, strict=True))
    if all(people):
        assert abs(sum(kept) - min(share, 1) * len(people)) < 1


def test_agreement_is_the_mean_similarity_of_present_joints() -> None:
    rng = np.random.default_rng(0)
    batches = [random_inputs(4, SIZE, JOINTS, seed) for seed in range(2)]
    fp32 = [batch[1] + rng.normal(0, 2, batch[1].shape).astype(np.float32) for batch in batches]
    int8 = [one + rng.normal(0, 2, one.shape).astype(np.float32) for one in fp32]
    expected, distances = [], []
    for (_, poses, present), a, b in zip(batches, int8, fp32, strict=True):
        for person in range(4):
            seen = poses[person][present[person]]
            area = np.ptp(seen, 0).prod() * 0.53
            for joint in np.flatnonzero(present[person]):
                d = np.linalg.norm(a[person, joint] - b[person, joint])
                distances.append(d)
                expected.append(np.exp(-(d**2) / (2 * area * (2 * CONFIG.keypoint_set.sigmas[joint]) ** 2)))
    found = agreement(CONFIG, batches, int8, fp32)
    assert found.similarity == pytest.approx(np.mean(expected), abs=1e-6)
    assert (found.people, found.median_px) == (8, pytest.approx(np.median(distances), abs=1e-4))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A drawn clip, its poses, and weights of a small network."""
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    save_weights(folder / "net.safetensors", PoseFix(CONFIG).eval(), {})
    frames = list(render_clip(10, 4, (96, 128), 0))
    with VideoWriter(folder / "clip.mp4", 128, 96, Fraction(30)) as writer:
        for frame in frames:
            writer.write(frame.image)
    header = {"path": "clip.mp4", "width": 128, "height": 96, "fps": "30", "frames": 10}
    write_native(folder / "tracks.jsonl", tracked(frames, 0), header)
    return folder / "clip.mp4", folder / "tracks.jsonl", folder / "net.safetensors"


def test_the_command_makes_what_is_then_used(clip: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("nncf", reason="quantising needs NNCF: pip install posefix_track[int8]")
    video, poses, weights = map(str, clip)
    command = ["quantise", video, "--poses", poses, "--weights", weights, "--people", "16"]
    assert main(command) == 0
    assert "keypoint similarity to FP32" in capsys.readouterr().out
    assert find_quantised(load_weights(weights)) == quantised_path(clip[2])
    assert main(command) == 2
    assert "already exists" in capsys.readouterr().err


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quantising that leaves the network in FP32."""
    monkeypatch.setattr("posefix_track.quantisation.quantise", lambda *arguments: to_openvino(*arguments[:3]))


@pytest.mark.usefixtures("cheap")
def test_int8_far_from_fp32_is_thrown_away(
    clip: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("posefix_track.quantisation.LEAST_SIMILARITY", 1.1)
    video, poses, weights = map(str, clip)
    output = tmp_path / "out.safetensors"
    assert main(["quantise", video, "--poses", poses, "--weights", weights, "-o", str(output)]) == 5
    assert "too far from FP32" in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == []


@pytest.mark.usefixtures("cheap")
def test_half_of_the_people_check_the_other_half(
    clip: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video, poses, weights = map(str, clip)
    output = str(tmp_path / "out.safetensors")
    assert main(["quantise", video, "--poses", poses, "--weights", weights, "--people", "16", "-o", output]) == 0
    # FP32 against itself, on 16 of the 40 people in the clip.
    assert "similarity to FP32 1.0000, median distance 0.00 px" in (printed := capsys.readouterr().out)
    assert printed.strip().endswith("on 16 people")


def test_a_handful_of_people_is_too_few(
    clip: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = clip[1].read_text().splitlines(keepends=True)
    few = tmp_path / "few.jsonl"
    few.write_text("".join(lines[:3]))
    assert main(["quantise", str(clip[0]), "--poses", str(few), "--weights", str(clip[2]), "--overwrite"]) == 3
    assert "8 people to calibrate with, expected 16 or more" in capsys.readouterr().err
