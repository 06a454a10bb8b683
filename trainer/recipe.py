"""A training run as one small TOML file: network, data sets, augmentation, schedule.

``extends = "other.toml"`` takes every setting that a file does not give from another one, relative to it.
"""

import math
import tomllib
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from posefix_track.errors import InputError
from posefix_track.network import NetworkConfig

SYNTHESIS_METHODS = ("posefix", "pose_refiner")


@dataclass(frozen=True)
class DataConfig:
    """One data set.

    Attributes:
        annotations: below the data root: a JSON file in COCO layout, a folder of PoseTrack 2018's files, MPII's .mat or
            JSON, or LSP's or LSPET's joints.mat.
        images: folders or tar shards below the data root.
        weight: share of the samples, relative to the other data sets.
        estimates: COCO results of other estimators on the same pictures, one file or several; "" for none. A sample
            draws one of its person's poses.
        estimate_keypoints: joints of these poses.
        neighbour_frames: whether a track's poses in the labelled frames before and after count as estimates
            (PoseTrack): what a tracker that lags gives.
    """

    annotations: str
    images: tuple[str, ...]
    weight: float
    estimates: str | tuple[str, ...] = ""
    estimate_keypoints: str = "coco17"
    neighbour_frames: bool = False


@dataclass(frozen=True)
class SynthesisConfig:
    """Where input poses come from.

    Attributes:
        method: "posefix" (errors as estimators make them) or "pose_refiner" (shift, swap, exchange, remove; see
            ``trainer.pose_refiner_synthesis``), for which only the shares and absences below matter besides.
        estimate_share: share of samples whose input is the other estimator's pose as it is, where there is one.
        exact_share: share of the other samples whose labelled joints are the truth: a refiner must also know to leave a
            good pose alone.
        inversion: probability that the arms, the legs or all limbs are exchanged left and right as a whole.
        absent: probability that a single joint is missing from the input; a fifth of it, that a whole side's limb is.
        absent_head: probability that head_bottom and head_top are both missing, as from any COCO tracker.
        error_model: file of ``python -m trainer.error_model`` below the data root, whose statuses, distances and absent
            joints replace the published ones and ``absent``; "" for none. With ``inversion`` and ``absent_head`` at 0
            nothing is added to it.
        corrupted_partners, first_swapped_partner_repels, paper_radii: see ``posefix_track.synthesis.SynthesisRules``.
    """

    method: str = "posefix"
    estimate_share: float = 0.0
    exact_share: float = 0.0
    inversion: float = 0.03
    absent: float = 0.03
    absent_head: float = 0.5
    error_model: str = ""
    corrupted_partners: bool = False
    first_swapped_partner_repels: bool = False
    paper_radii: bool = False

    def __post_init__(self) -> None:
        if self.method not in SYNTHESIS_METHODS:
            raise InputError(f"method must be one of {', '.join(SYNTHESIS_METHODS)}, got {self.method!r}")


@dataclass(frozen=True)
class AugmentConfig:
    """Augmentation of a sample; all standard deviations are of clipped normal distributions.

    Attributes:
        scale: standard deviation of the crop's scale factor: of its logarithm, clipped to three of them, or of itself,
            clipped to one, with ``linear_scale`` (as the original).
        rotation_degrees: standard deviation, clipped to twice it, applied with probability 0.6 (as the original).
        shift: standard deviation of the crop centre's shift, in box sides.
        colour: largest relative change of brightness, contrast and channel gain.
        occlude: probability that a random rectangle is painted over.
        paste: probability that a random rectangle shows a part of another crop of the batch.
        coarsen: probability that the crop loses detail, as of a person up to three times smaller.
        half_body: probability that the input pose of a person of at least 8 labelled joints has only those above or
            only those below the waist; the crop follows them.
        annotation_padding: 0 for a crop that follows the input pose, as at test time; else the crop shows the annotated
            box, padded by this, and joints outside count as not labelled (the original: 1.25).
    """

    scale: float = 0.15
    rotation_degrees: float = 30.0
    shift: float = 0.03
    colour: float = 0.3
    occlude: float = 0.2
    paste: float = 0.0
    coarsen: float = 0.0
    linear_scale: bool = False
    half_body: float = 0.0
    annotation_padding: float = 0.0

    def __post_init__(self) -> None:
        if self.half_body and self.annotation_padding:
            raise InputError("half_body needs a crop that follows the input pose; set annotation_padding to 0")


