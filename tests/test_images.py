"""Pictures from image files: order, names from pose files, and files that are not what they seem."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from posefix_track.errors import InputError
from posefix_track.image_folder import read_image
from posefix_track.video import ImageFolder, open_source


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


def test_a_picture_of_the_same_name_in_another_folder_is_not_taken(tree: Path) -> None:
    """Poses of sequence b on the pictures of sequence a: every frame number exists there too."""
    with pytest.raises(InputError, match=r"'images/val/b/frame2\.png' lies in .*b, not in .*a; give that folder, or "):
        ImageFolder(tree / "images" / "val" / "a").find("images/val/b/frame2.png")


def test_a_folder_may_be_called_otherwise_than_in_the_pose_file(tree: Path) -> None:
    (tree / "images" / "val" / "b").rename(tree / "images" / "val" / "mine")
    assert ImageFolder(tree / "images" / "val" / "mine").find("images/val/b/frame2.png") == "frame2.png"


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
