import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from posefix_track.errors import InputError
from posefix_track.network import NetworkConfig, PoseFix
from posefix_track.weights import find_weights, load_weights, save_weights

CONFIG = NetworkConfig(input_size=(64, 64), keypoints="posetrack18", head_channels=(16, 16, 16))
INFO = {"trained_on": ["drawings", "né"], "ap": 0.5, "steps": 7}


@pytest.fixture(scope="module")
def network() -> PoseFix:
    torch.manual_seed(0)
    return PoseFix(CONFIG).eval()


@pytest.fixture
def saved(tmp_path: Path, network: PoseFix) -> Path:
    path = tmp_path / "weights.safetensors"
    save_weights(path, network, INFO)
    return path


def parts(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


def test_half_precision_weights_come_back(saved: Path, network: PoseFix) -> None:
    loaded = load_weights(saved)
    for name, tensor in network.state_dict().items():
        kept = loaded.network.state_dict()[name]
        assert kept.dtype == tensor.dtype
        torch.testing.assert_close(kept, tensor.half().to(tensor.dtype) if tensor.is_floating_point() else tensor)


def test_single_precision_weights_come_back_exactly(tmp_path: Path, network: PoseFix) -> None:
    save_weights(tmp_path / "w.safetensors", network, {}, torch.float32)
    loaded = load_weights(tmp_path / "w.safetensors").network.state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in network.state_dict().items())


def test_config_and_account_survive(saved: Path) -> None:
    loaded = load_weights(saved)
    assert loaded.network.config == CONFIG
    assert loaded.info == INFO
    assert len(loaded.sha256) == 64


@pytest.mark.parametrize("antialias", [True, False])
def test_originals_imported_before_crops_were_centred_stay_as_they_were(
    saved: Path, network: PoseFix, antialias: bool
) -> None:
    tensors, metadata = parts(saved)
    config = {**network.config.to_dict(), "antialias": antialias}
    del config["centred_crops"]
    save_file(tensors, saved, metadata | {"config": json.dumps(config)})
    assert load_weights(saved).network.config.centred_crops == antialias


@pytest.mark.parametrize("centred", [True, False])
def test_what_a_file_says_of_its_crops_counts(tmp_path: Path, centred: bool) -> None:
    config = replace(CONFIG, centred_crops=centred, antialias=not centred)
    save_weights(tmp_path / "w.safetensors", PoseFix(config), {})
    assert load_weights(tmp_path / "w.safetensors").network.config == config


def test_the_loaded_network_is_ready_to_run(saved: Path) -> None:
    network = load_weights(saved).network
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())


def test_values_beyond_half_precision_are_kept(tmp_path: Path) -> None:
    network = PoseFix(CONFIG)
    variance = network.backbone.features[0][1].running_var
    variance[0] = 1e6
    save_weights(tmp_path / "w.safetensors", network, {})
    assert load_weights(tmp_path / "w.safetensors").network.backbone.features[0][1].running_var[0] == 1e6


def test_saving_leaves_nothing_else_behind(saved: Path) -> None:
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_a_pickle_is_refused(tmp_path: Path, network: PoseFix) -> None:
    for name, legacy in (("zip.pt", True), ("old.pt", False)):
        torch.save(network.state_dict(), tmp_path / name, _use_new_zipfile_serialization=legacy)
        with pytest.raises(InputError, match=rf"{name}: not a readable safetensors file"):
            load_weights(tmp_path / name)


@pytest.mark.parametrize("size", [0, 4, 100, 5000, -1])
def test_a_truncated_file_is_refused(saved: Path, size: int) -> None:
    saved.write_bytes(saved.read_bytes()[:size])
    with pytest.raises(InputError, match=r"weights\.safetensors: not a readable safetensors file"):
        load_weights(saved)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_foreign_safetensors_are_refused(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(3)}, path, metadata)
    with pytest.raises(InputError, match=r"foreign\.safetensors: not posefix_track weights"):
        load_weights(path)


@pytest.mark.parametrize("change", ["shape", "missing", "extra"])
def test_tensors_that_do_not_fit_are_refused(saved: Path, change: str) -> None:
    tensors, metadata = parts(saved)
    last = "head.final.bias"
    if change == "shape":
        tensors[last] = torch.zeros(5)
    elif change == "missing":
        del tensors[last]
    else:
        tensors["head.final.scale"] = torch.zeros(5)
    save_file(tensors, saved, metadata)
    with pytest.raises(InputError, match=r"weights\.safetensors: tensors do not fit the network: .*head\.final\."):
        load_weights(saved)


@pytest.mark.parametrize(
    "damage",
    [
        {"config": "{"},
        {"config": "[]"},
        {"config": "null"},
        {"config": '{"colour": 3}'},
        {"config": '{"backbone": "vgg16"}'},
        {"config": '{"keypoints": "coco71"}'},
        {"config": '{"input_size": [33, 32]}'},
        {"config": '{"input_size": ["a", "b"]}'},
        {"config": '{"head_channels": [-1, 2, 3]}'},
        {"config": '{"mean": [1, 2]}'},
        {"info": "{"},
    ],
    ids=lambda damage: str(*damage.values()),
)
def test_a_damaged_description_is_refused(saved: Path, damage: dict[str, str]) -> None:
    tensors, metadata = parts(saved)
    save_file(tensors, saved, metadata | damage)
    with pytest.raises(InputError, match=r"weights\.safetensors: unusable network config"):
        load_weights(saved)


def test_a_file_without_a_config_is_refused(saved: Path) -> None:
    tensors, metadata = parts(saved)
    del metadata["config"]
    save_file(tensors, saved, metadata)
    with pytest.raises(InputError, match="unusable network config"):
        load_weights(saved)


def test_an_unknown_name_lists_the_shipped_ones(tmp_path: Path) -> None:
    for name in ("huge", tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(InputError, match=r"no weights .*give a \.safetensors file, a URL or one of lite"):
            find_weights(name)


def test_the_metadata_is_plain_json(saved: Path) -> None:
    _, metadata = parts(saved)
    assert json.loads(metadata["config"])["keypoints"] == "posetrack18"
    assert json.loads(metadata["info"]) == INFO