@dataclass(frozen=True)
class TrainConfig:
    """Length, schedule and optimiser.

    Attributes:
        steps, epochs: length of the run, by one of them. An epoch draws as many people as the data sets have.
        batch_size: people per step, over all processes together.
        optimizer: "adamw", or "adam" whose weight decay is an L2 loss, as in the original; neither decays biases and
            batch norms.
        learning_rate: the highest.
        schedule: after ``warmup_steps`` of linear growth, "cosine" to zero, or "drops" by ``drop_factor`` at each of
            ``drops``, in the unit of the run's length.
        clip_norm: longest gradient; 0 for no limit.
        batch_norm_momentum: share of each batch in the running statistics (the original: 0.01).
        ema_decay: of the weights' exponential moving average, which is what gets written; 0 for none.
        bfloat16: whether the network computes in it (losses stay in float32).
        checkpoint_steps: steps between two checkpoints.
        frozen: submodules that stay as they are, batch statistics included: the first layers cost a light network most
            of its time and change least.
        heatmap_weight, coordinate_weight: of the two losses that a network's output has (see ``trainer.objective``).
        similarity_weight: of the keypoint similarity loss beside them; a loss of weight 0 is left out.
    """

    steps: int = 0
    epochs: float = 0
    batch_size: int = 32
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    schedule: str = "cosine"
    drops: tuple[float, ...] = ()
    drop_factor: float = 0.1
    warmup_steps: int = 200
    clip_norm: float = 5.0
    batch_norm_momentum: float = 0.1
    ema_decay: float = 0.998
    bfloat16: bool = True
    seed: int = 0
    checkpoint_steps: int = 250
    frozen: tuple[str, ...] = ()
    heatmap_weight: float = 1.0
    coordinate_weight: float = 1.0
    similarity_weight: float = 0.0

    def __post_init__(self) -> None:
        if min(self.heatmap_weight, self.coordinate_weight, self.similarity_weight) < 0:
            raise InputError("heatmap_weight, coordinate_weight and similarity_weight must not be negative")
        if not self.heatmap_weight and not self.coordinate_weight:
            raise InputError("heatmap_weight and coordinate_weight are both 0: nothing would be trained")
        if (self.steps > 0) == (self.epochs > 0):
            raise InputError(f"give a length by either steps or epochs, got steps {self.steps}, epochs {self.epochs}")
        for name, known in (("optimizer", ("adamw", "adam")), ("schedule", ("cosine", "drops"))):
            if getattr(self, name) not in known:
                raise InputError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")

    def with_steps(self, people: int) -> "TrainConfig":
        """The same with its length, and its drops, in steps, for data sets of so many people."""
        if self.steps:
            return self
        epoch = math.ceil(people / self.batch_size)
        return replace(self, steps=round(self.epochs * epoch), epochs=0, drops=tuple(d * epoch for d in self.drops))


@dataclass(frozen=True)
class RenderedConfig:
    """Drawn figures beside the data sets: how many pictures to draw before training, and their weight."""

    pictures: int = 0
    weight: float = 0.0


@dataclass(frozen=True)
class ValidationConfig:
    """What to judge the averaged weights by while they are trained.

    Attributes:
        annotations: JSON file in COCO layout below the data root; "" for no validation.
        images: folders or tar shards below the data root.
        poses: COCO results of an estimator on these pictures: what is refined.
        pose_keypoints: joints of these poses.
        steps: between two validations; 0 for every epoch.
    """

    annotations: str = ""
    images: tuple[str, ...] = ()
    poses: str = ""
    pose_keypoints: str = "coco17"
    steps: int = 0


@dataclass(frozen=True)
class Recipe:
    """Everything a run depends on besides the data's bytes."""

    network: NetworkConfig
    data: tuple[DataConfig, ...]
    train: TrainConfig
    synthesis: SynthesisConfig
    augment: AugmentConfig
    rendered: RenderedConfig
    validation: ValidationConfig = ValidationConfig()

    def __post_init__(self) -> None:
        if self.network.output in ("argmax", "offsets") and self.train.similarity_weight:
            # The place of a maximum has no gradient.
            raise InputError(f"similarity_weight needs joints read from a softmax, got output {self.network.output!r}")
        if self.network.output == "argmax" and not self.train.heatmap_weight:
            raise InputError("output 'argmax' has no coordinate loss: heatmap_weight must not be 0")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for checkpoints and metadata."""
        return asdict(self)


def read_recipe(path: Path) -> Recipe:
    """Read a TOML recipe. Raises InputError naming the file and the unknown or missing setting."""
    values = _settings(path, ())
    try:
        return Recipe(
            network=NetworkConfig.from_dict(values.get("network", {})),
            data=tuple(_section(DataConfig, entry) for entry in values["data"]),
            train=_section(TrainConfig, values["train"]),
            synthesis=_section(SynthesisConfig, values.get("synthesis", {})),
            augment=_section(AugmentConfig, values.get("augment", {})),
            rendered=_section(RenderedConfig, values.get("rendered", {})),
            validation=_section(ValidationConfig, values.get("validation", {})),
        )
    except (AttributeError, KeyError, TypeError, InputError) as error:
        raise InputError(f"{path}: missing or malformed setting: {error}") from error


def _settings(path: Path, below: tuple[Path, ...]) -> dict[str, Any]:
    """A file's settings on top of those of the file that it extends."""
    if path in below:
        raise InputError(f"{path}: this recipe extends itself; its extends must name another file")
    try:
        values = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable TOML recipe: {error}") from error
    if "extends" not in values:
        return values
    base = _settings((path.parent / str(values.pop("extends"))).resolve(), (*below, path.resolve()))
    both = {name for name in values if isinstance(values[name], dict) and isinstance(base.get(name), dict)}
    return base | values | {name: base[name] | values[name] for name in both}


def _section(kind: type[Any], values: dict[str, Any]) -> Any:
    known = {field.name for field in fields(kind)}
    if unknown := set(values) - known:
        raise InputError(f"unknown setting {sorted(unknown)} in a {kind.__name__}; known: {sorted(known)}")
    return kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})
