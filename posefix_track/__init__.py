"""posefix_track: makes any tracker's human poses better by looking at the pixels again.

    refiner = PoseRefiner(keypoints="coco17")
    for frame_bgr, keypoints in tracker:          # uint8 [H, W, 3], float [N, 17, 2] in image pixels
        better = refiner(frame_bgr, keypoints).keypoints

B people (N of one frame), K joints, (H, W) pixels; an integer coordinate is a pixel centre.
"""

from typing import TYPE_CHECKING, Any

from posefix_track.errors import PosefixError

if TYPE_CHECKING:
    from posefix_track.refiner import PoseRefiner, RefinedPoses

__all__ = ["PoseRefiner", "PosefixError", "RefinedPoses", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # PoseRefiner needs torch, which takes seconds to import; reading and converting pose files does not.
    if name in ("PoseRefiner", "RefinedPoses"):
        from posefix_track import refiner

        return getattr(refiner, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
