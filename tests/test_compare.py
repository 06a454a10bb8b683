"""``python -m benchmarks.compare`` on made-up results."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import compare, end_to_end
from posefix_track.network import NetworkConfig, PoseFix, original_config
from posefix_track.weights import Weights

FP32, INT8 = "posefix_track, fp32", "posefix_track, int8"
OLD: dict[str, Any] = {
    "settings": {"frames": 60, "people": 2, "weights_sha256": "0" * 64},
    "machine": {"processor": "some", "torch": "2.13.0"},
    "original": [20.0, 24.0, 16.0],
    "ours": {FP32: [5.0, 6.0, 4.0], INT8: [2.0, 2.4, 1.6]},
}


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(new: Any, *options: str, old: Any = OLD) -> tuple[int, str]:
        for name, content in (("old", old), ("new", new)):
            text = content if isinstance(content, str) else json.dumps(content)
            (tmp_path / f"{name}.json").write_text(text)
        code = compare.main([str(tmp_path / "old.json"), str(tmp_path / "new.json"), *options])
        return code, "".join(capsys.readouterr())

    return run


def changed(**ours: list[float]) -> dict[str, Any]:
    new = copy.deepcopy(OLD)
    new["ours"] |= {{"fp32": FP32, "int8": INT8}[name]: seconds for name, seconds in ours.items()}
    return new


def test_the_same_is_no_slower(run: Any) -> None:
    code, text = run(OLD)
    assert code == 0 and f"| {FP32} | 4.00 | 4.00 | +0.0% |" in text and "slower by more than 10%: none" in text


def test_a_machine_that_is_three_times_slower_changes_nothing(run: Any) -> None:
    new = copy.deepcopy(OLD)
    new["original"] = [3 * s for s in OLD["original"]]
    new["ours"] = {name: [3 * s for s in seconds] for name, seconds in OLD["ours"].items()}
    assert run(new)[0] == 0


# Four times as fast as the original's way before; 10 % less is 3.6.
@pytest.mark.parametrize(("speed", "code"), [(3.59, 1), (3.61, 0), (5.0, 0), (1.0, 1)])
def test_a_tenth_of_the_speed_lost_fails(run: Any, speed: float, code: int) -> None:
    found, text = run(changed(fp32=[20 / speed, 24 / speed, 16 / speed]))
    assert found == code and (f"slower by more than 10%: {FP32}\n" in text) == bool(code)


def test_another_tolerance_allows_more(run: Any) -> None:
    slower = changed(int8=[2.4, 2.9, 1.9])
    assert run(slower)[0] == 1 and run(slower, "--tolerance", "0.2")[0] == 0


def test_one_disturbed_round_does_not_fail(run: Any) -> None:
    assert run(changed(fp32=[5.0, 60.0, 4.0]))[0] == 0


def test_a_way_that_is_missing_fails(run: Any) -> None:
    new = copy.deepcopy(OLD)
    del new["ours"][INT8]
    code, text = run(new)
    assert code == 1 and f"| {INT8} | 10.00 | missing |" in text


def test_another_processor_is_said(run: Any) -> None:
    code, text = run({**OLD, "machine": {"processor": "other", "torch": "2.13.0"}})
    assert code == 0 and "note: processor was some and is other" in text and "note: torch" not in text


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ("not json", "Expecting value"),
        ({}, "KeyError('original')"),
        ([], "TypeError"),
        ({**OLD, "original": [1.0]}, "longer"),
        ({**OLD, "ours": {FP32: [0.0, 0.0, 0.0]}}, "ZeroDivisionError"),
        ({**OLD, "settings": {"frames": 9}}, "did not do the same"),
    ],
)
def test_what_cannot_be_compared_is_said(run: Any, new: Any, message: str) -> None:
    code, text = run(new)
    assert code == 2 and text.startswith("error: ") and message in text


def test_missing_files_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main([str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_the_benchmark_writes_what_is_compared(run: Any) -> None:
    def way(name: str, seconds: list[float]) -> end_to_end.Way:
        return end_to_end.Way(name, lambda: (0.0, 0.0), 1, seconds=seconds)

    ours = [way(name, seconds) for name, seconds in OLD["ours"].items()]
    recorded = end_to_end.record(way("original", OLD["original"]), ours, OLD["settings"])
    assert recorded["machine"]["processor"] and run(recorded)[0] == 0  # type: ignore[index]


def test_only_a_network_of_the_originals_config_can_go_the_originals_way() -> None:
    own, theirs = (PoseFix(config) for config in (NetworkConfig(input_size=(32, 32)), original_config("resnet18")))
    assert end_to_end.original_network(Weights(theirs, {}, "")) is theirs
    assert end_to_end.original_network(Weights(own, {}, "")).config == original_config()
