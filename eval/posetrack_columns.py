"""Turns lists of JSON rows into checked columns."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from eval.posetrack_frames import Float, Int
from posefix_track.errors import InputError

Row = dict[str, Any]
# No pixel is this far away, and its square is still far from overflow.
_LARGEST = 1e15


def rows_of(document: Row, key: str, where: str) -> list[Row]:
    """The list of dictionaries at ``key``. Raises InputError where there is none."""
    rows = document.get(key)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{where}: needs a list of dictionaries called {key!r}, got {shortened(rows)}")
    return rows


def integers(values: Sequence[Any], key: str, places: Sequence[str]) -> Int:
    """int64 [N]. Raises InputError at the first value that is not an integer of 64 bits."""
    for value, place in zip(values, places, strict=True):
        if type(value) is not int or not -(2**63) <= value < 2**63:
            raise InputError(f"{place}: needs an integer {key}, got {shortened(value)}")
    return np.array(values, dtype=np.int64)


def numbers(values: Sequence[Any], width: int, key: str, places: Sequence[str]) -> Float:
    """float64 [N, width]. Raises InputError at the first row that is not ``width`` numbers of up to 1e15."""
    matrix = _matrix(values, width)
    if matrix is not None:
        return matrix
    row = next(i for i, value in enumerate(values) if _matrix([value], width) is None)
    raise InputError(f"{places[row]}: needs {width} finite numbers in {key}, got {shortened(values[row])}")


def _matrix(values: Sequence[Any], width: int) -> Float | None:
    if not values:
        return np.zeros((0, width))
    try:
        matrix = np.array(values)
    except ValueError:  # rows of different lengths
        return None
    if matrix.shape != (len(values), width) or matrix.dtype.kind not in "iuf":
        return None
    return matrix.astype(np.float64) if (np.abs(matrix) <= _LARGEST).all() else None


def shortened(value: Any) -> str:
    """``value`` for a message, "nothing" where it is missing; lists by their length."""
    if value is None:
        return "nothing"
    if isinstance(value, list | dict):
        return f"a {type(value).__name__} of {len(value)}"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
