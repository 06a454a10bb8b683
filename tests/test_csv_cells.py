"""Cells of CSV lines are found for whole blocks at once; here they are compared with what one finds cell by cell."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posefix_track.errors import InputError
from posefix_track.formats import csv_cells, read_poses
from posefix_track.formats.csv_cells import _plain, _quoted, cells_of
from posefix_track.formats.number_lines import PLAIN_NUMBER
from tests.format_samples import sample_of

PLAIN = [",", "\n", "\r\n", "1", "-2.5", "a", "+.5", ".", "-", "1.2.3", "9" * 30, "1e5", "nan", "0", "é", "1_0", "--1"]
texts = st.lists(st.sampled_from(PLAIN)).map(lambda pieces: "".join(pieces).encode())


@given(texts)
def test_plain_lines_are_split_as_those_with_quotes(data: bytes) -> None:
    for fast, slow in zip(_plain(data, 1), _quoted(Path("p"), data, 1), strict=True):
        np.testing.assert_array_equal(fast, slow)


@given(texts)
def test_numbers_are_what_the_pattern_says(data: bytes) -> None:
    cells = cells_of(Path("p"), data, 1)
    found = [cells.token(number) for number in range(len(cells.edges))]
    assert cells.is_number.tolist() == [not cell or PLAIN_NUMBER.fullmatch(cell) is not None for cell in found]
    numbers = [float(cell or "nan") for cell, is_number in zip(found, cells.is_number, strict=True) if is_number]
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(cells.values(), np.array(numbers, np.float64).astype(np.float32))


def test_longer_lines_than_any_table_has_are_refused() -> None:
    for line in (b"," * csv_cells.MOST_CELLS, b"9" * (csv_cells.LONGEST_LINE + 1)):
        with pytest.raises(InputError, match="line 8: more than 100000 cells or 1048576 bytes"):
            cells_of(Path("p"), b"1\n" + line, 7)


def test_people_of_a_frame_need_not_stand_together(tmp_path: Path) -> None:
    path = sample_of("sleap").place(tmp_path)
    by_frame = read_poses(path).sequences[0].frames
    header, *lines = path.read_text().splitlines(keepends=True)
    assert [line.split(",")[1] for line in lines] == ["0", "0", "2"]
    path.write_text("".join([header, lines[0], lines[2], lines[1]]))
    poses = read_poses(path)
    for frame, expected in zip(poses.sequences[0].frames, by_frame, strict=True):
        np.testing.assert_array_equal(frame.keypoints, expected.keypoints)
        assert (frame.frame_index, frame.track_ids) == (expected.frame_index, expected.track_ids)
    poses.write(tmp_path / "out.csv", poses.sequences)
    assert (tmp_path / "out.csv").read_bytes() == path.read_bytes()
