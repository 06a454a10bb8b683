"""Where crops are made and handed to an engine: on the host with cv2, or on the engine's device, where they stay."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engines.engine import AsynchronousEngine, Engine, TensorEngine
from posefix_track.crops import CropTransform
from posefix_track.tensor_crops import crop_tensor, to_device

Float = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]
Image = npt.NDArray[np.uint8]
Result = Callable[[], tuple[Float, Float]]


class OnHost:
    """Arrays, and an engine that computes in the background where it can.

    Attributes:
        asynchronous: whether it can.
    """

    def __init__(self, engine: Engine | AsynchronousEngine) -> None:
        self._engine = engine
        self.asynchronous = isinstance(engine, AsynchronousEngine)

    def crop(self, transform: CropTransform, image: Image, antialias: bool) -> Image:
        """uint8 [P, H, W, 3]."""
        return transform.crop(image, antialias)

    def joined(self, crops: list[Image]) -> Image:
        """Those of several images."""
        return crops[0] if len(crops) == 1 else np.concatenate(crops)

    def with_mirrored(self, crops: Image) -> Image:
        """[2P, H, W, 3], the mirrored ones last."""
        # All crops as one tall picture: a seventh of numpy's time for pixels in reverse order, and no threads.
        mirrored = cv2.flip(crops.reshape(-1, *crops.shape[2:]), 1).reshape(crops.shape)
        return np.concatenate([crops, np.asarray(mirrored, np.uint8)])

    def start(self, crops: Image, poses: Float, present: Bool) -> Result:
        """Run the engine, or let it begin."""
        if isinstance(self._engine, AsynchronousEngine):
            return self._engine.start(crops, poses, present)
        outputs = self._engine(crops, poses, present)
        return lambda: outputs

    def free(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True)
class DeviceCrops:
    """Crops of one image on a device, uint8 [P, H, W, 3], there from ``ready`` on (None: now)."""

    images: Tensor
    ready: torch.cuda.Event | None


class OnDevice:
    """Tensors on the engine's device. An image goes there once, and only coordinates come back.

    On a GPU, uploads and crops run in a stream of their own beside the engine, and the host waits once a call: for
    its result.
    """

    asynchronous = True

    def __init__(self, engine: TensorEngine, device: torch.device) -> None:
        self._engine, self._device = engine, device
        self._crops: torch.cuda.Stream | None = None
        if device.type == "cuda":
            # There are 32 streams of a priority, given out in turn. This must never be one that a graph is recorded on,
            # or crops that are made meanwhile become part of the graph.
            self._crops = torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call]

    @torch.inference_mode()
    def crop(self, transform: CropTransform, image: Image, antialias: bool) -> DeviceCrops:
        """Upload the image and cut its people out of it."""
        if not len(transform):
            return DeviceCrops(torch.empty((0, *transform.input_size, 3), dtype=torch.uint8, device=self._device), None)
        with torch.cuda.stream(self._crops):
            crops = crop_tensor(transform, to_device(image, self._device), antialias)
            return DeviceCrops(crops, self._crops.record_event() if self._crops else None)

    @torch.inference_mode()
    def joined(self, crops: list[DeviceCrops]) -> Tensor:
        """Those of several images, uint8 [P, H, W, 3]."""
        for crop in crops:
            if crop.ready is not None:
                stream = torch.cuda.current_stream(self._device)
                stream.wait_event(crop.ready)
                # Their memory is the other stream's to give away: not before this one has read it.
                crop.images.record_stream(stream)
        return torch.cat([crop.images for crop in crops])

    @torch.inference_mode()
    def with_mirrored(self, crops: Tensor) -> Tensor:
        """[2P, H, W, 3], the mirrored ones last."""
        return torch.cat([crops, crops.flip(2)])

    @torch.inference_mode()
    def start(self, crops: Tensor, poses: Float, present: Bool) -> Result:
        """Queue the engine's run and the way back of its coordinates."""
        refined, expected = self._engine.run(crops, to_device(poses, self._device), to_device(present, self._device))
        both = torch.cat([refined, expected], 2).to("cpu", non_blocking=True)
        done = torch.cuda.current_stream(self._device).record_event() if self._crops else None

        def result() -> tuple[Float, Float]:
            if done is not None:
                done.synchronize()
            keypoints, similarity = np.split(both.numpy(), 2, 2)
            return keypoints, similarity

        return result

    def free(self) -> None:
        """Give memory that is held for reuse back to the device."""
        if self._crops is not None:
            torch.cuda.empty_cache()
