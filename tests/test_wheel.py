"""The wheel: what is in it, and that building it again gives the same bytes."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Seconds since 1970: some commit's time.
EPOCH = "1790000000"


def source_tree(folder: Path, mode: int, when: int) -> Path:
    """What a wheel is built from, with few bytes for weights; of other rights and times in each copy."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        folder.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    for package in ("posefix_track", "engines", "trainer"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    (folder / "posefix_track" / "weights").mkdir(exist_ok=True)
    (folder / "posefix_track" / "weights" / "lite.safetensors").write_bytes(b"weights")
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(mode)
        os.utime(path, (when, when))
    return folder


def built(tree: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tree / "dist")]
    subprocess.run(command, cwd=tree, check=True, capture_output=True, env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH})
    (wheel,) = (tree / "dist").glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("wheels")
    trees = (source_tree(folder / "one", 0o644, 1_000_000_000), source_tree(folder / "other", 0o600, 1_700_000_000))
    return [built(tree) for tree in trees]


def test_a_wheel_built_twice_has_the_same_bytes(wheels: list[Path]) -> None:
    one, other = wheels
    assert one.name == other.name and one.read_bytes() == other.read_bytes()


def test_a_wheel_has_what_an_embedding_pipeline_needs_and_no_more(wheels: list[Path]) -> None:
    names = zipfile.ZipFile(wheels[0]).namelist()
    assert {"posefix_track/cli.py", "engines/engine.py", "posefix_track/weights/lite.safetensors"} <= {*names}
    tops = {name.split("/")[0] for name in names}
    assert tops - {next(top for top in tops if top.endswith(".dist-info"))} == {"posefix_track", "engines"}
