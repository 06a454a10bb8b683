"""HDF5 files of SLEAP and DeepLabCut: nothing but poses changes, and hostile files are refused."""

import contextlib
import io
import json
import pickle
import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from posefix_track.convert import convert
from posefix_track.errors import InputError, PosefixError, UsageError
from posefix_track.formats import PoseFile, read_poses
from posefix_track.keypoints import COCO_17
from posefix_track.new_hdf5 import deeplabcut_h5
from tests.format_samples import FLAT
from tests.format_samples_more import NAMES

h5py = pytest.importorskip("h5py", reason="needs h5py: pip install 'posefix_track[hdf5]'")

XY = np.array(FLAT).reshape(17, 3)


def sleap_file(folder: Path, python_axes: bool = False, dims: str = "", **datasets: Any) -> Path:
    """Tracks "ann" in frames 0 and 2 and "bob" in frame 2 of three frames; ``dims`` names other axes."""
    tracks = np.full((2, 2, 17, 3), np.nan)
    tracks[0, :, :, 0] = tracks[1, :, :, 2] = XY[:, :2].T
    tracks[0, :, :, 2] = XY[:, :2].T + 0.1
    tracks[:, :, 4] = np.nan
    arrays = {"tracks": tracks, "point_scores": np.full((2, 17, 3), 0.5), "instance_scores": np.full((2, 3), 0.75)}
    arrays = {name: array.T if python_axes else array for name, array in arrays.items()}
    if dims:
        for name, axes in (("tracks", "txnf"), ("point_scores", "tnf"), ("instance_scores", "tf")):
            own = [axis for axis in dims if axis in axes]
            arrays[name] = arrays[name].transpose([axes.index(axis) for axis in own])
    names = {"node_names": [n.encode() for n in NAMES], "track_names": [b"ann", b"bob"]}
    with h5py.File(folder / "clip.analysis.h5", "w") as file:
        for name, value in {**arrays, **names, **datasets}.items():
            if value is not None:
                chunks = {"compression": "gzip"} if name == "tracks" and getattr(value, "ndim", 0) else {}
                file.create_dataset(name, data=value, **chunks)
        file["own/notes"] = ["kept"]
        file.attrs["by"] = "a test"
        if dims:
            long = {"t": "track", "x": "xy", "n": "node", "f": "frame"}
            file["tracks"].attrs["dims"] = json.dumps([long[axis] for axis in dims])
    return folder / "clip.analysis.h5"


def deeplabcut_file(folder: Path, individuals: tuple[str, ...] = ("ann", "bob"), protocol: int = 0) -> Path:
    """Two frames with all individuals, but the last one is not in frame 0; pandas' layout of a table."""
    parts = [(i, name, c) for i in individuals or ("",) for name in NAMES for c in ("x", "y", "likelihood")]
    columns = [("net", *names) if individuals else ("net", *names[1:]) for names in parts]
    rows = np.zeros(2, [("index", "<i8"), ("values_block_0", "<f8", (len(columns),))])
    rows["index"] = [0, 1]
    rows["values_block_0"] = np.tile(XY.ravel(), len(individuals) or 1)
    if len(individuals) > 1:
        rows["values_block_0"][0, -51:] = np.nan
    with h5py.File(folder / "clipDLC.h5", "w") as file:
        table = file.create_dataset("df_with_missing/table", data=rows, chunks=True, maxshape=(None,))
        table.attrs["values_block_0_kind"] = np.bytes_(pickle.dumps(columns, protocol))
        file["df_with_missing"].attrs["pandas_type"] = np.bytes_(b"frame_table")
    return folder / "clipDLC.h5"


FILES = {
    "sleap_h5": sleap_file,
    "sleap_h5_python": lambda folder: sleap_file(folder, python_axes=True),
    "sleap_h5_standard": lambda folder: sleap_file(folder, dims="ftnx"),
    "deeplabcut_h5": deeplabcut_file,
}


def content(path: Path) -> dict[str, Any]:
    """All data sets and attributes by name, as bytes."""
    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        found[name] = {key: bytes(np.asarray(value).tobytes()) for key, value in item.attrs.items()}
        if isinstance(item, h5py.Dataset):
            values = item[()].tolist() if item.dtype == object else item[()].tobytes()
            found[name] |= {"": (item.dtype, item.shape, item.chunks, item.compression, values)}

    with h5py.File(path) as file:
        file.visititems(visit)
        found["/"] = dict(file.attrs)
    return found


def moved(poses: PoseFile, by: float) -> list[Any]:
    return [
        replace(s, frames=tuple(f.with_keypoints(f.keypoints + np.float32(by)) for f in s.frames))
        for s in poses.sequences
    ]


@pytest.mark.parametrize("name", FILES)
def test_unchanged_poses_give_the_same_bytes(name: str, tmp_path: Path) -> None:
    path = FILES[name](tmp_path)
    poses = read_poses(path)
    poses.write(tmp_path / "out.h5", moved(poses, 0))
    assert (tmp_path / "out.h5").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", sorted(FILES.keys() - {"deeplabcut_h5"}))
