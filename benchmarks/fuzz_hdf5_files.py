"""HDF5 files for the fuzzer of the pose file readers: sound, damaged, and strange ones that are valid HDF5."""

import io
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from posefix_track.formats.pickled_names import pickled
from posefix_track.keypoints import COCO_17
from posefix_track.new_hdf5 import deeplabcut_h5, sleap_h5
from posefix_track.poses import FramePoses, PoseSequence

# Where HDF5's own structures begin; the poses between them are numbers that may be anything.
_SIGNATURES = (b"\x89HDF", b"OHDR", b"OCHK", b"TREE", b"HEAP", b"SNOD", b"GCOL", b"FRHP", b"FSHD", b"BTHD", b"BTLF")
_NEAR = 160
_BYTES = (
    b"\x00",
    b"\xff",
    b"\x01",
    b"\x7f",
    b"\x80",
    b"\xff" * 8,
    b"\x00" * 8,
    b"\xff\xff\xff\x7f",
    b"\x08" + b"\0" * 7,
)
_TRACKS = (2, 2, 17, 3)


def samples() -> dict[str, bytes]:
    """One file of each format, as the first versions of HDF5 wrote them (pandas and SLEAP still do) and as the last."""
    keypoints = np.arange(68, dtype=np.float32).reshape(2, 17, 2) + 5
    ones = np.ones((2, 17), np.float32)
    frames = [FramePoses(keypoints, number, scores=ones, track_ids=("ann", "bob")) for number in (0, 2)]
    sequence = PoseSequence(COCO_17, tuple(replace(frame, person_scores=ones[:, 0]) for frame in frames))
    new = {name: make(sequence, "a.h5")["a.h5"] for name, make in (("sleap", sleap_h5), ("deeplabcut", deeplabcut_h5))}
    found = {}
    for name, data in new.items():
        for version in ("earliest", "latest"):
            found[f"{name}_h5 {version}"] = _rewritten(data, version)
    return found


def _rewritten(data: bytes, version: str) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(io.BytesIO(data)) as source, h5py.File(buffer, "w", libver=version) as copy:
        for name in source:
            source.copy(name, copy)
        if "tracks" in copy:
            tracks = copy["tracks"][()]
            del copy["tracks"]
            copy.create_dataset("tracks", data=tracks, compression="gzip", chunks=(1, 2, 17, 2))
    return buffer.getvalue()


