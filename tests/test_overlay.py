"""Overlay videos: drawn in a thread of their own, in the order of the frames, and never left half done."""

from fractions import Fraction
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from posefix_track import overlay
from posefix_track.errors import InputError
from posefix_track.frames import Frame
from posefix_track.keypoints import COCO_17
from posefix_track.overlay import OverlayVideo
from posefix_track.refine import RefinedFrame
from posefix_track.video import open_source

SOURCE: Any = SimpleNamespace(kind="images", fps=Fraction(25))


def nobody(index: int, width: int = 64) -> RefinedFrame:
    """A grey picture without people; the later, the lighter."""
    return RefinedFrame(Frame(index, 0.0, np.full((48, width, 3), 40 + 10 * index, np.uint8)), (), ())


def test_frames_stay_in_order(tmp_path: Path) -> None:
    path = tmp_path / "overlay.mp4"
    with OverlayVideo(path, SOURCE, compare=False) as video:
        for index in range(20):
            video.write(nobody(index), COCO_17)
        video.catch_up()
    with open_source(path) as written:
        found = [frame.image.mean() for frame in written]
    # Limited range and compression move a grey level by less than 4; neighbours differ by 10.
    np.testing.assert_allclose(found, [40 + 10 * index for index in range(20)], atol=4)


def test_few_frames_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, drawn = Event(), []

    def slow(_: OverlayVideo, frame: Frame, picture: object) -> None:
        go_on.wait(60)
        drawn.append(frame.index)

    monkeypatch.setattr(OverlayVideo, "_write", slow)
    monkeypatch.setattr(overlay, "_MOST_WAITING", 3)
    with OverlayVideo(tmp_path / "overlay.mp4", SOURCE, compare=False) as video:
        for index in range(3):
            video.write(nobody(index), COCO_17)
        assert drawn == []
        go_on.set()
        video.write(nobody(3), COCO_17)
        assert drawn[0] == 0
        video.catch_up()
        assert drawn == [0, 1, 2, 3]


@pytest.mark.parametrize("after", [0, 20])
def test_what_goes_wrong_in_the_thread_is_raised_and_leaves_no_file(after: int, tmp_path: Path) -> None:
    def run() -> None:
        with OverlayVideo(tmp_path / "overlay.mp4", SOURCE, compare=False) as video:
            for index in range(2 + after):
                video.write(nobody(index, 96 if index == 1 else 64), COCO_17)
            video.catch_up()

    with pytest.raises(InputError, match="pictures of different sizes cannot make one video; leave out --save-video"):
        run()
    assert [*tmp_path.iterdir()] == []
