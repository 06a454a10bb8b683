"""Lost packets show by where the others lie in the file; frames behind them keep their numbers, or none get one."""

from pathlib import Path

import av
import numpy as np
import pytest

from posefix_track.avi_chunks import avi_packets
from posefix_track.errors import InputError
from posefix_track.matroska_start import matroska_start
from posefix_track.program_stream import program_stream_packets
from posefix_track.transport_stream import read_transport_stream
from posefix_track.video import VideoFile
from tests.clips import FRAMES, VFR, Clip, cut_end, number_on, with_sound

AVI = Clip("clip.avi", "mpeg4", b_frames=0)
CAMERA = {"mpegts_m2ts_mode": "1"}
GIF = Clip("clip.gif", "gif", pixels="rgb8")
FLV = Clip("clip.flv", key_every=10)
# Low delay and little quantised, so that every bar code can be read.
AV1 = {"preset": "8", "crf": "5", "svtav1-params": "lp=1:pred-struct=1:enable-qm=0"}
VP8 = {"cpu-used": "8", "deadline": "realtime"}
OTHERS = (
    Clip("av1.mp4", "libsvtav1", encoder=AV1, muxer={"movflags": "+faststart"}), Clip("dvd.mpg", "mpeg2video"),
    Clip("av1.mkv", "libsvtav1", encoder=AV1), Clip("old.mpg", "mpeg1video", b_frames=0),
    Clip("vp8.webm", "libvpx", encoder=VP8),
    Clip("camera.avi", "mjpeg", pixels="yuvj420p"), GIF, FLV,
)  # fmt: skip
VIDEO_PID = 256
CAMERA_PID = 4113


