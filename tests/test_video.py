"""Pose k must meet frame k, whatever the container does."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from posefix_track.errors import InputError
from posefix_track.video import FrameSource, VideoFile, open_source
from tests.clips import FRAMES, VFR, Clip, cut_start, number_on, silence, with_sound


def numbers(source: FrameSource) -> list[int | None]:
    frames = list(source)
    assert [frame.index for frame in frames] == list(range(len(frames)))
    return [number_on(frame.image) for frame in frames]


CLIPS = [
    Clip("plain.mp4", b_frames=0),
    Clip("b-frames.mp4"),
    Clip("b-frames.mkv"),
    Clip("b-frames.mov"),
    Clip("open-groups.mp4", encoder={"x264-params": "open-gop=1"}),
    Clip("vfr.mp4", times=VFR),
    Clip("vfr.mkv", times=VFR),
    Clip("late start.mkv", times=np.arange(FRAMES) / 30 + 5),
    Clip("fragments.mp4", muxer={"movflags": "frag_keyframe+empty_moov"}),
    Clip("h264.ts"),
    Clip("mpeg2.ts", "mpeg2video", b_frames=0),
    Clip("h264.flv"),
    Clip("xvid.avi", "mpeg4", b_frames=0),
    Clip("hevc.mp4", "libx265"),
    Clip("vp9.webm", "libvpx-vp9", encoder={"cpu-used": "8", "deadline": "realtime"}),
    Clip("hidden frames.webm", "libvpx", encoder={"cpu-used": "8", "auto-alt-ref": "1", "lag-in-frames": "8"}),
    Clip("ten bit.mp4", "libx265", pixels="yuv420p10le"),
    Clip("colour444.mp4", pixels="yuv444p"),
    Clip("grey.mkv", pixels="gray"),
    Clip("motion.avi", "mjpeg", pixels="yuvj422p", b_frames=0),
    Clip("odd size.mkv", "ffv1", pixels="bgr0", size=(67, 259)),
    Clip("portrait.mp4", size=(512, 256)),
]  # fmt: skip


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.name)
def test_frame_k_is_the_kth_frame(tmp_path: Path, clip: Clip) -> None:
    source = open_source(clip.write(tmp_path))
    assert numbers(source) == list(range(FRAMES))
    assert source.damage is None and (source.height, source.width) == clip.size


def test_raw_stream_without_times_is_counted(tmp_path: Path) -> None:
    source = open_source(Clip("raw.h264", b_frames=0).write(tmp_path))
    assert numbers(source) == list(range(FRAMES))


def test_times_of_a_variable_rate_start_at_zero(tmp_path: Path) -> None:
    source = open_source(Clip("vfr.mp4", times=VFR).write(tmp_path))
    # The MP4 muxer rounds to its own clock of about 1/15360 s.
    np.testing.assert_allclose([frame.time_seconds for frame in source], VFR - VFR[0], atol=1e-3)


def test_edit_list_hides_the_frames_before_the_cut(tmp_path: Path) -> None:
    path = cut_start(Clip("whole.mp4").write(tmp_path), tmp_path / "cut.mp4", Fraction(31, 30))
    source = open_source(path)
    assert numbers(source) == [*range(31, FRAMES)]
    assert source.frame_count_hint == FRAMES - 31 and source.damage is None


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotated_video_is_upright_as_in_opencv(tmp_path: Path, rotation: int) -> None:
    source = open_source(Clip("rotated.mp4", rotation=rotation).write(tmp_path))
    capture = cv2.VideoCapture(str(source.path))
    frames = list(source)
    assert frames[0].image.shape[:2] == (source.height, source.width)
    for frame in frames:
        np.testing.assert_array_equal(frame.image, capture.read()[1])
    turned = [np.rot90(frame.image, -rotation // 90 % 4) for frame in frames]
    assert [number_on(image) for image in turned] == list(range(FRAMES))


def test_pixels_are_those_of_opencv_with_which_trackers_read(tmp_path: Path) -> None:
    path = Clip("clip.mp4").write(tmp_path)
    capture = cv2.VideoCapture(str(path))
    for frame in open_source(path):
        np.testing.assert_array_equal(frame.image, capture.read()[1])
    assert not capture.read()[0]


def test_sound_beside_the_picture_changes_nothing(tmp_path: Path) -> None:
    source = open_source(with_sound(Clip("clip.mp4").write(tmp_path), tmp_path / "sound.mkv"))
    assert numbers(source) == list(range(FRAMES)) and source.damage is None


def test_a_source_can_be_read_twice_and_closed_early(tmp_path: Path) -> None:
    with open_source(Clip("clip.mkv").write(tmp_path)) as source:
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


def sound_only(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        container.mux(stream.encode(silence()))
        container.mux(stream.encode(None))


def test_files_without_a_video_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("not a video " * 500)
    sound_only(tmp_path / "sound.mp4")
    for name in ("empty.mp4", "text.mp4", "sound.mp4"):
        with pytest.raises(InputError, match=name):
            open_source(tmp_path / name)


@pytest.mark.parametrize("name", ["with space.mp4", "ü-日本-🏃.mp4", "a:b.mp4", "%03d.mp4", "-o.mp4", "new\nline.mp4",
                                  "n" * 251 + ".mp4", "nfd-u\u0308.mp4", "CON.mp4", "concat:x|y.mp4"])  # fmt: skip
def test_unusual_file_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    Clip("clip.mp4").write(tmp_path).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.mp4").symlink_to(name)
    for path in (tmp_path / name, Path(name), Path("link.mp4")):
        assert numbers(open_source(path)) == list(range(FRAMES))


# --- real clips ---

REAL = Path(__file__).parents[2] / "shared" / "data" / "video"


@pytest.mark.parametrize(("name", "count"), [("soccer_kick", 91)])
def test_real_clip_has_a_frame_for_every_pose_file(name: str, count: int) -> None:
    path = REAL / f"{name}.mp4"
    if not path.exists():
        pytest.skip(f"real clip {name} is not beside the checkout (../shared/data/video)")
    source = VideoFile(path)
    assert sum(1 for _ in source) == count == len(list((REAL / f"{name}_openpose").iterdir()))
    assert source.damage is None
