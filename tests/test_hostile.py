"""Files that were made to do harm: nothing in them runs, nothing outside is opened, nothing fills the memory."""

import json
import os
import random
import socket
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import weights_mutants
from benchmarks.weights_mutants import DAMAGES, damaged, damages, outcome, write_small_weights
from posefix_track.errors import InputError
from posefix_track.image_folder import ImageFolder, read_image
from posefix_track.keypoints import COCO_17
from posefix_track.network import NetworkConfig, PoseFix
from posefix_track.poses import FramePoses, PoseSequence
from posefix_track.refine import refine_sequence
from posefix_track.refiner import PoseRefiner
from posefix_track.report import Report
from posefix_track.video import open_source
from posefix_track.weights import Weights, load_weights, save_weights
from posefix_track.weights_header import read_header
from tests.clips import Clip

CONFIG = NetworkConfig(input_size=(64, 64), head_channels=(16, 16, 16))

# --- weights ---


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "good.safetensors"
    save_weights(path, PoseFix(CONFIG), {})
    return path


def rewritten(source: Path, target: Path, change: object) -> Path:
    """The file with its header changed by ``change(header)``; the tensors stay as they are."""
    data = source.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    change(header)  # type: ignore[operator]
    text = json.dumps(header).encode()
    target.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])
    return target


def first_tensor(header: dict) -> dict:
    return next(tensor for tensor in header.values() if tensor.get("dtype") == "F16")


EMPTY = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
HEADERS = {
    "more tensors than any network has": lambda h: h.update({f"t{i}": EMPTY for i in range(5001)}),
    "overlap": lambda h: first_tensor(h).update(data_offsets=[0, 8]),
    "negative offsets": lambda h: first_tensor(h).update(data_offsets=[-8, 0]),
    "beyond the end": lambda h: first_tensor(h).update(data_offsets=[0, 1 << 60]),
    "shape that lies": lambda h: first_tensor(h).update(shape=[1 << 31, 1 << 31]),
    "negative shape": lambda h: first_tensor(h).update(shape=[-1, -1]),
    "no offsets": lambda h: first_tensor(h).pop("data_offsets"),
    "text for numbers": lambda h: first_tensor(h).update(data_offsets=["a", None]),
    "unknown type": lambda h: first_tensor(h).update(dtype="F8_E4M3"),
    "type of another size": lambda h: first_tensor(h).update(dtype="I64"),
    "tensor that is a list": lambda h: h.update(extra=[]),
    "metadata that is a list": lambda h: h.update(__metadata__=[]),
    "huge network": lambda h: h["__metadata__"].update(config='{"head_channels": [100000, 100000, 100000]}'),
    "huge crops": lambda h: h["__metadata__"].update(config='{"input_size": [1048576, 1048576]}'),
    "endless numbers": lambda h: h["__metadata__"].update(config='{"sigma": ' + "9" * 5000 + "}"),
    "deep config": lambda h: h["__metadata__"].update(config="[" * 100_000),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_lying_headers_are_refused(weights: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"bad\.safetensors"):
        load_weights(rewritten(weights, tmp_path / "bad.safetensors", HEADERS[name]))


@pytest.mark.parametrize("head", [b"", b"\x08", (1 << 62).to_bytes(8, "little"), (1_000_001).to_bytes(8, "little"),
                                  (100_000).to_bytes(8, "little") + b"[" * 100_000, (2).to_bytes(8, "little") + b"[]",
                                  (2).to_bytes(8, "little") + b"\xff\xfe"])  # fmt: skip
def test_broken_headers_are_refused(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "bad.safetensors").write_bytes(head)
    with pytest.raises(InputError, match=r"bad\.safetensors"):
        read_header(tmp_path / "bad.safetensors")


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    network = PoseFix(CONFIG)
    next(network.parameters()).data.flatten()[3] = float("nan")
    save_weights(tmp_path / "nan.safetensors", network, {}, torch.float32)
    with pytest.raises(InputError, match="not finite"):
        load_weights(tmp_path / "nan.safetensors")


def test_damaged_weights_load_or_give_our_error(tmp_path: Path) -> None:
    """A slice of ``python -m benchmarks.weights_mutants``."""
    content, path = write_small_weights(tmp_path / "sound.safetensors"), tmp_path / "damaged.safetensors"
    assert outcome(tmp_path / "sound.safetensors") == "loaded"
    for seed in range(40):
        what, data = damaged(content, random.Random(seed))
        path.write_bytes(data)
        assert outcome(path) in ("refused", "loaded"), (seed, what)
    assert set(DAMAGES) == {damage for seed in range(40) for damage in damages(random.Random(seed))}


def test_damage_that_is_not_noticed_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.safetensors"
    write_small_weights(path)
    network = PoseFix(CONFIG)
    next(network.parameters()).data.flatten()[3] = float("nan")
    monkeypatch.setattr(weights_mutants, "load_weights", lambda path: Weights(network, {}, ""))
    assert outcome(path) == "weights that are not finite"
    monkeypatch.setattr(weights_mutants, "load_weights", lambda path: [][0])
    assert outcome(path) == "IndexError: list index out of range"


def test_a_pickle_does_not_run(tmp_path: Path) -> None:
    class Canary:
        def __reduce__(self) -> tuple[object, tuple[str, ...]]:
            return os.mkdir, (str(tmp_path / "it ran"),)

    for name in ("weights.pt", "weights.safetensors"):
        torch.save({"weight": Canary()}, tmp_path / name)
        with pytest.raises(InputError):
            load_weights(tmp_path / name)
    assert not (tmp_path / "it ran").exists()


# --- pictures and videos ---

PARTS = st.sampled_from(["..", ".", "a", "frame.png", "", "/", "\\", "C:", "\0", "~", "link", "secret.png", "\u202e"])


@given(st.lists(PARTS, max_size=6), st.sampled_from(["/", "\\", "//"]))
@settings(max_examples=200, deadline=None)
def test_no_image_name_leads_out_of_the_folder(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str], separator: str
) -> None:
    base = tmp_path_factory.getbasetemp() / "outside"
    inside = base / "images" / "a"
    if not inside.exists():
        inside.mkdir(parents=True)
        cv2.imwrite(str(base / "secret.png"), np.full((4, 4, 3), 66, np.uint8))
        cv2.imwrite(str(inside / "frame.png"), np.full((4, 4, 3), 1, np.uint8))
        (inside / "link").symlink_to(base)
    try:
        frame = ImageFolder(base / "images").read(separator.join(parts))
    except InputError:
        return
    assert frame.image[0, 0, 0] == 1


