import argparse
import importlib.util
import json

import numpy as np
import pytest

from eval.posetrack import evaluate_posetrack
from eval.posetrack_cli import add_posetrack_parser
from eval.posetrack_frames import GROUPS, JOINTS
from eval.posetrack_official import official_metrics
from posefix_track.errors import InputError, ResourceError, UsageError
from tests.posetrack_random import write_perfect_set, write_random_set

METRICS = ("ap", "ap_precision", "ap_recall", "mota", "motp", "mot_precision", "mot_recall", "hota", "deta", "assa")


def run(folders, *flags):
    parser = argparse.ArgumentParser()
    add_posetrack_parser(parser.add_subparsers())
    arguments = parser.parse_args(["posetrack", "--gt", str(folders[0]), "--pred", str(folders[1]), *flags])
    return arguments.run(arguments)


def read_strictly(path):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def test_report_names_every_joint_and_is_strict_json(tmp_path):
    folders = write_random_set(tmp_path, 9)
    assert run(folders, "--json", str(tmp_path / "out.json"), "--per-sequence") == 0
    report, metrics = read_strictly(tmp_path / "out.json"), evaluate_posetrack(*folders).metrics
    assert len(report["per_sequence"]) == report["sequences"]
    for part in (report, *report["per_sequence"].values()):
        assert all(list(part[name]) == [*JOINTS, "total"] for name in METRICS)
    for name in METRICS:
        written = [np.nan if value is None else value for value in report[name].values()]
        np.testing.assert_array_equal(written, metrics[name])
        assert list(report["groups"][name]) == list(GROUPS)


def test_groups_are_means_of_their_joints(tmp_path):
    report = evaluate_posetrack(*write_random_set(tmp_path, 1)).to_dict()
    wrists = [report["motp"]["left_wrist"], report["motp"]["right_wrist"]]
    assert report["groups"]["motp"]["Wri"] == pytest.approx(sum(wrists) / 2)


def test_table_shows_joints_groups_and_total(tmp_path, capsys):
    run(write_perfect_set(tmp_path), "--per-sequence", "--strict")
    shown = capsys.readouterr().out
    for word in (*JOINTS, *GROUPS, "total", "MOTP", "HOTA", "strict", "video"):
        assert word in shown
    assert "100.0" in shown


def test_report_that_cannot_be_written_is_a_resource_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="cannot be written"):
        run(write_perfect_set(tmp_path), "--json", str(tmp_path / "file" / "out.json"))


def test_the_folder_of_the_report_is_made(tmp_path):
    assert run(write_perfect_set(tmp_path), "--json", str(tmp_path / "new" / "folder" / "out.json")) == 0
    assert read_strictly(tmp_path / "new" / "folder" / "out.json")["sequences"]


def test_official_run_needs_poseval(tmp_path):
    if importlib.util.find_spec("poseval"):
        pytest.skip("poseval is installed here")
    with pytest.raises(UsageError, match=r"pip install .*git"):
        run(write_perfect_set(tmp_path), "--official")


@pytest.fixture
def fake_poseval(tmp_path, monkeypatch):
    """A module in poseval's place; returns a function that sets its program."""
    package = tmp_path / "modules" / "poseval"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    return (package / "evaluate.py").write_text


WRITES_NAN = """
import json, sys
folder = sys.argv[sys.argv.index("-o") + 1]
assert sys.argv[sys.argv.index("-g") + 1].endswith("/")
values = [float("nan")] + [50.0] * 15
for name, keys in (("AP", ("ap", "pre", "rec")), ("MOT", ("mota", "motp", "pre", "rec"))):
    with open(f"{folder}/total_{name}_metrics.json", "w") as file:
        json.dump(dict.fromkeys(keys, values), file)
"""


def test_official_numbers_stand_beside_ours(tmp_path, fake_poseval, capsys):
    fake_poseval(WRITES_NAN)
    run(write_perfect_set(tmp_path), "--official", "--json", str(tmp_path / "out.json"))
    report = read_strictly(tmp_path / "out.json")
    assert report["official"]["mota"]["right_ankle"] is None
    assert report["official"]["ap"]["total"] == 50
    assert "poseval" in capsys.readouterr().out


def test_official_failure_is_one_sentence(tmp_path, fake_poseval):
    fake_poseval("raise IndexError('index 0 is out of bounds')")
    with pytest.raises(InputError, match=r"IndexError: index 0 is out of bounds$"):
        official_metrics(*write_perfect_set(tmp_path))


def test_installed_poseval_agrees(tmp_path):
    pytest.importorskip("poseval", reason="poseval, the oracle, is not installed (it is not on PyPI)")
    folders = write_random_set(tmp_path, 11)
    ours, theirs = evaluate_posetrack(*folders).metrics, official_metrics(*folders)
    for name in set(theirs) - {"motp"}:
        # Percent; sums in another order.
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=1e-9, err_msg=name)
