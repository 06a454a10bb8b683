import json
import logging
import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from engines.engine import EngineError
from engines.plan_cache import PlanCache, cache_folder
from engines.plan_key import PlanKey, _source, code_sha256, weights_sha256
from posefix_track.network import NetworkConfig, PoseFix
from tests.toy_network import ToyNetwork

KEY = PlanKey("w", "c", "tensorrt", "10.15.1.29", "NVIDIA H200", "9.0", 132, "fp16", (256, 192), 17, (1, 32, 64))
CHANGES: dict[str, Any] = {
    "weights_sha256": "x", "code_sha256": "x", "library": "tensorrt-rtx", "library_version": "10.15.1.30",
    "gpu": "NVIDIA H100", "sm": "8.9", "processors": 131, "precision": "fp32", "input_size": (192, 256), "joints": 19,
    "batches": (1, 16, 64),
}  # fmt: skip
posix_only = pytest.mark.skipif(not hasattr(os, "getuid"), reason="Windows has no modes")


def fail() -> tuple[bytes, dict[str, Any]]:
    raise AssertionError("built although the plan is there")


@pytest.fixture
def cache(tmp_path: Path) -> PlanCache:
    return PlanCache(tmp_path / "plans")


def test_a_plan_is_built_once_and_then_read(cache: PlanCache) -> None:
    built = cache.get_or_build(KEY, lambda: (b"plan", {"build_seconds": 3.5}))
    read = PlanCache(cache.folder).get_or_build(KEY, fail)
    assert read == built
    assert read.data == b"plan" and read.notes["build_seconds"] == 3.5 and read.notes["key"] == KEY.to_dict()


def test_every_field_of_the_key_is_tried_below() -> None:
    assert set(CHANGES) == set(KEY.to_dict())