LISTS = (
    "ffconcat version 1.0\nfile 'clip.ts'\n",
    "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nclip.ts\n#EXT-X-ENDLIST\n",
    "<?xml version='1.0'?><MPD><Period><BaseURL>clip.ts</BaseURL></Period></MPD>",
    "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "rtsp://127.0.0.1/x",
)


def test_files_that_name_other_files_open_none(tmp_path: Path) -> None:
    Clip("clip.ts").write(tmp_path)
    for text in LISTS:
        for suffix in ("m3u8", "mp4", "ffconcat", "mpd", "sdp"):
            path = tmp_path / f"list.{suffix}"
            path.write_text(text)
            with pytest.raises(InputError, match="not a video that can be read"):
                open_source(path)


def bomb(kind: str, width: int, height: int) -> bytes:
    big, little = (lambda n, size: n.to_bytes(size, "big")), (lambda n, size: n.to_bytes(size, "little"))
    if kind == "png":
        return b"\x89PNG\r\n\x1a\n" + big(13, 4) + b"IHDR" + big(width, 4) + big(height, 4) + b"\x08\x02\0\0\0"
    if kind == "bmp":
        return b"BM" + bytes(12) + little(40, 4) + little(width, 4) + little(height, 4) + bytes(28)
    if kind == "jpg":
        return b"\xff\xd8\xff\xc0\x00\x11\x08" + big(height, 2) + big(width, 2) + bytes(12)
    return b"RIFF\0\0\0\0WEBPVP8X" + little(10, 4) + bytes(4) + little(width - 1, 3) + little(height - 1, 3) + bytes(8)


@pytest.mark.parametrize("kind", ["png", "bmp", "jpg", "webp"])
def test_decompression_bombs_are_refused_by_their_headers(tmp_path: Path, kind: str) -> None:
    (tmp_path / f"bomb.{kind}").write_bytes(bomb(kind, 50_000, 50_000))
    with pytest.raises(InputError, match="50000x50000"):
        read_image(tmp_path / f"bomb.{kind}")


def test_video_of_huge_pictures_is_refused_by_its_header(tmp_path: Path) -> None:
    path = Clip("raw.y4m", "rawvideo", b_frames=0).write(tmp_path)
    for size in (b"W20000 H64", b"W16000 H16000"):
        path.write_bytes(path.read_bytes().replace(b"W256 H64", size).replace(b"W20000 H64", size))
        with pytest.raises(InputError, match="pixels a side are read"):
            open_source(path)


def test_refinement_opens_no_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something wants to talk to the network")

    for name in ("connect", "connect_ex", "bind", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("create_connection", "getaddrinfo", "gethostbyname"):
        monkeypatch.setattr(socket, name, refuse)
    refiner = PoseRefiner(str(weights), engine="torch", gate=False)
    poses = FramePoses(np.random.default_rng(0).uniform(5, 60, (2, 17, 2)).astype(np.float32), frame_index=3)
    with open_source(Clip("clip.mp4").write(tmp_path)) as source:
        after = refine_sequence(source, PoseSequence(COCO_17, (poses,)), refiner, Report())
    assert (after.frames[0].keypoints != poses.keypoints).any()
