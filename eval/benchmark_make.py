"""Makes a benchmark in PoseTrack's layout out of drawn figures, so that anybody can run one without a download.

DIR/benchmark.json                              how it was made
DIR/images/val/<sequence>/000000.jpg            pictures
DIR/annotations/val/<sequence>.json             ground truth
DIR/trackers/<tracker>/<sequence>.json          what simulated trackers found
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import orjson

from eval.benchmark_files import Document, prediction_document, sequence_name, truth_document
from eval.benchmark_tracker import TRACKERS, track
from posefix_track.errors import ResourceError, UsageError
from posefix_track.figures import FigureFrame, render_clip

MARKER = "benchmark.json"
IMAGES, ANNOTATIONS, TRACKER_OUTPUT, REFINED = "images/val", "annotations/val", "trackers", "refined"
_SIZE = (360, 640)
_QUALITY = 90


@dataclass(frozen=True)
class Settings:
    """What decides the content: the same settings give the same files.

    Attributes:
        sequences, frames, people: how many; each sequence has ``frames`` pictures of ``people`` annotated people.
        seed: of everything random.
    """

    sequences: int = 8
    frames: int = 40
    people: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        # Image ids have six digits for the sequence and four for the frame.
        for name, most in (("sequences", 999_999), ("frames", 10_000), ("people", 50)):
            if not 1 <= getattr(self, name) <= most:
                raise UsageError(f"a benchmark needs 1 to {most} {name}, got {getattr(self, name)}")
        if self.seed < 0:
            raise UsageError(f"the seed must be 0 or more, got {self.seed}")


def make_benchmark(
    folder: Path, settings: Settings, overwrite: bool = False, advance: Callable[[], None] | None = None
) -> None:
    """Draw the sequences and let every simulated tracker loose on them.

    Every other sequence has one more figure, farthest from the viewer, that nobody annotates: an ignore region.

    Args:
        folder: made where it does not exist.
        settings: how large, and the seed.
        overwrite: replace a benchmark that is there, with all its trackers and refined poses.
        advance: called after every sequence.

    Raises:
        UsageError: the folder holds something, and that is no benchmark or ``overwrite`` is not set.
        ResourceError: the disk does not take it.
    """
    try:
        _clear(folder, overwrite)
        _write_json(folder / MARKER, {"posefix_track_benchmark": 1, **asdict(settings)})
        for index in range(settings.sequences):
            _make_sequence(folder, settings, index)
            if advance is not None:
                advance()
    except OSError as error:
        raise ResourceError(f"{folder}: the benchmark cannot be written ({error.strerror or error})") from error


def _clear(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; choose a folder for the benchmark")
    if not folder.exists() or not any(folder.iterdir()):
        return
    # Somebody's own data must not fall victim to --overwrite.
    if not (folder / MARKER).is_file():
        raise UsageError(f"{folder} is not empty and holds no benchmark; choose another folder")
    if not overwrite:
        raise UsageError(f"{folder} already holds a benchmark; choose another folder or add --overwrite")
    for name in (IMAGES, ANNOTATIONS, TRACKER_OUTPUT, REFINED):
        if (folder / name).exists():
            shutil.rmtree(folder / name)


def _make_sequence(folder: Path, settings: Settings, index: int) -> None:
    name, ignored = sequence_name(index), (index + 1) % 2
    clip_seed, *seeds = np.random.SeedSequence([settings.seed, index]).generate_state(2 + len(TRACKERS)).tolist()
    clip = render_clip(settings.frames, settings.people + ignored, _SIZE, clip_seed)
    frames = list(_written(clip, folder / IMAGES / name))
    truth_rng, *tracker_rngs = map(np.random.default_rng, seeds)
    _write_json(folder / ANNOTATIONS / f"{name}.json", truth_document(name, frames, ignored, truth_rng))
    for (tracker, quality), rng in zip(TRACKERS.items(), tracker_rngs, strict=True):
        document = prediction_document(name, list(track(frames, quality, rng)))
        _write_json(folder / TRACKER_OUTPUT / tracker / f"{name}.json", document)


def _written(clip: Iterator[FigureFrame], folder: Path) -> Iterator[FigureFrame]:
    """Writes the pictures; yields the frames with black ones that take no memory."""
    folder.mkdir(parents=True)
    for index, frame in enumerate(clip):
        _, data = cv2.imencode(".jpg", frame.image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        (folder / f"{index:06d}.jpg").write_bytes(data.tobytes())
        yield replace(frame, image=np.broadcast_to(np.uint8(0), frame.image.shape))


def _write_json(path: Path, document: Document) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(orjson.dumps(document) + b"\n")
