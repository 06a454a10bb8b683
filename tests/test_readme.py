"""The README is true where a program can tell."""

import re
from pathlib import Path

from posefix_track.cli import _parser
from posefix_track.formats import known_formats
from posefix_track.keypoints import KEYPOINT_SETS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
MAP = (ROOT / "docs/map.md").read_text()


def test_the_map_names_every_module() -> None:
    modules = [
        p for top in ("posefix_track", "engines", "trainer", "eval", "benchmarks") for p in (ROOT / top).rglob("*.py")
    ]
    missing = [str(p.relative_to(ROOT)) for p in modules if p.name != "__init__.py" and p.name not in MAP]
    assert not missing


def test_named_files_exist() -> None:
    linked = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert linked and all((ROOT / name).exists() for name in linked)


def test_named_flags_are_known_to_the_command_line() -> None:
    known = set(re.findall(r"--[a-z-]+", _parser().format_help()))
    used = {flag for line in README.splitlines() if "posefix-track " in line for flag in re.findall(r"--[a-z-]+", line)}
    assert used and used - {"--to"} <= known


def test_all_formats_and_keypoint_sets_are_listed() -> None:
    assert all(f"`{name}`" in README for name, _ in known_formats())
    assert all(f"`{name}`" in README for name in KEYPOINT_SETS)
