"""What must not change a pose: batch, order, place in the picture, the side it is seen from, names and languages.

Bounds in pixels are those of the requirements; what was measured with the shipped weights is in docs/reliability.md.
"""

import json
import locale
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from posefix_track.figures import FigureFrame, render_clip
from posefix_track.figures.tracker import tracked
from posefix_track.formats import read_poses, write_native
from posefix_track.keypoints import COCO_17
from posefix_track.network import NetworkConfig, PoseFix
from posefix_track.poses import FramePoses
from posefix_track.refiner import PoseRefiner
from posefix_track.weights import Weights

SIZE = (160, 240)
Float = npt.NDArray[np.float32]


@pytest.fixture(scope="module", params=["random", "lite"])
def refiner(request: pytest.FixtureRequest) -> PoseRefiner:
    torch.manual_seed(0)
    loaded = Weights(PoseFix(NetworkConfig(input_size=(64, 64))).eval().requires_grad_(False), {}, "")
    weights = "lite" if request.param == "lite" else loaded
    return PoseRefiner(weights, engine="torch", device="cpu", keypoints="coco17")


@pytest.fixture(scope="module")
def scenes() -> list[tuple[FigureFrame, FramePoses]]:
    truth = list(render_clip(2, 3, SIZE, seed=1))
    return list(zip(truth, tracked(truth, 0).frames, strict=True))


def test_the_same_input_gives_the_same_bits(refiner: PoseRefiner, scenes: list) -> None:
    for frame, poses in scenes:
        once, again = (refiner(frame.image, poses.keypoints, poses.scores) for _ in range(2))
        np.testing.assert_array_equal(once.keypoints, again.keypoints)
        np.testing.assert_array_equal(once.expected_ks, again.expected_ks)


def test_batch_size_changes_nothing_that_can_be_seen(refiner: PoseRefiner, scenes: list) -> None:
    frames = [(frame.image, poses.keypoints, poses.scores) for frame, poses in scenes]
    together = [result.keypoints for result in refiner.stream(frames, max_latency=8)]
    for (image, keypoints, scores), result in zip(frames, together, strict=True):
        rows = [slice(i, i + 1) for i in range(len(keypoints))]
        alone = [refiner(image, keypoints[r], None if scores is None else scores[r]).keypoints for r in rows]
        np.testing.assert_allclose(np.concatenate(alone), result, atol=0.05)


def test_order_of_people_changes_nothing(refiner: PoseRefiner, scenes: list) -> None:
    frame, poses = scenes[0]
    order = np.random.default_rng(0).permutation(len(poses))
    scores = None if poses.scores is None else poses.scores[order]
    other = refiner(frame.image, poses.keypoints[order], scores)
    # People of one batch do not meet: the same bits, wherever they stand in it.
    np.testing.assert_array_equal(refiner(frame.image, poses.keypoints, poses.scores).keypoints[order], other.keypoints)


def moved(keypoints: Float, present: npt.NDArray[np.bool_], by: tuple[int, int]) -> Float:
    return np.where(present[..., None], keypoints + np.float32(by), keypoints)


@pytest.mark.parametrize("by", [(37, 21), (1, 0), (0, 64)])
def test_place_in_the_picture_changes_nothing(refiner: PoseRefiner, scenes: list, by: tuple[int, int]) -> None:
    for frame, poses in scenes:
        height, width = SIZE
        larger = np.zeros((height + by[1], width + by[0], 3), np.uint8)  # black, as crops are outside the picture
        larger[by[1] :, by[0] :] = frame.image
        here = refiner(frame.image, poses.keypoints, poses.scores).keypoints
        there = refiner(larger, moved(poses.keypoints, poses.present, by), poses.scores).keypoints
        np.testing.assert_allclose(there, moved(here, poses.present, by), atol=0.1)


def mirrored(keypoints: Float, present: npt.NDArray[np.bool_]) -> Float:
    flipped = keypoints * np.float32([-1, 1]) + np.float32([SIZE[1] - 1, 0])
    return np.where(present[..., None], flipped, keypoints)[:, COCO_17.flip_index]


