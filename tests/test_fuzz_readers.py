"""A short slice of ``python -m benchmarks.fuzz_readers``, and what hostile files may cost."""

import contextlib
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from benchmarks.fuzz_readers import FORMATS, fuzz, seeds
from posefix_track.errors import InputError
from posefix_track.formats import csv_cells, json_blocks, json_text, read_poses
from posefix_track.formats.csv_text import parse_csv
from posefix_track.formats.json_blocks import parse_json, parse_json_lines
from posefix_track.formats.number_lines import parse_number_lines
from tests.format_samples import FLAT

KEYPOINTS = json.dumps(FLAT)


def test_damaged_files_are_written_back_or_refused(tmp_path: Path) -> None:
    findings = fuzz(600, seed=1, folder=tmp_path)
    assert findings.failures == {}
    assert min(findings.count("accepted"), findings.count("refused")) > 100


def test_every_format_is_fuzzed() -> None:
    # HDF5 is no text; tests/test_formats_hdf5.py damages it.
    assert {seed.format for seed in seeds()} == {name for name in FORMATS if not name.endswith("_h5")}


def test_a_bug_in_a_reader_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.fuzz_readers.read_poses", lambda path, **_: {}[path])
    findings = fuzz(1, seed=1, folder=tmp_path, keep=tmp_path / "kept")
    assert [where.split()[0] for where in findings.failures] == ["KeyError"]
    assert (tmp_path / "kept" / "1.txt").exists()


def test_a_reader_that_hangs_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object, **__: object) -> None:
        while True:
            pass

    monkeypatch.setattr("benchmarks.fuzz_readers.read_poses", hang)
    monkeypatch.setattr("benchmarks.fuzz_readers.SECONDS", 0.05)
    assert [where.split()[0] for where in fuzz(1, 1, tmp_path).failures] == ["Hang"]


