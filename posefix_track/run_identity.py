"""What makes two runs the same: the same poses, pictures, weights, engine and options give the same output."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from posefix_track.formats import PoseFile
from posefix_track.frames import FrameSource
from posefix_track.image_folder import ImageFolder
from posefix_track.refiner import PoseRefiner
from posefix_track.report import versions

# Of a video, whose bytes take minutes to read: its length, and this much at its start, middle and end.
_SAMPLE_BYTES = 2**20


def run_identity(
    pose_file: PoseFile, source: FrameSource, refiner: PoseRefiner, settings: Mapping[str, Any]
) -> dict[str, str]:
    """Name of each thing that the output depends on -> its hash or value. Where files lie is none of them."""
    contents = [(sequence.name, sequence.keypoint_set.joints, sequence.frames) for sequence in pose_file.sequences]
    own = {name: getattr(refiner, name) for name in ("flip", "gate", "gate_rule", "fill_missing")}
    return {
        "pose file": f"{pose_file.format} {pose_file.sha256[:16]}",
        "reading of the pose file": _digest(repr(contents)),
        "video" if source.kind == "video" else "image folder": _pictures(source),
        "weights": refiner.loaded.sha256[:16],
        **{name.replace("_", " "): str(value) for name, value in {**settings, **own}.items()},
        "engine": refiner.engine_name,
        "batch size": str(refiner.people_per_call),
        "software": ", ".join(f"{name} {version}" for name, version in versions().items()),
    }


def _digest(*parts: bytes | str) -> str:
    sha256 = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part
        # Lengths keep two parts from looking like two others.
        sha256.update(len(data).to_bytes(8, "little"))
        sha256.update(data)
    return sha256.hexdigest()[:16]


def _pictures(source: FrameSource) -> str:
    if isinstance(source, ImageFolder):
        return _digest(*(f"{name} {(source.root / name).stat().st_size}" for name in source.names))
    return _digest(*_samples(source.path))


def _samples(path: Path) -> list[bytes]:
    size = path.stat().st_size
    with path.open("rb") as file:
        samples = [str(size).encode()]
        for start in (0, size // 2, max(size - _SAMPLE_BYTES, 0)):
            file.seek(start)
            samples.append(file.read(_SAMPLE_BYTES))
    return samples