def positions(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [packet.pos for packet in container.demux(video=0) if packet.size and packet.pos is not None]


def zeroed(path: Path, start: int, end: int) -> Path:
    data = bytearray(path.read_bytes())
    data[start:end] = bytes(end - start)
    damaged = path.with_name(f"damaged-{path.name}")
    damaged.write_bytes(data)
    return damaged


def own_numbers(path: Path) -> list[int]:
    """The numbers of all frames that are given; each carries its own, and damage is told."""
    source = VideoFile(path)
    frames = list(source)
    assert [number_on(frame.image) for frame in frames] == [frame.index for frame in frames]
    # libav takes a torn GIF for a shorter one.
    assert source.damage is not None or (path.suffix == ".gif" and len(frames) == source.frame_count_hint)
    return [frame.index for frame in frames]


@pytest.mark.parametrize("lost", [1, 2])
@pytest.mark.parametrize("clip", [AVI, Clip("clip.ts"), Clip("camera.ts", muxer=CAMERA), Clip("clip.mkv"),
                                  Clip("intra.mkv", key_every=1, b_frames=0)], ids=lambda clip: clip.name)  # fmt: skip
def test_nothing_is_numbered_where_the_first_packets_are_lost(tmp_path: Path, clip: Clip, lost: int) -> None:
    """Nothing tells how many there were."""
    path = clip.write(tmp_path)
    starts = positions(path)
    assert own_numbers(zeroed(path, starts[0] - 12, starts[lost])) == []


@pytest.mark.parametrize("clip", [Clip("clip.ts"), Clip("mpeg2.ts", "mpeg2video", b_frames=0),
                                  Clip("vfr.ts", times=VFR)], ids=lambda clip: clip.name)  # fmt: skip
def test_unit_of_a_transport_stream_without_a_picture_start_counts(tmp_path: Path, clip: Clip) -> None:
    """libav takes what is left of it for a part of the picture before."""
    path = clip.write(tmp_path)
    start = positions(path)[38]
    found = own_numbers(zeroed(path, start + 26, start + 90))
    if clip.times is None:
        assert found[-1] == FRAMES - 1 and len(found) > FRAMES // 2
    else:
        assert found[-1] < 38


def test_faults_of_a_stream_without_a_beat_end_the_numbers(tmp_path: Path) -> None:
    """A step in time that others have taken as well may still hide a frame."""
    path = Clip("vfr.ts", times=VFR).write(tmp_path)
    starts = positions(path)
    assert max(own_numbers(zeroed(path, starts[30], starts[31]))) < 30


def test_packets_of_cameras_are_looked_at(tmp_path: Path) -> None:
    path = Clip("camera.ts", muxer=CAMERA).write(tmp_path)
    stream = read_transport_stream(path, CAMERA_PID)
    assert (stream.faults, stream.units) == ([], positions(path))
    data = path.read_bytes()
    (tmp_path / "torn.ts").write_bytes(data[: 192 * 60] + data[192 * 63 :])
    assert read_transport_stream(tmp_path / "torn.ts", CAMERA_PID).faults[0] >= 192 * 60
    assert len(own_numbers(tmp_path / "torn.ts")) > FRAMES // 3


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg2video"])
def test_units_are_where_packets_begin(tmp_path: Path, codec: str) -> None:
    path = with_sound(Clip("clip.ts", codec).write(tmp_path), tmp_path / "sound.ts")
    assert read_transport_stream(path, VIDEO_PID).units == positions(path)


@pytest.mark.parametrize(("codec", "pixels"), [("libx264", "yuv420p"), ("mpeg4", "yuv420p"), ("mjpeg", "yuvj420p"),
                                               ("rawvideo", "bgr24")])  # fmt: skip
def test_chunks_of_an_avi_are_its_packets(tmp_path: Path, codec: str, pixels: str) -> None:
    path = Clip("clip.avi", codec, pixels=pixels).write(tmp_path)
    for each in (path, with_sound(path, tmp_path / "sound.avi")):
        assert list(avi_packets(each, 0)) == positions(each)


@pytest.mark.parametrize(("offset", "new"), [(-8, b"p"), (-8, b"1"), (-6, b"wb"), (-4, b"\xff\x03")])
def test_avi_packet_that_hides_by_its_header_ends_the_numbers(tmp_path: Path, offset: int, new: bytes) -> None:
    path = AVI.write(tmp_path)
    data, start = bytearray(path.read_bytes()), positions(path)[25]
    data[start + offset : start + offset + len(new)] = new
    (tmp_path / "hidden.avi").write_bytes(data)
    found = own_numbers(tmp_path / "hidden.avi")
    assert found[:20] == [*range(20)] and found[-1] in (23, 24, 25)


def chunk(name: bytes, data: bytes, pad: bool = True) -> bytes:
    return name + len(data).to_bytes(4, "little") + data + b"\0" * (len(data) % 2 and pad)


def test_what_avis_hold_besides_packets_is_passed_over(tmp_path: Path) -> None:
    streams = [chunk(b"LIST", b"strl" + chunk(b"strh", kind)) for kind in (b"vids", b"auds")]
    packets = [
        chunk(b"JUNK", bytes(5)), chunk(b"LIST", b"rec " + chunk(b"00dc", b"P" * 9) + chunk(b"01wb", b"S")),
        chunk(b"00dc", b""), chunk(b"00pc", b"P"), chunk(b"ix00", b"??"), chunk(b"00db", b"P" * 3, pad=False),
        chunk(b"00dc", b"P" * 4),
    ]  # fmt: skip
    movi = chunk(b"LIST", b"movi" + b"".join(packets), pad=False)
    headers = chunk(b"LIST", b"hdrl" + b"".join(streams)) + chunk(b"LIST", b"INFO????")
    rest = chunk(b"idx1", b"") + chunk(b"_PMX", b"<x/>")
    second = b"RIFF\0\0\0\0AVIX" + b"LIST\0\0\0\0movi" + chunk(b"00dc", b"P" * 6)
    data = b"RIFF\0\0\0\0AVI " + headers + movi + rest + second
    (tmp_path / "made.avi").write_bytes(data)
    found = list(avi_packets(tmp_path / "made.avi", 0))
    assert [data[at:][:n] for at, n in zip(found, (9, 3, 4, 6), strict=True)] == [b"P" * n for n in (9, 3, 4, 6)]
    assert [data[at - 8 : at - 6] for at in found] == [b"00"] * 4


def test_matroska_headers_of_endless_elements_end(tmp_path: Path) -> None:
    (tmp_path / "hostile.mkv").write_bytes(bytes([0xEC, 0x80]) * 100_000)
    assert matroska_start(tmp_path / "hostile.mkv") < 10_000


@pytest.mark.parametrize("muxer", [{}, {"live": "1"}, {"cues_to_front": "1", "reserve_index_space": "5000"}])
def test_matroska_packets_start_with_the_first_cluster(tmp_path: Path, muxer: dict[str, str]) -> None:
    path = Clip("clip.mkv", muxer=muxer).write(tmp_path)
    start = matroska_start(path)
    assert path.read_bytes()[start : start + 4] == b"\x1f\x43\xb6\x75"
    assert 0 < positions(path)[0] - start < 64


def test_undamaged_clips_of_other_kinds_are_whole(tmp_path: Path) -> None:
    clips = (Clip("sound.avi"), Clip("camera.ts", muxer=CAMERA), Clip("vfr.ts", times=VFR))
    for clip in clips:
        source = VideoFile(with_sound(clip.write(tmp_path), tmp_path / f"with-{clip.name}"))
        assert [(frame.index, number_on(frame.image)) for frame in source] == [(i, i) for i in range(FRAMES)]
        assert source.damage is None


@pytest.mark.parametrize("clip", OTHERS, ids=lambda clip: clip.name)
def test_other_kinds_give_every_frame_and_cut_in_half_the_first_ones(tmp_path: Path, clip: Clip) -> None:
    path = clip.write(tmp_path)
    source = VideoFile(path)
    assert [(frame.index, number_on(frame.image)) for frame in source] == [(i, i) for i in range(FRAMES)]
    assert source.damage is None and source.frame_count_hint in (FRAMES, None)
    found = own_numbers(cut_end(path, tmp_path / f"cut-{clip.name}", 0.5))
    assert found == [*range(len(found))] and FRAMES // 4 < len(found) <= FRAMES // 2 + 8


@pytest.mark.parametrize("clip", [Clip("dvd.mpg", "mpeg2video"), GIF], ids=lambda clip: clip.name)
@pytest.mark.parametrize("part", [0, 8])
def test_torn_chain_of_packets_ends_the_numbers(tmp_path: Path, clip: Clip, part: int) -> None:
    path = clip.write(tmp_path)
    start = positions(path)[part]
    data = path.read_bytes()
    for name, rest in (("zero", bytes(24) + data[start + 24 :]), ("gone", data[start + 24 :])):
        torn = tmp_path / f"{name}{path.suffix}"
        torn.write_bytes(data[:start] + rest)
        try:
            found = own_numbers(torn)
        except InputError:  # what is not known for a GIF any more
            assert part == 0
            continue
        assert found == [*range(len(found))] and len(found) < (20 if part else 1)


def test_tag_of_a_flash_video_that_hides_counts(tmp_path: Path) -> None:
    path = FLV.write(tmp_path)
    start = positions(path)[14]
    found = own_numbers(zeroed(path, start + 11, start + 40))
    assert found[-1] == FRAMES - 1 and len(found) > FRAMES // 2


def test_packets_of_a_program_stream_are_announced(tmp_path: Path) -> None:
    for codec in ("mpeg1video", "mpeg2video"):
        path = Clip(f"{codec}.mpg", codec).write(tmp_path)
        packets = program_stream_packets(path)
        assert packets is not None and set(positions(path)) <= set(packets)


def test_numbers_of_damaged_units_hold_at_every_packet(tmp_path: Path) -> None:
    path = Clip("clip.ts").write(tmp_path)
    starts = positions(path)
    for number in np.random.default_rng(0).integers(1, FRAMES - 20, 4):
        assert own_numbers(zeroed(path, starts[number] + 22, starts[number] + 60))[-1] == FRAMES - 1
