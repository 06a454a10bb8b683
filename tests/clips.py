"""Small clips whose frames carry their number as a bar code, made with PyAV in many containers and codecs."""

from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

FRAMES, WIDTH, HEIGHT = 60, 256, 64
CLOCK = Fraction(1, 90_000)
# Eight bits and their opposites: a bar code that is not what was drawn is told from another frame's.
_BARS = 16
# Gaps of a variable frame rate, seconds.
VFR = np.cumsum(np.random.default_rng(0).choice([0.02, 0.04, 0.2], FRAMES))


def barcode(number: int, width: int = WIDTH, height: int = HEIGHT) -> npt.NDArray[np.uint8]:
    """Vertical bars, lowest bit first, then the opposite of each; noise on top so that every frame differs."""
    bits = [number >> bit & 1 for bit in range(8)]
    levels = np.array([230 if bit else 20 for bit in (*bits, *(1 - bit for bit in bits))], np.uint8)
    columns = levels[np.minimum(np.arange(width) * _BARS // width, _BARS - 1)]
    image = np.repeat(np.repeat(columns[None, :, None], height, 0), 3, 2)
    image[:8] = np.random.default_rng(number).integers(0, 256, (8, width, 3))
    return image


def number_on(image: npt.NDArray[np.uint8]) -> int | None:
    """The number that the picture carries; None where it cannot be read for sure."""
    height, width = image.shape[:2]
    codes = set()
    for top in (height // 4, height // 2, 3 * height // 4):
        rows = image[top : top + height // 8].mean((0, 2))
        edges = [round(bar * width / _BARS) for bar in range(_BARS + 1)]
        bars = [rows[a + 3 : b - 3].mean() for a, b in pairwise(edges)]
        if any(90 < bar < 160 for bar in bars):
            return None
        bits = [bar > 125 for bar in bars]
        codes.add(
            sum(int(bit) << i for i, bit in enumerate(bits[:8])) if bits[:8] == [not b for b in bits[8:]] else None
        )
    return codes.pop() if len(codes) == 1 else None


@dataclass(frozen=True)
class Clip:
    """How to encode a clip.

    Attributes:
        name: of the file; its suffix is the container.
        codec, pixels: libav's names of encoder and pixel format.
        times: of the frames in seconds; None is 30 a second.
        muxer, encoder: options.
    """

    name: str
    codec: str = "libx264"
    b_frames: int = 2
    key_every: int = 20
    pixels: str = "yuv420p"
    times: npt.NDArray[np.float64] | None = None
    rotation: int = 0
    size: tuple[int, int] = (HEIGHT, WIDTH)
    muxer: dict[str, str] = field(default_factory=dict)
    encoder: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """Encode the clip into a folder."""
        path = folder / self.name
        times = np.arange(FRAMES) / 30 if self.times is None else self.times
        with av.open(str(path), "w", options=dict(self.muxer)) as container:
            stream = container.add_stream(self.codec, rate=30, options=self._options())
            stream.height, stream.width = self.size
            stream.pix_fmt, stream.gop_size = self.pixels, self.key_every
            # Some encoders accept only a clock that ticks once a frame.
            clock = Fraction(1, 30) if self.times is None else CLOCK
            stream.codec_context.time_base = clock
            if self.rotation:
                stream.set_display_rotation(self.rotation)
            for number, time in enumerate(times):
                container.mux(stream.encode(self._frame(number, float(time), clock)))
            container.mux(stream.encode(None))
        return path

    def _options(self) -> dict[str, str]:
        own = {"libx264": {"bf": str(self.b_frames), "preset": "veryfast"},
               "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:bframes=2"}}  # fmt: skip
        return {**own.get(self.codec, {}), **self.encoder}

    def _frame(self, number: int, time: float, clock: Fraction) -> av.VideoFrame:
        height, width = self.size
        frame = av.VideoFrame.from_ndarray(barcode(number, width, height), format="bgr24")
        frame = frame.reformat(format=self.pixels)
        frame.pts, frame.time_base = round(time / clock), clock
        return frame


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
    """The first part of a file."""
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])
    return target


def silence() -> av.AudioFrame:
    """About 60 ms without a sound."""
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
    frame.sample_rate = 16000
    return frame


def with_sound(source: Path, target: Path) -> Path:
    """Copy a video, with a track of silence in between its packets."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        picture, sound = new.add_stream_from_template(old.streams.video[0]), new.add_stream("aac", rate=16000)
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = picture
                new.mux(packet)
                new.mux(sound.encode(silence()))
        new.mux(sound.encode(None))
    return target