HOSTILE = {
    "empty lists": b"[" + b"[]," * 8_000 + b"[]]",
    "empty objects": b"[" + b"{}," * 8_000 + b"{}]",
    "numbers": b"[" + b"0," * 15_000 + b"0]",
    "short keys": b"{" + b",".join(b'"%d":0' % i for i in range(5_000)) + b"}",
    "pairs": b"[" + b"[0,0]," * 6_000 + b"[0,0]]",
    "a list in a list": b'{"a":[' + b"[[0]]," * 6_000 + b"[[0]]]}",
    "spaces": b"[" + b" " * 40_000 + b"]",
    "strings": b"[" + b'"x",' * 10_000 + b'"x"]',
    "one string": b'["' + b"x" * 40_000 + b'"]',
    "one number": b"[" + b"9" * 40_000 + b"]",
    "escapes": b'["' + b"\\u00e9" * 6_000 + b'"]',
    "wide characters": b"[" + '"é😀",'.encode() * 4_000 + b"0]",
    "lines": b"[]\n" * 8_000,
    "brackets": b"[" * 40_000,
    "closing brackets": b"[" + b"]" * 40_000,
    "commas": b"[" + b"," * 40_000,
    "quotes": b"[" + b'"' * 40_001,
    "zeros": b"\0" * 40_000,
    "cells": b",\n" * 15_000,
    "columns": b"0," * 15_000,
    "numbers in lines": b"0 1 " * 10_000,
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("parse", [parse_json, parse_json_lines, parse_csv, parse_number_lines])
def test_hostile_files_cost_bounded_memory(parse: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # What is looked at together must be small beside these small files, as it is beside large ones.
    for constant, value in (("_WINDOW", 512), ("_LONGEST_STRING", 1024)):
        monkeypatch.setattr(json_text, constant, value)
    monkeypatch.setattr(json_blocks, "_MOST_NUMBERS", 5000)
    monkeypatch.setattr(csv_cells, "MOST_CELLS", 20)
    monkeypatch.setattr(csv_cells, "LONGEST_LINE", 1024)
    options = {} if parse is parse_number_lines else {"block": 1024}
    numbers = 0
    tracemalloc.start()
    try:
        with contextlib.suppress(InputError):
            numbers = len(parse(Path("p"), HOSTILE[name], **options).values)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The file itself is the sixth part; what a process allocates once is small beside files that matter. A number takes
    # 12 bytes: more where a table is nothing but single digits.
    is_table = parse in (parse_csv, parse_number_lines)
    assert peak <= 8_000 + 5 * len(HOSTILE[name]) + (13 * numbers if is_table else 0)


def plain(value: Any) -> Any:
    """A tree of blocks as one of lists and dicts."""
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    if hasattr(value, "items"):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if not isinstance(value, str | int) else value


DOCUMENTS = [
    "[]", " [ ] ", "{}", "[[]]", "[1,2,3]", '[1,"a",null,true,[2,[3,4]],{"b":[5]}]', '{"a":{"b":{"c":[1,2]}},"d":7}',
    '\ufeff{"a": [1, 2], "é": "😀", "b": {"a": 1}}', '["\\"]", "[", 5, "\\\\", 6]',
    '[NaN, -Infinity, null, 1e999, -0.0]', '[ \n\n 1 ,\t2 \r\n]', '{"a":[[1,2],[3,4]],"b":[[5,6],[7]],"c":[[],[8]]}',
    '["' + "x" * 50 + '", 1]', '"x"', "3",
    f'[{{"image_id": 1, "keypoints": {KEYPOINTS}}}, {{"image_id": 2, "keypoints": {KEYPOINTS}}}]',
]  # fmt: skip
BROKEN = [
    "[1,,2]", "[1,2", "[1,2,]", "[,1]", "{1:2}", '{"a":1,}', '{"a" 1}', '{"a":}', "[1 2]", "[1}", '{"a":1]', "[1]]",
    "[1] 2", "[[1,2]", '["a', '{"a":1,"a":2}', '[{"a":1,"b":[1,2,3,4,5],"a":2}]', "[1.]", "[01]", "[tru]", "", " ",
    "[nul]", "[--1]", "[1,\x00]", "]", ",", "[" + "x" * 50 + "]", "{" + " " * 50 + "}}", '{"a"' + " " * 50 + "}",
    "[" + "," * 50 + "]", "[" + "[" * 70 + "]" * 71,
]  # fmt: skip


@pytest.mark.parametrize("block", [1, 2, 5, 16, 64])
@pytest.mark.parametrize("document", DOCUMENTS)
def test_blocks_make_the_same_tree(block: int, document: str) -> None:
    data = document.encode()
    whole, parts = parse_json(Path("p"), data), parse_json(Path("p"), data, block=block)
    assert plain(parts.tree) == plain(whole.tree)
    assert [parts.token(n) for n in range(len(parts.values))] == [whole.token(n) for n in range(len(whole.values))]


@pytest.mark.parametrize("block", [1, 2, 5, 16, 64, 10**6])
@pytest.mark.parametrize("document", BROKEN)
def test_blocks_refuse_the_same_documents(block: int, document: str) -> None:
    with pytest.raises(InputError, match=r"^p: "):
        parse_json(Path("p"), document.encode(), block=block)


@pytest.mark.parametrize("block", [1, 16, 100])
def test_blocks_of_lines_and_rows_are_the_same(block: int) -> None:
    lines = "".join(f"{document}\r\n\n" for document in DOCUMENTS[3:6]).encode()
    assert plain(parse_json_lines(Path("p"), lines, block).tree) == plain(parse_json_lines(Path("p"), lines).tree)
    rows = b'\xef\xbb\xbfa,"b,""c""",1\r\n\r\n2, 3 ,\n,,\n"4",x,nan'
    assert plain(parse_csv(Path("p"), rows, block).tree) == plain(parse_csv(Path("p"), rows).tree)


def test_too_large_a_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "poses.json"
    with path.open("wb") as file:
        file.truncate(2**31)
    with pytest.raises(InputError, match="2147483648 bytes, but at most 2147483647"):
        read_poses(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_other_encodings_are_named(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "poses.json"
    path.write_bytes(json.dumps([{"image_id": 1, "keypoints": FLAT}]).encode(encoding))
    with pytest.raises(InputError, match="UTF-16 or UTF-32; save it as UTF-8"):
        read_poses(path)


def test_long_numbers_take_linear_time(tmp_path: Path) -> None:
    # Quadratic time would be hours.
    for name, data in (("a.csv", b"9" * 10**6 + b"x,1\n"), ("a.txt", b"9" * 10**6 + b"x 1\n")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError):
            read_poses(tmp_path / name)
