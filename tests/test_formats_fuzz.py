"""Randomly damaged files are read, and then written back as they are, or refused; no other exception gets out."""

import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posefix_track.errors import PosefixError
from posefix_track.formats import read_poses
from tests.format_samples import BUILDERS, HEIGHT, TEXT_FORMATS, WIDTH, Sample, sample_of

SNIPPETS = [
    b'"',
    b"[",
    b"}",
    b"\\",
    b"\x00",
    b"\xff",
    b"null",
    b"NaN",
    b"1e999",
    b"-",
    b"true",
    b"\n",
    b",",
    b"9" * 5000,
]
VALUES: list[Any] = [None, [], {}, "x", -1, 0.5, 10**400, True, [[]], [None], "1" * 5000, float("nan"), [{}]]


def damaged_bytes(data: bytes, rng: random.Random) -> bytes:
    at, length = rng.randrange(len(data) + 1), rng.choice([0, 0, 1, 5, len(data)])
    return data[:at] + rng.choice([*SNIPPETS, b""]) + data[at + length :]


def damaged_tree(value: Any, rng: random.Random, chance: float) -> Any:
    if rng.random() < chance:
        return rng.choice(VALUES)
    if isinstance(value, dict):
        return {key: damaged_tree(item, rng, chance) for key, item in value.items() if rng.random() > chance / 2}
    return [damaged_tree(item, rng, chance) for item in value] if isinstance(value, list) else value


def damaged_json(data: bytes, rng: random.Random) -> bytes:
    chance = rng.choice([0.002, 0.02])
    lines = data.decode().splitlines()
    return "\n".join(json.dumps(damaged_tree(json.loads(line), rng, chance)) for line in lines).encode()


def read_damaged(sample: Sample, damage: Callable[[bytes, random.Random], bytes], seed: int) -> None:
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = sample.place(Path(folder))
        victim = rng.choice(sorted(path.iterdir())) if path.is_dir() else path
        victim.write_bytes(damage(victim.read_bytes(), rng))
        try:
            poses = read_poses(path, format=rng.choice([None, sample.format]), **sample.options)
        except PosefixError as error:
            assert str(error)
            return
        poses.write(Path(folder) / "out", poses.sequences)
        out = Path(folder) / "out" / victim.name if path.is_dir() else Path(folder) / "out"
        assert out.read_bytes() == victim.read_bytes()


@pytest.mark.parametrize("name", sorted(BUILDERS))
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_damaged_bytes_are_refused_or_kept(name: str, seed: int) -> None:
    read_damaged(sample_of(name), damaged_bytes, seed)


@pytest.mark.parametrize("name", sorted(set(BUILDERS) - TEXT_FORMATS))
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_damaged_values_are_refused_or_kept(name: str, seed: int) -> None:
    read_damaged(sample_of(name), damaged_json, seed)


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=60), suffix=st.sampled_from([".json", ".jsonl", ".txt", ".csv", ""]))
def test_any_bytes_are_refused_or_kept(data: bytes, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"poses{suffix}"
        path.write_bytes(data)
        try:
            read_poses(path, frame_size=(HEIGHT, WIDTH))
        except PosefixError as error:
            assert str(path) in str(error)