def test_person_scores_of_sleap_change_where_they_stand(name: str, tmp_path: Path) -> None:
    path = FILES[name](tmp_path)
    poses = read_poses(path)
    (sequence,) = poses.sequences
    half = [replace(f, person_scores=f.person_scores * np.float32([0.5, 1])[: len(f)]) for f in sequence.frames]
    poses.write(tmp_path / "out.h5", [replace(sequence, frames=tuple(half))])
    (after,) = read_poses(tmp_path / "out.h5").sequences
    assert [frame.person_scores.tolist() for frame in after.frames] == [[0.375], [0.375, 0.75]]
    before, now = content(path), content(tmp_path / "out.h5")
    assert {key for key in before if before[key] != now[key]} == {"instance_scores"}


@pytest.mark.parametrize("name", FILES)
def test_only_coordinates_change(name: str, tmp_path: Path) -> None:
    path = FILES[name](tmp_path)
    poses = read_poses(path)
    wanted = moved(poses, 2.5)
    poses.write(tmp_path / "out.h5", wanted)
    after = read_poses(tmp_path / "out.h5")
    for frame, expected in zip(after.sequences[0].frames, wanted[0].frames, strict=True):
        np.testing.assert_array_equal(frame.keypoints, expected.keypoints)
        np.testing.assert_array_equal(frame.scores, expected.scores)
        assert frame.track_ids == expected.track_ids
    before, now = content(path), content(tmp_path / "out.h5")
    changed = {key for key in before if before[key] != now[key]}
    assert before.keys() == now.keys()
    assert changed == {"df_with_missing/table" if name == "deeplabcut_h5" else "tracks"}


def test_joints_that_are_gone_are_nan(tmp_path: Path) -> None:
    poses = read_poses(sleap_file(tmp_path))
    (sequence,) = poses.sequences
    keypoints = sequence.frames[0].keypoints.copy()
    keypoints[0, 2] = 0
    frames = (sequence.frames[0].with_keypoints(keypoints), *sequence.frames[1:])
    poses.write(tmp_path / "out.h5", [replace(sequence, frames=frames)])
    assert np.isnan(read_poses(tmp_path / "out.h5").sequences[0].frames[0].keypoints[0, 2]).all()


@pytest.mark.parametrize("dims", ["", "txnf", "fnxt", "ftnx", "xntf"])
def test_sleap_tracks_are_read(dims: str, tmp_path: Path) -> None:
    (sequence,) = read_poses(sleap_file(tmp_path, dims=dims)).sequences
    assert sequence.keypoint_set == COCO_17
    assert [(frame.frame_index, frame.track_ids) for frame in sequence.frames] == [(0, ("ann",)), (2, ("ann", "bob"))]
    np.testing.assert_allclose(sequence.frames[1].keypoints[0, 0], XY[0, :2] + 0.1, rtol=1e-6)
    assert not sequence.frames[0].present[0, 4]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_deeplabcut_columns_are_read_without_unpickling(protocol: int, tmp_path: Path) -> None:
    (sequence,) = read_poses(deeplabcut_file(tmp_path, protocol=protocol)).sequences
    assert [frame.track_ids for frame in sequence.frames] == [("ann",), ("ann", "bob")]
    np.testing.assert_allclose(sequence.frames[0].keypoints[0], XY[:, :2], rtol=1e-6)
    (single,) = read_poses(deeplabcut_file(tmp_path, individuals=())).sequences
    assert [frame.track_ids for frame in single.frames] == [None, None]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tracks": np.zeros((2, 17))}, "4 dimensions"),
        ({"tracks": np.zeros((2, 3, 17, 3))}, "2 numbers"),
        ({"tracks": np.zeros((2, 2, 17, 3), int)}, "floating-point"),
        ({"point_scores": np.zeros((2, 17, 4))}, r"point_scores of shape \[2, 17, 3\], got \[2, 17, 4\]"),
        ({"instance_scores": np.zeros((3, 3))}, r"instance_scores of shape \[2, 3\], got \[3, 3\]"),
        ({"node_names": [b"a", b"b"]}, "human joints|expected tracks"),
        ({"point_scores": None, "node_names": [n.encode() for n in (*NAMES, "tail")]}, "18 nodes"),
    ],
)
def test_bad_arrays_are_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read_poses(sleap_file(tmp_path, **changes))


def test_rows_before_the_first_frame_are_refused(tmp_path: Path) -> None:
    path = deeplabcut_file(tmp_path)
    with h5py.File(path, "r+") as file:
        rows = file["df_with_missing/table"][()]
        rows["index"] -= 1
        file["df_with_missing/table"][...] = rows
    with pytest.raises(InputError, match="count frames from 0, got row -1"):
        read_poses(path)


