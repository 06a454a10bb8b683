"""Crops and poses of people through an engine: both ways round, in calls that fit into its memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from engines import Engine
from engines.engine import EngineError, TensorEngine, out_of_memory
from posefix_track.crops import CropTransform
from posefix_track.errors import ResourceError
from posefix_track.network import STRIDE, NetworkConfig, similarity_spread
from posefix_track.placement import OnDevice, OnHost

Float = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]
Image = npt.NDArray[np.uint8]

# Two positions with a keypoint similarity below exp(-1.55^2 / 2) = 0.3 are not the same joint.
_APART = 1.55


@dataclass(frozen=True)
class Outputs:
    """Network outputs of P people in crop pixels: keypoints [P, K, 2], expected similarity [P, K, 2]."""

    keypoints: Float
    expected_ks: Float


Pending = Callable[[], Outputs]


class Inference:
    """Where people's crops are made and judged: on the host, or on the GPU where the engine runs.

    Attributes:
        people_per_call: people in one engine call; halved, for good, whenever the GPU's memory does not take a call.
        asynchronous: whether work goes on between ``start`` and the call of what it returns.
        spread: float32 [K], standard deviation of keypoint similarity in crop pixels.

    Args:
        engine: with ``run`` and a CUDA ``device``, images go to that GPU once and come back as coordinates.
        config: of the network.
        flip: also look at the mirrored crops, in the same call.
        people_per_call: None for what the engine thinks worth forming.
    """

    def __init__(self, engine: Engine, config: NetworkConfig, flip: bool, people_per_call: int | None = None) -> None:
        # Either place takes back the crops that it has made, and no others.
        self._place: Any = place_of(engine)
        self._config, self._flip = config, flip
        self.spread: Float = similarity_spread(config).numpy() * STRIDE
        self.people_per_call = people_per_call or max(engine.max_batch // (2 if flip else 1), 1)
        self.asynchronous: bool = self._place.asynchronous

    def crop(self, transform: CropTransform, image: Image) -> Any:
        """Crops of all people of an image, for ``joined``; may run in another thread than everything else.

        Raises:
            ResourceError: the GPU fails, or its memory does not take the image.
        """
        with _all_gpu_errors_named():
            return self._place.crop(transform, image, self._config.antialias)

    def joined(self, crops: list[Any]) -> Any:
        """Crops of several images, for ``start``. Raises ResourceError as ``crop`` does."""
        with _all_gpu_errors_named():
            return self._place.joined(crops)

    def start(self, crops: Any, poses: Float, present: Bool) -> Pending:
        """Queue everything, or compute it, and return what gives the result.

        Args:
            crops: of P people.
            poses: float32 [P, K, 2], crop pixels.
            present: bool [P, K].

        Raises:
            ResourceError: the GPU fails, or does not even take one person; also when the result is asked for.
        """
        parts: list[Pending] = []
        first = 0
        while first < len(poses):
            rows = slice(first, first + self.people_per_call)
            part = self._started(crops[rows], poses[rows], present[rows])
            if part is not None:
                parts.append(part)
                first = rows.stop
        return lambda: _joined([part() for part in parts], poses)

    def _started(self, crops: Any, poses: Float, present: Bool) -> Pending | None:
        """One call; None where memory did not take it, and the next ones will be smaller."""
        try:
            with _gpu_errors_named():
                return self._call(crops, poses, present)
        except torch.OutOfMemoryError as error:
            if len(poses) == 1:
                raise ResourceError(
                    "the GPU's memory does not take a single person; free some of it or use --device cpu"
                ) from error
        self.people_per_call = len(poses) // 2
        self._place.free()
        return None

    def _call(self, crops: Any, poses: Float, present: Bool) -> Pending:
        if not self._flip:
            plain = self._place.start(crops, poses, present)
            return lambda: Outputs(*_waited(plain))
        order, width = self._config.keypoint_set.flip_index, self._config.input_size[1]
        both_poses = np.concatenate([poses, _mirror(poses, width)[:, order]])
        both = self._place.start(
            self._place.with_mirrored(crops), both_poses, np.concatenate([present, present[:, order]])
        )

        def result() -> Outputs:
            (plain, mirrored), (expected, expected_mirrored) = (np.split(column, 2) for column in _waited(both))
            back = Outputs(_mirror(mirrored, width)[:, order], expected_mirrored[:, order])
            return _merged(Outputs(plain, expected), back, self.spread)

        return result


def place_of(engine: Engine) -> OnHost | OnDevice:
    """On the GPU where the engine takes tensors there, else on the host."""
    device = getattr(engine, "device", None)
    if isinstance(device, torch.device) and device.type == "cuda" and hasattr(engine, "run"):
        return OnDevice(cast(TensorEngine, engine), device)
    return OnHost(engine)


@contextmanager
def _gpu_errors_named() -> Iterator[None]:
    """What CUDA says, as an OutOfMemoryError or a ResourceError with what to do."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except EngineError as error:
        raise ResourceError(str(error)) from error
    except RuntimeError as error:
        text = str(error).splitlines()[0] if str(error) else ""
        if out_of_memory(error):
            raise torch.OutOfMemoryError(text) from error
        if not any(library in text for library in ("CUDA", "CUDNN", "CUBLAS")):
            raise
        raise ResourceError(f"the GPU failed ({text}); run again, or use --device cpu") from error


@contextmanager
def _all_gpu_errors_named() -> Iterator[None]:
    """Also what does not fit into memory, where there is nothing smaller to try."""
    try:
        with _gpu_errors_named():
            yield
    except torch.OutOfMemoryError as error:
        raise ResourceError(
            "the GPU's memory does not take the pictures in work; free some of it or use --device cpu"
        ) from error


def _waited(result: Callable[[], tuple[Float, Float]]) -> tuple[Float, Float]:
    with _all_gpu_errors_named():
        return result()


def _joined(parts: list[Outputs], poses: Float) -> Outputs:
    if len(parts) == 1:
        return parts[0]
    empty = np.empty((0, *poses.shape[1:]), np.float32)
    columns = ([empty, *(part.keypoints for part in parts)], [empty, *(part.expected_ks for part in parts)])
    return Outputs(*(np.concatenate(column) for column in columns))


def _merged(plain: Outputs, mirrored: Outputs, spread: Float) -> Outputs:
    """The mean of two answers, or the one expected to be better where they mean different places: between is no joint.

    Symmetric in its two answers, so that the refined pose of a mirrored picture is the mirrored refined pose.

    Args:
        plain, mirrored: of the same joints, in the same crop.
        spread: float32 [K], standard deviation of keypoint similarity in crop pixels.
    """
    apart = np.linalg.norm(plain.keypoints - mirrored.keypoints, axis=-1) > _APART * spread
    better = plain.expected_ks[..., 0] - mirrored.expected_ks[..., 0]
    either = np.where((better > 0)[..., None], plain.keypoints, mirrored.keypoints)
    # Without a confidence head (NaN), or where it finds both alike, there is nothing to choose by.
    choose = apart & (np.abs(better) > 0)
    keypoints = np.where(choose[..., None], either, _mean(plain.keypoints, mirrored.keypoints))
    return Outputs(keypoints, _mean(plain.expected_ks, mirrored.expected_ks))


def _mean(a: Float, b: Float) -> Float:
    return np.asarray((a + b) / 2, np.float32)


def _mirror(keypoints: Float, width: int) -> Float:
    """x -> width - 1 - x."""
    return np.stack([width - 1 - keypoints[..., 0], keypoints[..., 1]], -1)
