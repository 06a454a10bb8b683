"""Column names that pandas pickles: read and written without ever running a pickle."""

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posefix_track.errors import InputError
from posefix_track.formats.pickled_names import pickled, pickled_names

_LEAVES = ("NONE", "INT", "UNICODE")


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text() | st.integers(0, 9), inner)


class _Canary:
    """Its pickle creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_no_pickle_is_ever_run(protocol: int, tmp_path: Path) -> None:
    hostile = pickle.dumps([_Canary(tmp_path / "canary")], protocol)
    with pytest.raises(InputError, match="column names cannot be read"):
        pickled_names(tmp_path, hostile)
    assert not (tmp_path / "canary").exists()
    for damaged in (b"", b"(", b"l.", b"0.", hostile[:-3], pickle.dumps({}), pickle.dumps([1]), None):
        with pytest.raises(InputError):
            pickled_names(tmp_path, damaged)


@given(st.recursive(st.none() | st.integers(-(2**31), 2**31) | st.text(), _containers, max_leaves=8))
def test_own_pickles_are_those_of_python(value: Any) -> None:
    """Python's disassembler checks the stack; nothing is ever loaded, here neither."""
    pickletools.dis(pickled(value), out=io.StringIO())
    operations = pickletools.genops(pickled(value))
    assert [argument for operation, argument, _ in operations if operation.name in _LEAVES] == _leaves(value)


def _leaves(value: Any) -> list[Any]:
    if not isinstance(value, list | tuple | dict):
        return [value]
    parts = [part for pair in value.items() for part in pair] if isinstance(value, dict) else value
    return [leaf for part in parts for leaf in _leaves(part)]


@given(st.lists(st.tuples(st.text(), st.text())))
def test_own_pickles_of_names_are_read(names: list[tuple[str, str]]) -> None:
    assert pickled_names(Path("p"), pickled(names)) == names