def in_a_mirror(refiner: PoseRefiner, frame: FigureFrame, poses: FramePoses) -> tuple[Float, Float]:
    """What the mirrored picture gives, and the mirror image of what the picture gives; present joints [J, 2]."""
    flip = COCO_17.flip_index
    scores = None if poses.scores is None else poses.scores[:, flip]
    image = np.ascontiguousarray(frame.image[:, ::-1])
    there = refiner(image, mirrored(poses.keypoints, poses.present), scores).keypoints
    here = mirrored(refiner(frame.image, poses.keypoints, poses.scores).keypoints, poses.present)
    return there[poses.present[:, flip]], here[poses.present[:, flip]]


def test_mirrored_picture_gives_the_mirrored_pose(refiner: PoseRefiner, scenes: list) -> None:
    for frame, poses in scenes:
        there, here = in_a_mirror(refiner, frame, poses)
        np.testing.assert_allclose(there, here, atol=0.1)


def test_without_the_flip_test_the_network_itself_prefers_a_side(scenes: list) -> None:
    """So the test above would notice crops or a merging that are not symmetric."""
    refiner = PoseRefiner("lite", engine="torch", device="cpu", flip=False)
    there, here = in_a_mirror(refiner, *scenes[0])
    assert np.abs(there - here).max() > 0.5


def test_second_refinement_moves_little(scenes: list) -> None:
    refiner = PoseRefiner("lite", engine="torch", device="cpu")
    first, second = [], []
    for frame, poses in scenes:
        once = refiner(frame.image, poses.keypoints, poses.scores)
        twice = refiner(frame.image, once.keypoints, poses.scores)
        first.append(once.shift[poses.present])
        second.append(twice.shift[poses.present])
    assert np.concatenate(second).mean() <= 0.3 * np.concatenate(first).mean()


# --- names, folders, languages ---

NAMES = ["with space", "ü-日本-🏃", "nfd-u\u0308", "new\nline", "-o", "%03d", "a'b\"c", "CON", "n" * 200, "..hidden"]


@pytest.mark.parametrize("name", NAMES)
def test_pose_files_of_any_name_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    truth = list(render_clip(2, 1, (64, 64), seed=0))
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.chdir(folder)
    path = Path(f"{name}.jsonl")
    write_native(path, tracked(truth, 0), {"path": "clip.mp4"})
    (folder / "link.jsonl").symlink_to(path)
    for found in (path, folder / path, Path("..") / name / path, Path("link.jsonl")):
        file = read_poses(found)
        file.write(folder / "out.jsonl", list(file.sequences))
        assert (folder / "out.jsonl").read_bytes() == path.read_bytes()


@pytest.fixture
def comma() -> Iterator[None]:
    before = locale.setlocale(locale.LC_NUMERIC)
    for name in ("de_DE.UTF-8", "fr_FR.UTF-8", "de_DE.utf8", "nl_NL.UTF-8"):
        try:
            locale.setlocale(locale.LC_NUMERIC, name)
        except locale.Error:
            continue
        yield
        locale.setlocale(locale.LC_NUMERIC, before)
        return
    pytest.skip("no locale with a decimal comma is installed (locale -a)")


def test_decimal_comma_changes_nothing(tmp_path: Path, comma: None) -> None:
    assert locale.localeconv()["decimal_point"] == ","
    poses = tracked(list(render_clip(2, 1, (64, 64), seed=0)), 0)
    write_native(tmp_path / "poses.jsonl", poses, {"path": "clip.mp4"})
    lines = (tmp_path / "poses.jsonl").read_text().splitlines()
    assert len([json.loads(line) for line in lines]) == 3
    found = read_poses(tmp_path / "poses.jsonl").sequences[0].frames[0].keypoints
    np.testing.assert_allclose(found, poses.frames[0].keypoints, atol=1e-2)


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize("environment", [ASCII, {"LANG": "tr_TR.UTF-8"}])
def test_other_languages_read_the_same_files(tmp_path: Path, environment: dict[str, str]) -> None:
    path = tmp_path / "ü.jsonl"
    write_native(path, tracked(list(render_clip(2, 1, (64, 64), seed=0)), 0), {"path": "ü.mp4"})
    code = (
        "import os, sys; from pathlib import Path; from posefix_track.formats import read_poses;"
        "p = Path(os.fsdecode(sys.argv[1])); f = read_poses(p); f.write(p.with_name('out.jsonl'), list(f.sequences))"
    )
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG"))} | environment
    command, root = [sys.executable, "-c", code, os.fsencode(path)], Path(__file__).parents[1]
    subprocess.run(command, check=True, env=variables, cwd=root)
    assert (tmp_path / "out.jsonl").read_bytes() == path.read_bytes()
