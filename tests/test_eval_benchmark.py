"""The drawn benchmark: valid PoseTrack, same seed same bytes, better trackers score higher, refinement is evaluated."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from eval.__main__ import main
from eval.benchmark_cli import benchmark_table
from eval.benchmark_files import labelled_frames
from eval.benchmark_make import MARKER, Settings, make_benchmark
from eval.benchmark_run import find_trackers, run_benchmark
from eval.benchmark_tracker import TRACKERS
from eval.posetrack import PosetrackResult, evaluate_posetrack
from eval.posetrack_metrics import by_name
from eval.posetrack_read import read_posetrack
from posefix_track.errors import InputError, ResourceError, UsageError
from posefix_track.formats import read_poses
from posefix_track.keypoints import POSETRACK_18
from posefix_track.refiner import PoseRefiner
from tests.shift_engine import LOADED, ShiftEngine

SETTINGS = Settings(sequences=2, frames=9, people=2, seed=3)


def refiner(shift: float) -> PoseRefiner:
    engine = ShiftEngine((shift, 0), expected=(0.9, 0.1), max_batch=16)
    return PoseRefiner(LOADED, keypoints=POSETRACK_18, engine=engine, flip=False)


@pytest.fixture(scope="module")
def benchmark_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmark")
    make_benchmark(folder, SETTINGS)
    return folder


def truth_files(folder: Path) -> list[Path]:
    return sorted((folder / "annotations/val").glob("*.json"))


def total(result: PosetrackResult, metric: str) -> float:
    value = by_name(result.metrics[metric])["total"]
    return float("nan") if value is None else value


def test_ground_truth_against_itself_is_perfect(benchmark_folder: Path) -> None:
    truth = benchmark_folder / "annotations/val"
    result = evaluate_posetrack(truth, truth)
    # Mean of fifteen values that are 100 up to float64 rounding.
    assert [total(result, metric) for metric in ("ap", "mota", "hota")] == pytest.approx([100, 100, 100])
    assert result.sequences == SETTINGS.sequences


def test_poses_of_tracker_and_truth_are_read_as_posetrack(benchmark_folder: Path) -> None:
    for folder in (benchmark_folder / "trackers/weak", benchmark_folder / "annotations/val"):
        poses = read_poses(folder)
        assert poses.format == "posetrack18"
        assert [sequence.name for sequence in poses.sequences] == ["000001_mpii_test", "000002_mpii_test"]
        assert all(sequence.keypoint_set == POSETRACK_18 for sequence in poses.sequences)
        assert all(len(sequence.frames) == SETTINGS.frames for sequence in poses.sequences)


def test_every_image_is_there_under_the_name_in_the_files(benchmark_folder: Path) -> None:
    for path in truth_files(benchmark_folder):
        document = json.loads(path.read_text())
        assert all((benchmark_folder / image["file_name"]).is_file() for image in document["images"])
        assert {image["vid_id"] for image in document["images"]} == {path.stem[:6]}


def test_only_labelled_frames_have_people(benchmark_folder: Path) -> None:
    for path in truth_files(benchmark_folder):
        truth = read_posetrack(path, "ground truth")
        np.testing.assert_array_equal(truth.labelled, labelled_frames(SETTINGS.frames))
        assert not truth.annotated[~truth.labelled].any()
        assert set(truth.people.track_ids.tolist()) == {0, 1}


def test_joints_are_labelled_or_zero_and_ears_never(benchmark_folder: Path) -> None:
    for path in truth_files(benchmark_folder):
        rows = np.array([row["keypoints"] for row in json.loads(path.read_text())["annotations"]]).reshape(-1, 17, 3)
        assert not rows[:, 3:5].any()
        assert set(np.unique(rows[..., 2])) <= {0, 1}
        assert not rows[rows[..., 2] == 0].any()


def test_head_box_holds_the_head(benchmark_folder: Path) -> None:
    head = [POSETRACK_18.index[name] for name in ("nose", "head_bottom", "head_top")]
    for path in truth_files(benchmark_folder):
        for row in json.loads(path.read_text())["annotations"]:
            points = np.array(row["keypoints"]).reshape(-1, 3)[head]
            (x, y, width, height), given = row["bbox_head"], points[:, 2] > 0
            # Everything is written to a hundredth of a pixel.
            offset = points[given, :2] - (x, y)
            assert (offset > -0.02).all()
            assert (offset < np.array([width, height]) + 0.02).all()


def test_every_other_sequence_has_ignore_regions(benchmark_folder: Path) -> None:
    counts = [{len(r) for r in read_posetrack(p, "ground truth").ignore_regions} for p in truth_files(benchmark_folder)]
    assert counts == [{1}, {0}]


def test_better_trackers_score_higher(tmp_path: Path) -> None:
    make_benchmark(tmp_path, Settings(sequences=1, frames=24, people=3))
    results = [evaluate_posetrack(tmp_path / "annotations/val", tmp_path / "trackers" / name) for name in TRACKERS]
    for metric in ("ap", "mota"):
        weak, medium, strong = (total(result, metric) for result in results)
        assert weak < medium < strong < 100


def test_same_seed_gives_the_same_bytes(benchmark_folder: Path, tmp_path: Path) -> None:
    make_benchmark(tmp_path / "again", SETTINGS)
    make_benchmark(tmp_path / "other", dataclasses.replace(SETTINGS, sequences=1, frames=2, seed=4))
    files = [path for path in benchmark_folder.rglob("*") if path.is_file() and "refined" not in path.parts]
    for path in files:
        assert (tmp_path / "again" / path.relative_to(benchmark_folder)).read_bytes() == path.read_bytes()
    first = Path("images/val/000001_mpii_test/000000.jpg")
    assert (tmp_path / "other" / first).read_bytes() != (benchmark_folder / first).read_bytes()


def test_identity_engine_changes_neither_bytes_nor_numbers(benchmark_folder: Path) -> None:
    (result,) = run_benchmark(benchmark_folder, refiner(0), "identity", ["strong"])
    for path in (benchmark_folder / "trackers/strong").iterdir():
        assert (benchmark_folder / "refined/identity/strong" / path.name).read_bytes() == path.read_bytes()
    for name, values in result.before.metrics.items():
        np.testing.assert_array_equal(values, result.after.metrics[name])
    assert result.report.people > 0


def test_refined_poses_are_the_ones_evaluated_and_earlier_ones_are_replaced(benchmark_folder: Path) -> None:
    for _ in range(2):
        weak, strong = run_benchmark(benchmark_folder, refiner(30), "shift", ["weak", "strong"])
        for result in (weak, strong):
            # Half a crop to the side is beyond every matching distance but that of few chance hits.
            assert total(result.after, "ap") < 0.3 * total(result.before, "ap")
    assert result.report.to_dict()["joints_moved"] > 0


def test_table_shows_both_sides_and_the_difference(benchmark_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    Console(width=100).print(benchmark_table(run_benchmark(benchmark_folder, refiner(0), "identity", ["weak"])))
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("tracker", "mAP + refinement", "MOTA + refinement", "weak", "(+0.0)"))


def test_command_line_makes_a_benchmark_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "small"
    command = ["make-benchmark", str(folder), "--sequences", "1", "--frames", "2", "--people", "1"]
    assert main(command) == 0
    (folder / "refined").mkdir()
    assert main(command) == UsageError.exit_code
    assert "--overwrite" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0
    assert not (folder / "refined").exists()


def test_command_line_evaluates_and_writes_json(
    benchmark_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("posefix_track.refiner.PoseRefiner", lambda *_, **__: refiner(0))
    out = tmp_path / "out.json"
    assert main(["run-benchmark", str(benchmark_folder), "--trackers", "weak", "--json", str(out)]) == 0
    report = json.loads(out.read_text())
    assert list(report["trackers"]) == ["weak"]
    assert report["trackers"]["weak"]["before"]["ap"] == report["trackers"]["weak"]["after"]["ap"]
    assert "2 sequences" in capsys.readouterr().out


def test_overwrite_spares_folders_that_are_no_benchmark(tmp_path: Path) -> None:
    (tmp_path / "images/val").mkdir(parents=True)
    with pytest.raises(UsageError, match="holds no benchmark"):
        make_benchmark(tmp_path, SETTINGS, overwrite=True)
    assert (tmp_path / "images/val").is_dir()


@pytest.mark.parametrize("wrong", [{"sequences": 0}, {"frames": 10_001}, {"people": 0}, {"seed": -1}])
def test_impossible_settings_are_a_usage_error(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="got"):
        dataclasses.replace(SETTINGS, **wrong)


def test_unwritable_place_is_a_resource_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="cannot be written"):
        make_benchmark(tmp_path / "file" / "below", SETTINGS)


def test_a_file_is_no_place_for_a_benchmark(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file"):
        make_benchmark(tmp_path / "file", SETTINGS)


def test_folder_without_benchmark_is_an_input_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run-benchmark", str(tmp_path)]) == InputError.exit_code
    assert "make-benchmark" in capsys.readouterr().err


def test_unknown_tracker_is_named(benchmark_folder: Path) -> None:
    with pytest.raises(InputError, match=r"no tracker best; it has: medium, strong, weak"):
        find_trackers(benchmark_folder, ["weak", "best"])


def test_unfinished_benchmark_is_refused(tmp_path: Path) -> None:
    for part in ("images/val", "annotations/val", "trackers/weak"):
        (tmp_path / part).mkdir(parents=True)
    (tmp_path / MARKER).write_text('{"sequences": 2}')
    with pytest.raises(InputError, match="0 of 2 sequences"):
        find_trackers(tmp_path)
    (tmp_path / MARKER).write_text("[]")
    with pytest.raises(InputError, match="make it again"):
        find_trackers(tmp_path)


def test_poses_of_other_joints_are_refused(benchmark_folder: Path) -> None:
    other = PoseRefiner(LOADED, keypoints="coco17", engine=ShiftEngine())
    with pytest.raises(InputError, match="posetrack18, not of coco17"):
        run_benchmark(benchmark_folder, other, "coco", ["weak"])
