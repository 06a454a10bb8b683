"""The door to pictures: ``open_source`` for a video, a folder of images or one image; ``VideoWriter`` for H.264."""

import re
from pathlib import Path

from posefix_track.errors import InputError
from posefix_track.frames import Frame, FrameSource
from posefix_track.image_folder import IMAGE_SUFFIXES, ImageFolder
from posefix_track.video_file import VideoFile
from posefix_track.video_writer import VideoWriter

__all__ = ["Frame", "FrameSource", "ImageFolder", "VideoFile", "VideoWriter", "open_source"]

# Two letters at least: a single one is a Windows drive.
_PROTOCOL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+[:,]")


def open_source(path: Path) -> FrameSource:
    """Open a video file, a folder of images (also nested, as COCO and PoseTrack come), or a single image.

    Only local files are read: addresses, libav protocols and play lists are refused.

    Raises:
        InputError: nothing there, an address, an empty file, no video in it, or no image in the folder.
    """
    path = Path(path)
    if path.is_dir():
        return ImageFolder(path)
    _check_file(path)
    return ImageFolder(path) if path.suffix.lower() in IMAGE_SUFFIXES else VideoFile(path)


def _check_file(path: Path) -> None:
    if not path.exists():
        if _PROTOCOL.match(str(path)):
            raise InputError(f"{path} is an address or a protocol, but only local files are read; download it first")
        raise InputError(f"no such video, image or folder: {path}")
    if not path.is_file():
        raise InputError(f"{path} is neither a regular file nor a folder; save the stream to a file first")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes); a video, an image or a folder of images is needed")
