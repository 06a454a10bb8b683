"""Written videos: what players need, and nothing half written."""

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from posefix_track.errors import InputError, UsageError
from posefix_track.video import VideoFile, VideoWriter, open_source
from tests.clips import HEIGHT, VFR, WIDTH, barcode, number_on

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("fps", [Fraction(30), Fraction(30000, 1001), Fraction(24000, 1001), Fraction(5)])
def test_written_video_has_size_rate_and_frames(tmp_path: Path, fps: Fraction) -> None:
    path = tmp_path / "out ü.mp4"
    with VideoWriter(path, WIDTH - 1, HEIGHT - 1, fps) as writer:
        for number in range(40):
            writer.write(barcode(number)[:-1, :-1])
    source = open_source(path)
    assert (source.width, source.height, source.fps) == (WIDTH, HEIGHT, fps)
    assert [number_on(frame.image) for frame in source] == list(range(40))
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
    read = [frame.time_seconds for frame in VideoFile(tmp_path / "out.mp4")]
    np.testing.assert_allclose(read, VFR - VFR[0], atol=1e-4)  # one tick of 1/90000 s and what the muxer rounds


PROGRAM = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
from fractions import Fraction
from pathlib import Path
import numpy as np
from posefix_track.video import VideoWriter
blocks = np.random.default_rng(0).integers(0, 255, (28, 30, 3), np.uint8).repeat(8, 0).repeat(8, 1)
with VideoWriter(Path(sys.argv[1]), 80, 64, Fraction(30)) as writer:
    for frame in range(24):
        picture = blocks[frame : frame + 64, 2 * frame : 2 * frame + 80].copy()
        picture[16:32, 5 * frame % 80 :][:, :10] = 255 - frame
        writer.write(picture)
"""


def test_what_memory_held_before_changes_no_byte(tmp_path: Path) -> None:
    """glibc fills new memory with a byte of our choice: an encoder that reads what it never wrote shows it."""
    written = []
    for fill in ("85", "255"):
        path = tmp_path / f"{fill}.mp4"
        subprocess.run([sys.executable, "-c", PROGRAM, path], env={**os.environ, "MALLOC_PERTURB_": fill}, check=True)
        written.append(path.read_bytes())
    assert written[0] == written[1]


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