def test_links_to_other_files_are_not_followed(tmp_path: Path) -> None:
    other = sleap_file(tmp_path).rename(tmp_path / "other.h5")
    path = sleap_file(tmp_path)
    links = (h5py.ExternalLink(str(other), "tracks"), h5py.SoftLink("/own/notes"))
    for link in links:
        with h5py.File(path, "r+") as file:
            del file["tracks"]
            file["tracks"] = link
        with pytest.raises(InputError, match="within the file"):
            read_poses(path)
    with h5py.File(path, "r+") as file:
        del file["tracks"]
        external = [(str(tmp_path / "secret"), 0, 8 * 2 * 2 * 17 * 3)]
        file.create_dataset("tracks", (2, 2, 17, 3), "f8", external=external)
    with pytest.raises(InputError, match="within the file"):
        read_poses(path)


def test_claimed_sizes_are_not_believed(tmp_path: Path) -> None:
    path = sleap_file(tmp_path, tracks=None)
    with h5py.File(path, "r+") as file:
        file.create_dataset("tracks", (10**6, 2, 17, 10**4), "f8", chunks=(1, 2, 17, 1))
    with pytest.raises(InputError, match="claims"):
        read_poses(path)


@pytest.mark.parametrize("seed", range(40))
def test_flipped_bytes_are_refused_or_kept(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    data = bytearray(FILES[rng.choice([*FILES])](tmp_path).read_bytes())
    for _ in range(rng.choice([1, 4, 64])):
        data[rng.randrange(len(data))] = rng.randrange(256)
    (tmp_path / "damaged.h5").write_bytes(data)
    with contextlib.suppress(PosefixError):
        poses = read_poses(tmp_path / "damaged.h5")
        poses.write(tmp_path / "out.h5", moved(poses, 0))
        assert (tmp_path / "out.h5").read_bytes() == data


@pytest.mark.parametrize("name", ["sleap_h5", "deeplabcut_h5"])
def test_damaged_files_are_refused(name: str, tmp_path: Path) -> None:
    data = FILES[name](tmp_path).read_bytes()
    path = tmp_path / "damaged.h5"
    for cut in range(0, len(data), len(data) // 20 + 1):
        path.write_bytes(data[:cut])
        with pytest.raises(PosefixError):
            read_poses(path)


@pytest.mark.parametrize("to", ["sleap_h5", "deeplabcut_h5"])
def test_converted_files_hold_the_same_people(to: str, tmp_path: Path) -> None:
    (tmp_path / "coco.json").write_text(
        json.dumps([{"image_id": i, "keypoints": FLAT, "score": 0.5, "track_id": 7 - i} for i in (1, 4)])
    )
    convert(read_poses(tmp_path / "coco.json"), tmp_path / "out.h5", to)
    (sequence,) = read_poses(tmp_path / "out.h5").sequences
    assert [(frame.frame_index, frame.track_ids) for frame in sequence.frames] == [(1, ("6",)), (4, ("3",))]
    np.testing.assert_allclose(np.nan_to_num(sequence.frames[0].keypoints[0]), XY[:, :2], atol=0.0051)
    assert read_poses(tmp_path / "out.h5").format == to


def test_tables_of_many_people_are_written(tmp_path: Path) -> None:
    # Their names take more than the 64 KB that an attribute may have in the first version of HDF5.
    rows = [{"image_id": 3, "keypoints": FLAT, "track_id": number} for number in range(60)]
    (tmp_path / "coco.json").write_text(json.dumps(rows))
    convert(read_poses(tmp_path / "coco.json"), tmp_path / "out.h5", "deeplabcut_h5")
    (sequence,) = read_poses(tmp_path / "out.h5").sequences
    assert sequence.frames[0].track_ids == tuple(map(str, range(60)))


def test_a_table_of_nobody_is_refused(tmp_path: Path) -> None:
    nobody = replace(read_poses(sleap_file(tmp_path)).sequences[0], frames=())
    with pytest.raises(InputError, match="there is nobody"):
        deeplabcut_h5(nobody, "out.h5")


@pytest.mark.parametrize("options", [{}, {"format": "sleap_h5"}])
def test_projects_of_sleap_are_refused_with_a_way_out(options: dict[str, Any], tmp_path: Path) -> None:
    with h5py.File(tmp_path / "clip.slp", "w") as file:
        for name in ("frames", "instances", "points", "pred_points", "tracks_json"):
            file[name] = [1, 2]
        file.create_group("metadata").attrs["format_id"] = 1.2
    with pytest.raises(InputError, match=r"SLEAP project, .* File > Export Analysis HDF5 .* sio convert clip.slp"):
        read_poses(tmp_path / "clip.slp", **options)


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sleap_file(tmp_path)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UsageError, match=r"pip install 'posefix_track\[hdf5\]'"):
        read_poses(path)


def test_other_hdf5_files_are_of_no_known_format(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["weights"] = [1, 2]
    (tmp_path / "model.h5").write_bytes(buffer.getvalue())
    with pytest.raises(InputError, match="no known pose format"):
        read_poses(tmp_path / "model.h5")