@pytest.mark.parametrize("field", CHANGES)
def test_a_plan_is_built_anew_when_any_part_of_its_key_changes(cache: PlanCache, field: str) -> None:
    cache.put(KEY, b"plan", {})
    other = replace(KEY, **{field: CHANGES[field]})
    assert cache.get(other) is None
    # Nor would a file under the other's name do.
    cache.path(KEY).rename(cache.path(other))
    cache.path(KEY).with_suffix(".plan.json").rename(cache.path(other).with_suffix(".plan.json"))
    assert cache.get(other) is None
    assert cache.get_or_build(other, lambda: (b"other", {})).data == b"other"


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "notes", "no notes", "old notes"])
def test_a_damaged_plan_is_built_anew(cache: PlanCache, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    path = cache.put(KEY, b"plan", {}).path
    notes = path.with_suffix(".plan.json")
    if damage == "no notes":
        notes.unlink()
    elif damage == "old notes":
        notes.write_text(json.dumps({**json.loads(notes.read_text()), "format": 0}))
    else:
        target = notes if damage == "notes" else path
        target.write_bytes({"flip": b"plam", "cut": b"pla", "empty": b"", "notes": b"{"}[damage])
    assert cache.get(KEY) is None
    assert str(path) in caplog.text
    assert cache.get_or_build(KEY, lambda: (b"plan", {})).data == b"plan"
    assert cache.get(KEY) is not None


@posix_only
@pytest.mark.parametrize("which", ["plan", "plan.json"])
@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_plan_that_others_may_write_is_not_read(cache: PlanCache, which: str, mode: int) -> None:
    path = cache.put(KEY, b"plan", {}).path
    path.with_suffix(f".{which}").chmod(mode)
    assert cache.get(KEY) is None


@posix_only
def test_links_are_not_followed(cache: PlanCache, tmp_path: Path) -> None:
    path = cache.put(KEY, b"plan", {}).path
    elsewhere = path.rename(tmp_path / "elsewhere.plan")
    path.symlink_to(elsewhere)
    assert cache.get(KEY) is None


@posix_only
def test_another_users_plan_is_not_read(cache: PlanCache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.put(KEY, b"plan", {})
    monkeypatch.setattr(os, "getuid", lambda: -1)
    assert cache.get(KEY) is None
    with pytest.raises(EngineError, match="belongs to another user"):
        PlanCache(cache.folder)


@posix_only
def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(EngineError, match="may be written by others"):
        PlanCache(tmp_path)


@posix_only
def test_the_folder_and_its_files_are_the_users_alone(cache: PlanCache) -> None:
    cache.put(KEY, b"plan", {})
    assert [oct(path.stat().st_mode & 0o777) for path in (cache.folder, *cache.folder.iterdir())] == [
        "0o700", "0o600", "0o600",
    ]  # fmt: skip


def test_an_interrupted_write_leaves_the_old_plan(cache: PlanCache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.put(KEY, b"plan", {})

    def interrupt(*_: object) -> Path:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", interrupt)
        cache.put(KEY, b"new plan", {})
    kept = cache.get(KEY)
    assert kept is not None and kept.data == b"plan"
    assert not list(cache.folder.glob("*.part"))


def test_the_second_of_two_builders_waits_and_takes_the_firsts_plan(
    cache: PlanCache, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engines.plan_cache._SECONDS_BEFORE_A_WORD", 0.01)
    building, built = threading.Event(), []

    def build() -> tuple[bytes, dict[str, Any]]:
        building.set()
        while "waiting for another process" not in caplog.text:
            time.sleep(0.01)
        built.append(1)
        return b"plan", {}

    first = threading.Thread(target=cache.get_or_build, args=(KEY, build))
    with caplog.at_level(logging.WARNING):
        first.start()
        building.wait()
        assert PlanCache(cache.folder).get_or_build(KEY, fail).data == b"plan"
    first.join()
    assert built == [1]


def test_a_failed_build_leaves_nothing_and_may_be_tried_again(cache: PlanCache) -> None:
    with pytest.raises(AssertionError):
        cache.get_or_build(KEY, fail)
    assert cache.list() == []
    assert cache.get_or_build(KEY, lambda: (b"plan", {})).data == b"plan"


def test_notes_can_be_added(cache: PlanCache) -> None:
    noted = cache.note(cache.put(KEY, b"plan", {"a": 1}), {"parity": {"max_px": 0.1}})
    assert cache.get(KEY) == noted and noted.notes["a"] == 1 and noted.notes["parity"] == {"max_px": 0.1}


def test_clear_removes_the_plans_and_nothing_else(cache: PlanCache) -> None:
    cache.get_or_build(KEY, lambda: (b"plan", {}))
    (cache.folder / "left.part").write_bytes(b"12")
    (cache.folder / "mine.txt").write_text("keep")
    assert [path.name for path, _ in cache.list()] == [cache.path(KEY).name]
    plans, size = cache.clear()
    assert plans == 1 and size > 6
    assert [path.name for path in cache.folder.iterdir()] == ["mine.txt"]


def test_the_cache_is_where_the_user_wants_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "posefix_track" / "plans"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "posefix_track" / "plans"


def _other_weight(network: ToyNetwork) -> None:
    network.first.weight.data[0, 0, 0, 0] += 1e-3


def _other_buffer(network: ToyNetwork) -> None:
    network.rows[0] = 1


def _other_setting(network: ToyNetwork) -> None:
    network.pull = 0.2


def _other_stride(network: ToyNetwork) -> None:
    network.first.stride = (4, 4)


@pytest.mark.parametrize("change", [_other_weight, _other_buffer, _other_setting, _other_stride])
def test_the_weights_hash_sees_every_number_of_the_network(change: Any) -> None:
    network = ToyNetwork()
    before = weights_sha256(network)
    assert weights_sha256(ToyNetwork()) == before
    change(network)
    assert weights_sha256(network) != before


def test_the_weights_hash_does_not_depend_on_the_mode_of_the_network() -> None:
    assert weights_sha256(ToyNetwork().train()) == weights_sha256(ToyNetwork().eval())


def test_the_weights_hash_sees_a_networks_config() -> None:
    def network(sigma: float) -> nn.Module:
        torch.manual_seed(0)
        return PoseFix(NetworkConfig("resnet18", input_size=(32, 32), head_channels=(8, 8, 8), sigma=sigma))

    assert weights_sha256(network(6.0)) != weights_sha256(network(6.5))


def test_the_code_hash_sees_the_modules_that_a_network_is_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    network = PoseFix(NetworkConfig("resnet18", input_size=(32, 32), head_channels=(8, 8, 8)))
    before, seen = code_sha256(network), []
    assert code_sha256(network) == before

    def changed(name: str) -> bytes:
        seen.append(name)
        return b"other" if name == "posefix_track.heatmaps" else _source(name)

    monkeypatch.setattr("engines.plan_key._source", changed)
    assert code_sha256(network) != before
    assert {"posefix_track.network", "posefix_track.heatmaps", "engines.folding", "engines.onnx_export"} <= set(seen)
    assert not any(name.startswith(("torch.", "numpy")) for name in seen)