def damaged(data: bytes, rng: random.Random) -> bytes:
    """``data`` with bits flipped, bytes overwritten, removed or copied, or cut: mostly where structures stand."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at, kind = _place(found, rng), rng.random()
        if kind < 0.45:
            found[at : at + 1] = bytes([found[at] ^ 1 << rng.randrange(8)])
        elif kind < 0.8:
            new = rng.choice((*_BYTES, bytes([rng.randrange(256)])))
            found[at : at + len(new)] = new
        elif kind < 0.88:
            found[at : at + rng.choice((1, 8, 64, 512))] = b""
        elif kind < 0.96:
            other = _place(found, rng)
            found[at : at + 8] = found[other : other + 8]
        else:
            del found[at:]
        if not found:
            break
    return bytes(found)


def _place(data: bytearray, rng: random.Random) -> int:
    if rng.random() < 0.25:
        return rng.randrange(len(data))
    signature = rng.choice(_SIGNATURES)
    found = data.find(signature, rng.randrange(len(data)))
    return min(len(data) - 1, max(0, found) + rng.randrange(_NEAR))


def strange(folder: Path, canary: Path) -> dict[str, Path]:
    """Valid HDF5 files by what is odd about them; some of them refer to ``canary``, which nobody may open."""
    found = {}
    for sample, data in samples().items():
        for name, change in {**_arrays(), **_links(canary)}.items():
            if sample.endswith("earliest") and ("tracks" in name) == sample.startswith("sleap"):
                path = folder / f"{len(found)}.h5"
                path.write_bytes(data)
                with h5py.File(path, "r+") as file:
                    change(file)
                found[f"{sample}: {name}"] = path
    return found


Change = Callable[[Any], None]


def _arrays() -> dict[str, Change]:
    """Other shapes and types. Names with "tracks" in them are for SLEAP's file, others for DeepLabCut's."""
    shapes = (
        (),
        (0,),
        (2, 17),
        (2, 3, 17, 3),
        (2, 2, 17, 0),
        (0, 2, 17, 3),
        (2, 2, 18, 3),
        (3, 17, 2, 2),
        (9, 2, 17, 9),
    )
    changes: dict[str, Change] = {f"tracks of shape {s}": _put("tracks", np.zeros(s)) for s in shapes}
    kinds = ("i4", "f2", ">f8", "c16", "?", "S3", "g", [("x", "f8"), ("y", "f8")], h5py.ref_dtype, h5py.regionref_dtype)
    changes |= {f"tracks of {kind}": _new("tracks", _TRACKS, kind) for kind in kinds}
    changes |= {f"tracks are {n}": _put("tracks", np.full(_TRACKS, n)) for n in (np.nan, np.inf, -1e308, 0.0)}
    vlen = h5py.vlen_dtype("f8")
    changes |= {"tracks of lists": _new("tracks", _TRACKS, vlen), "no tracks in it": lambda f: f.pop("tracks")}
    changes["tracks in a group"] = lambda f: (f.pop("tracks"), f.create_group("tracks"))[0]
    changes["tracks as a type"] = lambda f: (f.pop("tracks"), f.__setitem__("tracks", np.dtype("f8")))[0]
    changes["tracks without values"] = _put("tracks", h5py.Empty("f8"))
    changes["tracks of huge shape"] = _new("tracks", (10**5, 2, 17, 10**6), "f8", chunks=(1, 2, 17, 1))
    changes["tracks of huge chunks"] = _new("tracks", _TRACKS, "f8", chunks=(2, 2, 17, 10**7), maxshape=(None,) * 4)
    changes["tracks of zeros packed"] = _put("tracks", np.zeros((40, 2, 17, 2000)), compression="gzip")
    for name in ("point_scores", "instance_scores", "node_names", "track_names"):
        for shape in ((), (3,), (2, 3), (3, 17, 2), (2, 17, 3), (1, 1, 1)):
            changes[f"tracks with {name} of shape {shape}"] = _put(name, np.zeros(shape))
        changes[f"tracks without {name}"] = lambda f, name=name: f.pop(name)
    long = np.array(["é" * 5000] * 3, object)
    changes["tracks with long names"] = _new("track_names", (3,), h5py.string_dtype(), data=long)
    changes["tracks with 300000 names"] = _new("track_names", (300_000,), "S9")
    changes["tracks with broken names"] = _put("node_names", np.array([b"\xff\xfe\x00n"] * 17))
    changes["tracks with equal names"] = _put("node_names", np.array([b"nose"] * 17))
    for dims in ("[]", "x" * 10_000, '["track","track","xy","node"]', 7, np.zeros(3), b"\xff"):
        changes[f"tracks with dims {str(dims)[:20]}"] = lambda f, dims=dims: f["tracks"].attrs.__setitem__("dims", dims)
    return changes | _tables()


def _tables() -> dict[str, Change]:
    table, kind = "df_with_missing/table", "values_block_0_kind"
    row = [("index", "i8"), ("values_block_0", "f8", (102,))]
    index, values = row
    block = "values_block_0"
    kinds = (
        "f8", [("index", "i8")], [("index", "f8"), values], [("index", "i8", (2,)), values], [("index", "u8"), values],
        [index, (block, "S8", (102,))], [index, (block, "f8")], [index, (block, "i2", (102,))],
        [index, (block, "f8", (51, 2))], [index, (block, h5py.vlen_dtype("f8"))], h5py.ref_dtype,
    )  # fmt: skip
    changes: dict[str, Change] = {f"rows of {str(kind)[:70]}": _keeping(table, kind) for kind in kinds}
    changes["rows of another number of columns"] = _keeping(table, [index, (block, "f8", (101,))])
    changes["a huge number of rows"] = _new(table, (10**9,), row, chunks=(1,))
    odd = (
        7, np.zeros(3), np.int64(10**12), b"", b"N.", b"(l.", "é", h5py.Empty("S1"), b"cos\nsystem\n(S'true'\ntR.",
        pickled([("a",) * 4] * 102), pickled([("net", "a", "b", "x")] * 102), pickled([(1, 2, 3)] * 102), pickled([[]]),
        b"(" * 3000, b"(l" + b"I1\n" * 3000 + b"0.", b"(lp0\ng0\na.", b"(lp0\n" + b"(g0\ng0\ntp0\n" * 60 + b"a.",
    )  # fmt: skip
    for number, value in enumerate(odd):
        changes[f"odd names {number}"] = lambda f, value=value: f[table].attrs.__setitem__(kind, value)
    changes["no names"] = lambda f: f[table].attrs.__delitem__(kind)
    return changes


def _links(canary: Path) -> dict[str, Change]:
    """Links to other files, to themselves and to nothing, in the place of every data set."""
    size = 8 * int(np.prod(_TRACKS))
    layout = h5py.VirtualLayout(_TRACKS, "f8")
    layout[:] = h5py.VirtualSource(canary, "tracks", _TRACKS)
    changes: dict[str, Change] = {
        "tracks elsewhere": _new("tracks", _TRACKS, "f8", external=[(str(canary), 0, size)]),
        "tracks by a virtual data set": lambda f: (f.pop("tracks"), f.create_virtual_dataset("tracks", layout))[0],
        "table elsewhere": _new("df_with_missing/table", (2,), "f8", external=[(str(canary), 0, 16)]),
        "group in itself": lambda f: f["df_with_missing"].__setitem__("again", f["df_with_missing"]),
    }
    for name in ("tracks", "point_scores", "instance_scores", "node_names", "track_names", "df_with_missing", "x"):
        what = "link of" if name == "df_with_missing" else "tracks, link of"
        links = (h5py.ExternalLink(canary, "/tracks"), h5py.SoftLink(f"/{name}"), h5py.SoftLink("/nothing/at/all"))
        for number, link in enumerate(links):
            changes[f"{what} {name} {number}"] = lambda f, name=name, link=link: _relink(f, name, link)
    return changes


def _put(name: str, value: Any, **options: Any) -> Change:
    def change(file: Any) -> None:
        file.pop(name, None)
        file.create_dataset(name, data=value, **options)

    return change


def _new(name: str, shape: tuple[int, ...], kind: Any, **options: Any) -> Change:
    def change(file: Any) -> None:
        file.pop(name, None)
        file.create_dataset(name, shape, kind, **options)

    return change


def _keeping(name: str, kind: Any) -> Change:
    """Another data set with the attributes of the old."""

    def change(file: Any) -> None:
        attributes = dict(file[name].attrs)
        del file[name]
        file.create_dataset(name, (2,), kind).attrs.update(attributes)

    return change


def _relink(file: Any, name: str, link: Any) -> None:
    file.pop(name, None)
    file[name] = link
