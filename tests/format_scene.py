"""A scene of people with every number given as the text to write, and the files that samples are made of."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WIDTH, HEIGHT = 640, 480
FOLDER_FORMATS = ("openpose", "ultralytics", "mmpose_image")


@dataclass(frozen=True)
class Token:
    """A number as the file has it."""

    text: str

    def __float__(self) -> float:
        return float(self.text)


Joint = tuple[Token, Token, Token]


@dataclass(frozen=True)
class Human:
    track_id: int
    score: Token
    joints: list[Joint]


@dataclass(frozen=True)
class Scene:
    """Frames (0-based number -> people), all people with the same number of joints."""

    frames: dict[int, list[Human]]


@dataclass(frozen=True)
class Sample:
    """The files of one pose "file": one named file, or a folder of them."""

    format: str
    files: dict[str, str]
    options: dict[str, Any] = field(default_factory=dict)

    def place(self, folder: Path) -> Path:
        """Writes the sample below ``folder`` and returns the path to read."""
        is_folder = self.format in FOLDER_FORMATS or len(self.files) > 1
        root = folder / "poses" if is_folder else folder
        root.mkdir(exist_ok=True)
        for name, text in self.files.items():
            (root / name).write_bytes(text.encode("utf-8", "surrogateescape"))
        return root if is_folder else root / next(iter(self.files))


Dump = Callable[[Any], str]


def plain_dump(value: Any, space: Callable[[], str] = lambda: "") -> str:
    """JSON with ``space()`` wherever white space may stand, Token as is."""
    if isinstance(value, Token):
        return value.text
    if isinstance(value, dict):
        items = [
            f"{space()}{json.dumps(k)}{space()}:{space()}{plain_dump(v, space)}{space()}" for k, v in value.items()
        ]
        return "{" + ",".join(items) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(f"{space()}{plain_dump(item, space)}{space()}" for item in value) + "]"
    return json.dumps(value)


def flat(human: Human) -> list[Token]:
    return [number for joint in human.joints for number in joint]


def simple_scene(joints: int = 17) -> Scene:
    """Three people in frames 0 and 2; the fifth joint of each is absent."""

    def human(track_id: int, left: float) -> Human:
        rows = [(Token(f"{left + 3.25 * k:.2f}"), Token(f"{50 + 7.5 * k:.1f}"), Token("0.75")) for k in range(joints)]
        rows[4] = (Token("0"), Token("0"), Token("0"))
        return Human(track_id, Token("0.5"), rows)

    return Scene({0: [human(3, 100.5), human(7, 300.25)], 2: [human(3, 101.75)]})
