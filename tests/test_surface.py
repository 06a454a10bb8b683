"""What may be imported from where, and what no file of the project may do."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("posefix_track", "engines", "trainer", "eval")
FILES = sorted(path for folder in (*PACKAGES, "tests", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
# Extras: an embedding pipeline does without them.
OPTIONAL = ("scipy", "matplotlib", "pycocotools", "accelerate", "tensorboard", "onnx", "nncf")


def modules(*packages: str) -> list[str]:
    names = []
    for package in packages:
        found = pkgutil.walk_packages([str(ROOT / package)], f"{package}.")
        names += [package, *(module.name for module in found)]
    return names


@pytest.mark.parametrize("name", modules(*PACKAGES))
def test_every_module_can_be_imported(name: str) -> None:
    importlib.import_module(name)


def test_the_tool_needs_none_of_the_extras() -> None:
    program = f"""
import importlib, sys
for name in {modules("posefix_track", "engines")}:
    importlib.import_module(name)
print([name for name in {OPTIONAL} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_measuring_engines_and_training_need_no_packages_for_files() -> None:
    program = """
import importlib, sys
sys.modules |= dict.fromkeys(["av", "openvino", "orjson"])
for name in ("engines.__main__", "engines.benchmark", "posefix_track.specimen", "trainer.__main__"):
    importlib.import_module(name)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


def nodes(path: Path) -> Iterator[ast.AST]:
    yield from ast.walk(ast.parse(path.read_text(encoding="utf-8"), path.name))


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []


def bound(node: ast.AST) -> list[str]:
    """Names that an import statement makes."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [alias.asname or alias.name.split(".")[0] for alias in node.names]
    return []


def called(node: ast.AST) -> str:
    """Dotted name of what a call calls, "" for anything else."""
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


def keyword(node: ast.AST, name: str) -> str:
    """Source of a call's keyword argument, "" where it has none."""
    keywords = node.keywords if isinstance(node, ast.Call) else []
    return next((ast.unparse(k.value) for k in keywords if k.arg == name), "")


PICKLING = ("pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "yaml")


def forbidden(node: ast.AST, in_tests: bool = False) -> str:
    """What is wrong with a node, "" if nothing is. Tests may write pickles, to show that nobody reads them."""
    if not in_tests and any(name.split(".")[0] in PICKLING for name in imported(node)):
        return "pickled data is code"
    if called(node) in ("pickle.load", "pickle.loads", "pickle.Unpickler"):
        return "pickled data is code"
    if "eval" in bound(node):
        return "`import eval` hides the built-in: import from its modules"
    if called(node) in ("eval", "exec", "builtins.eval", "builtins.exec", "os.system", "os.popen"):
        return "text must never become code"
    if keyword(node, "shell") not in ("", "False"):
        return "a shell would interpret file names"
    if called(node) == "torch.load" and keyword(node, "weights_only") != "True":
        return "torch.load without weights_only=True runs code"
    if called(node).endswith((".load", ".loadtxt")) and keyword(node, "allow_pickle") not in ("", "False"):
        return "pickled data is code"
    return ""


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_runs_data_as_code_or_hides_a_builtin(path: Path) -> None:
    in_tests = path.parent.name == "tests"
    found = [f"{path.name}:{node.lineno}: {reason}" for node in nodes(path) if (reason := forbidden(node, in_tests))]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import yaml",
        "import eval",
        "import eval.oks",
        "from x import y as eval",
        "eval('1')",
        "exec(text)",
        "subprocess.run(command, shell=True)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_the_check_finds_what_it_looks_for(source: str) -> None:
    assert any(forbidden(node) for node in ast.walk(ast.parse(source)))


@pytest.mark.parametrize(
    "source",
    ["from eval.oks import oks", "import eval.oks as measure", "network.eval()", "torch.load(p, weights_only=True)"],
)
def test_the_check_lets_the_rest_pass(source: str) -> None:
    assert not any(forbidden(node) for node in ast.walk(ast.parse(source)))


def test_all_packages_have_files() -> None:
    assert all(any(path.is_relative_to(ROOT / package) for path in FILES) for package in PACKAGES)
