"""docs/reliability.md claims nothing that no test proves."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TABLE = [line for line in (ROOT / "docs" / "reliability.md").read_text().splitlines() if re.match(r"\| R\d", line)]
NAMED = re.compile(r"`(test_\w+\.py)::(\w+)`")


def names_in(file: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / file).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.split("|")[1].split()[0])
def test_every_row_names_tests_that_exist(row: str) -> None:
    named = NAMED.findall(row)
    assert named, "a requirement without a test"
    assert [(file, test) for file, test in named if test not in names_in(file)] == []


def test_every_requirement_has_its_row() -> None:
    assert [row.split("|")[1].split()[0] for row in TABLE] == [f"R{number}" for number in range(1, 33)]
