"""Pose k must meet frame k, whatever the container does; damage is told, never raised."""

import struct
import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from posefix_track.errors import InputError, UsageError
from posefix_track.image_folder import read_image
from posefix_track.video import FrameSource, ImageFolder, VideoFile, VideoWriter, open_source

FRAMES, WIDTH, HEIGHT = 60, 256, 64
CLOCK = Fraction(1, 90_000)


def barcode(number: int) -> np.ndarray:
    """Eight vertical bars: the bits of the number, lowest first; noise on top so that every frame differs."""
    bits = [230 if number >> bit & 1 else 20 for bit in range(8)]
    image = np.repeat(np.repeat(np.array(bits, np.uint8), WIDTH // 8)[None, :, None], HEIGHT, 0).repeat(3, 2)
    image[:8] = np.random.default_rng(number).integers(0, 256, (8, WIDTH, 3))
    return image


def number_on(image: np.ndarray) -> int:
    bars = image[24:40].mean((0, 2)).reshape(8, -1)[:, 8:-8].mean(1)
    return sum(int(bar > 125) << bit for bit, bar in enumerate(bars))


def encode(
    path: Path, *, times: np.ndarray | None = None, b_frames: int = 2, rotation: int = 0, **options: str
) -> Path:
    times = np.arange(FRAMES) / 30 if times is None else times
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = WIDTH, HEIGHT, "yuv420p", 20
        stream.codec_context.options = {"bf": str(b_frames), "preset": "veryfast"}
        stream.codec_context.time_base = CLOCK
        if rotation:
            stream.set_display_rotation(rotation)
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(barcode(number), format="bgr24").reformat(format="yuv420p")
            frame.pts, frame.time_base = round(time * 90_000), CLOCK
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def cut_start(source: Path, target: Path, seconds: Fraction) -> Path:
    """What `ffmpeg -ss SECONDS -c copy` does: all packets stay, an edit list hides the first ones."""
    with av.open(str(source)) as old, av.open(str(target), "w", options={"avoid_negative_ts": "disabled"}) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None and packet.pts is not None:
                shift = int(seconds / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
                new.mux(packet)
    return target


def cut_end(source: Path, target: Path, share: float) -> Path:
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])
    return target


def numbers(source: FrameSource) -> list[int]:
    frames = list(source)
    assert [frame.index for frame in frames] == list(range(len(frames)))
    return [number_on(frame.image) for frame in frames]


@pytest.fixture(params=["decord", "pyav"])
def decoder(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "decord":
        pytest.importorskip("decord", reason="decord has no wheel for this machine")
    yield request.param


VFR = np.cumsum(np.random.default_rng(0).choice([0.02, 0.04, 0.2], FRAMES))


@pytest.mark.parametrize("name", ["plain.mp4", "b-frames.mp4", "b-frames.mkv", "vfr.mp4", "vfr.mkv", "b-frames.mov"])
def test_frame_k_is_the_kth_frame(tmp_path: Path, name: str, decoder: str) -> None:
    times = VFR if "vfr" in name else None
    path = encode(tmp_path / name, times=times, b_frames=0 if "plain" in name else 2)
    source = VideoFile(path, decoder)  # type: ignore[arg-type]
    assert numbers(source) == list(range(FRAMES))
    assert source.damage is None


def test_both_decoders_give_the_same_pixels_and_times(tmp_path: Path) -> None:
    pytest.importorskip("decord", reason="decord has no wheel for this machine")
    path = encode(tmp_path / "vfr.mp4", times=VFR)
    for one, other in zip(VideoFile(path, "decord"), VideoFile(path, "pyav"), strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        assert one.time_seconds == pytest.approx(other.time_seconds, abs=1e-5)  # decord's times are float32


def test_times_of_a_variable_rate_start_at_zero(tmp_path: Path) -> None:
    source = open_source(encode(tmp_path / "vfr.mp4", times=VFR))
    # The MP4 muxer rounds to its own clock of about 1/15360 s.
    np.testing.assert_allclose([frame.time_seconds for frame in source], VFR - VFR[0], atol=1e-3)


@pytest.mark.parametrize("suffix", ["ts", "avi"])
def test_other_containers_are_read_by_pyav(tmp_path: Path, suffix: str) -> None:
    source = open_source(encode(tmp_path / f"clip.{suffix}", b_frames=0 if suffix == "avi" else 2))
    assert isinstance(source, VideoFile) and source.decoder == "pyav"
    assert numbers(source) == list(range(FRAMES))
    assert source.damage is None


def test_plain_mp4_is_read_by_decord(tmp_path: Path) -> None:
    pytest.importorskip("decord", reason="decord has no wheel for this machine")
    source = open_source(encode(tmp_path / "clip.mp4"))
    assert isinstance(source, VideoFile) and source.decoder == "decord"


def test_edit_list_hides_the_frames_before_the_cut(tmp_path: Path) -> None:
    path = cut_start(encode(tmp_path / "whole.mp4"), tmp_path / "cut.mp4", Fraction(31, 30))
    source = open_source(path)
    assert numbers(source) == list(range(31, FRAMES))
    assert source.frame_count_hint == FRAMES - 31 and source.damage is None


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotated_video_is_upright_as_in_opencv(tmp_path: Path, rotation: int) -> None:
    source = open_source(encode(tmp_path / "rotated.mp4", rotation=rotation))
    first = next(iter(source))
    _, expected = cv2.VideoCapture(str(source.path)).read()
    assert first.image.shape[:2] == (source.height, source.width)
    np.testing.assert_array_equal(first.image, expected)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_truncated_file_gives_its_first_frames_and_says_so(tmp_path: Path, name: str, share: float) -> None:
    options = {"movflags": "+faststart"} if name.endswith("mp4") else {}
    source = open_source(cut_end(encode(tmp_path / name, **options), tmp_path / f"cut-{name}", share))
    found = numbers(source)
    # B-frames of the last, broken group of pictures may be lost.
    assert FRAMES * share - 12 < len(found) < FRAMES
    assert found == list(range(len(found)))
    assert f"decoding ended after {len(found)} of {FRAMES} frames" in str(source.damage)


def test_damaged_packets_end_the_stream_without_an_exception(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mp4", movflags="+faststart")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4000] = np.random.default_rng(1).bytes(4000)
    path.write_bytes(data)
    source = open_source(path)
    assert 0 < len(list(source)) < FRAMES
    assert "decoding ended" in str(source.damage)


def test_a_source_can_be_read_twice_and_closed_early(tmp_path: Path) -> None:
    with open_source(encode(tmp_path / "clip.mkv")) as source:
        running = iter(source)
        assert number_on(next(running).image) == 0
        source.close()
        assert list(running) == []
        assert numbers(source) == list(range(FRAMES))


REFUSED = ["http://host/a.mp4", "https://host/a.m3u8", "ftp://host/a", "rtsp://cam", "concat:a.ts|b.ts",
           "subfile,,start,0,end,9,,:a.mp4", "file:/etc/hostname", "missing.mp4"]  # fmt: skip


@pytest.mark.parametrize("address", REFUSED)
def test_addresses_and_missing_files_are_refused(address: str) -> None:
    with pytest.raises(InputError, match=r"only local files|no such"):
        open_source(Path(address))


def test_play_list_is_not_followed(tmp_path: Path) -> None:
    encode(tmp_path / "clip.ts")
    play_list = tmp_path / "list.m3u8"
    play_list.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nclip.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(InputError, match="not followed"):
        open_source(play_list)


def test_files_without_a_video_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("not a video " * 500)
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 16000
        container.mux(stream.encode(silence))
        container.mux(stream.encode(None))
    for name in ("empty.mp4", "text.mp4", "sound.mp4"):
        with pytest.raises(InputError, match=name):
            open_source(tmp_path / name)


@pytest.mark.parametrize("name", ["with space.mp4", "ü-日本-🏃.mp4", "a:b.mp4", "%03d.mp4"])
def test_unusual_file_names(tmp_path: Path, name: str) -> None:
    assert numbers(open_source(encode(tmp_path / "clip.mp4").rename(tmp_path / name))) == list(range(FRAMES))


# --- writing ---


@pytest.mark.parametrize("fps", [Fraction(30), Fraction(30000, 1001), Fraction(24000, 1001), Fraction(5)])
def test_written_video_has_size_rate_and_frames(tmp_path: Path, fps: Fraction) -> None:
    path = tmp_path / "out ü.mp4"
    with VideoWriter(path, WIDTH - 1, HEIGHT - 1, fps) as writer:
        for number in range(40):
            writer.write(barcode(number)[:-1, :-1])
    source = open_source(path)
    assert (source.width, source.height, source.fps) == (WIDTH, HEIGHT, fps)
    assert numbers(source) == list(range(40))
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_written_video_plays_in_browsers(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with VideoWriter(path, WIDTH, HEIGHT, Fraction(25)) as writer:
        writer.write(barcode(1))
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # the table comes first: playing starts while loading


def test_written_colours_survive(tmp_path: Path) -> None:
    image = np.full((64, 64, 3), (40, 90, 220), np.uint8)
    with VideoWriter(tmp_path / "out.mp4", 64, 64, Fraction(25)) as writer:
        writer.write(image)
    read = next(iter(open_source(tmp_path / "out.mp4"))).image
    # Quantised limited-range YUV keeps a flat colour within 5 levels; the wrong matrix is off by 12 and more.
    np.testing.assert_allclose(read.mean((0, 1)), (40, 90, 220), atol=6)


def test_times_are_kept(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "out.mp4", WIDTH, HEIGHT, Fraction(30)) as writer:
        for number, time in enumerate(VFR):
            writer.write(barcode(number), float(time - VFR[0]))
    read = [frame.time_seconds for frame in VideoFile(tmp_path / "out.mp4", "pyav")]
    np.testing.assert_allclose(read, VFR - VFR[0], atol=1e-4)  # one tick of 1/90000 s and what the muxer rounds


def test_an_error_leaves_the_older_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"older")
    with pytest.raises(InputError, match="expected a uint8 picture"), VideoWriter(path, 64, 64, Fraction(25)) as writer:
        writer.write(np.zeros((64, 64, 3), np.uint8))
        writer.write(np.zeros((32, 64, 3), np.uint8))
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


def test_writer_refuses_other_suffixes_and_no_frames(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"end in \.mp4"):
        VideoWriter(tmp_path / "out.avi", 64, 64, Fraction(25))
    with pytest.raises(InputError, match="no frame"), VideoWriter(tmp_path / "out.mp4", 64, 64, Fraction(25)):
        pass
    assert list(tmp_path.iterdir()) == []


# --- images ---


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """images/val/{a,b}/frame{1,2,10}.png; the pixel value tells which."""
    for base, sequence in ((0, "a"), (100, "b")):
        folder = tmp_path / "images" / "val" / sequence
        folder.mkdir(parents=True)
        for number in (1, 2, 10):
            cv2.imwrite(str(folder / f"frame{number}.png"), np.full((4, 6, 3), base + number, np.uint8))
    return tmp_path


def test_images_come_in_natural_order(tree: Path) -> None:
    source = open_source(tree / "images" / "val" / "a")
    assert [frame.name for frame in source] == ["frame1.png", "frame2.png", "frame10.png"]
    assert (source.kind, source.width, source.height, source.frame_count_hint) == ("images", 6, 4, 3)


def test_nested_images_are_listed_by_relative_path(tree: Path) -> None:
    source = open_source(tree)
    assert next(iter(source)).name == "images/val/a/frame1.png"
    assert source.frame_count_hint == 6


@pytest.mark.parametrize("root", ["", "images", "images/val", "images/val/b"])
def test_image_is_found_by_the_name_in_the_pose_file(tree: Path, root: str) -> None:
    source = ImageFolder(tree / root)
    frame = source.read("images/val/b/frame2.png")
    assert frame.image[0, 0, 0] == 102
    assert source.names[frame.index] == frame.name


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "a/../../secret.png", "C:\\x.png", "..\\secret.png",
                                  "x\0.png", ""])  # fmt: skip
def test_names_that_lead_out_of_the_folder_are_refused(tree: Path, name: str) -> None:
    cv2.imwrite(str(tree / "secret.png"), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(InputError, match="leads out"):
        ImageFolder(tree / "images").read(name)


def test_links_that_lead_out_of_the_folder_are_refused(tree: Path) -> None:
    cv2.imwrite(str(tree / "secret.png"), np.zeros((4, 4, 3), np.uint8))
    (tree / "images" / "link.png").symlink_to(tree / "secret.png")
    with pytest.raises(InputError, match="link"):
        ImageFolder(tree / "images").read("link.png")


def test_missing_image_is_named(tree: Path) -> None:
    with pytest.raises(InputError, match=r"val/c/frame7\.png"):
        ImageFolder(tree / "images").read("val/c/frame7.png")


def test_single_image_is_a_source(tree: Path) -> None:
    frames = list(open_source(tree / "images/val/a/frame10.png"))
    assert [(frame.index, frame.name) for frame in frames] == [(0, "frame10.png")]


def test_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no image"):
        open_source(tmp_path)


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


def test_image_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png_header(50_000, 50_000))
    with pytest.raises(InputError, match="50000x50000"):
        read_image(tmp_path / "bomb.png")


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp"])
@pytest.mark.parametrize("shape", [(7, 11), (7, 11, 3), (300, 5, 3)])
def test_every_image_kind_is_read_as_colour(tmp_path: Path, suffix: str, shape: tuple[int, ...]) -> None:
    path = tmp_path / f"picture.{suffix}"
    cv2.imwrite(str(path), np.full(shape, 120, np.uint8))
    image = read_image(path)
    assert image.shape == (*shape[:2], 3)
    assert abs(float(image.mean()) - 120) < 2  # JPEG and WebP round


def test_exif_orientation_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    cv2.imwrite(str(path), np.full((20, 40, 3), 90, np.uint8))
    tag = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)  # orientation 6: a viewer turns it by 90 degrees
    exif = b"Exif\0\0" + b"II*\0" + struct.pack("<IH", 8, 1) + tag + b"\0\0\0\0"
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
    turned = cv2.imread(str(path))
    assert turned is not None and turned.shape[:2] == (40, 20)  # the tag is in force
    assert read_image(path).shape[:2] == (20, 40)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff\xe0", png_header(8, 8), b"RIFF____WEBPVP8X", b"GIF89a"])
def test_broken_image_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "broken.png").write_bytes(data)
    with pytest.raises(InputError, match=r"broken\.png"):
        read_image(tmp_path / "broken.png")


# --- real clips ---

CLIPS = Path(__file__).parents[2] / "shared" / "data" / "video"


@pytest.mark.parametrize(("name", "count"), [("soccer_kick", 91)])
def test_real_clip_has_a_frame_for_every_pose_file(name: str, count: int, decoder: str) -> None:
    path = CLIPS / f"{name}.mp4"
    if not path.exists():
        pytest.skip(f"real clip {name} is not beside the checkout (../shared/data/video)")
    source = VideoFile(path, decoder)  # type: ignore[arg-type]
    assert sum(1 for _ in source) == count == len(list((CLIPS / f"{name}_openpose").iterdir()))
    assert source.damage is None
