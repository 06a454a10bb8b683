"""A training run as one small TOML file: network, data sets, augmentation, schedule.

``extends = "other.toml"`` takes every setting that a file does not give from another one, relative to it.
"""

import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from posefix_track.errors import InputError
from posefix_track.network import NetworkConfig

SYNTHESIS_METHODS = ("posefix", "pose_refiner")


@dataclass(frozen=True)
class DataConfig:
    """One data set in COCO layout.

    Attributes:
        annotations: JSON file below the data root.
        images: folder or tar shards below the data root.
        weight: share of the samples, relative to the other data sets.
        estimates: COCO results of another estimator on the same boxes, with ``ann_id``; "" for none.
    """

    annotations: str
    images: tuple[str, ...]
    weight: float
    estimates: str = ""


@dataclass(frozen=True)
class SynthesisConfig:
    """Where input poses come from.

    Attributes:
        method: "posefix" (errors as estimators make them) or "pose_refiner" (shift, swap, exchange, remove; see
            ``trainer.pose_refiner_synthesis``), for which only the shares and absences below matter besides.
        estimate_share: share of samples whose input is the other estimator's pose as it is, where there is one.
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
        scale: standard deviation of the crop's scale factor, clipped to three of them at most.
        rotation_degrees: standard deviation, clipped to twice it, applied with probability 0.6 (as the original).
        shift: standard deviation of the crop centre's shift, in box sides.
        colour: largest relative change of brightness, contrast and channel gain.
        occlude: probability that a random rectangle is painted over.
    """

    scale: float = 0.15
    rotation_degrees: float = 30.0
    shift: float = 0.03
    colour: float = 0.3
    occlude: float = 0.2


@dataclass(frozen=True)
class TrainConfig:
    """Schedule: AdamW, linear warm-up, cosine to zero, exponential moving average of the weights.

    ``frozen`` names submodules that stay as they are, batch statistics included: the first layers cost a light network
    most of its time and change least. ``heatmap_weight`` and ``coordinate_weight`` are those of the two losses that a
    network's output has (see ``trainer.objective``), ``similarity_weight`` that of the keypoint similarity loss beside
    them; a loss of weight 0 is left out.
    """

    steps: int
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    warmup_steps: int = 200
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


@dataclass(frozen=True)
class RenderedConfig:
    """Drawn figures beside the data sets: how many pictures to draw before training, and their weight."""

    pictures: int = 0
    weight: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """Everything a run depends on besides the data's bytes."""

    network: NetworkConfig
    data: tuple[DataConfig, ...]
    train: TrainConfig
    synthesis: SynthesisConfig
    augment: AugmentConfig
    rendered: RenderedConfig

    def __post_init__(self) -> None:
        if self.network.output != "soft_argmax" and self.train.similarity_weight:
            raise InputError(f"similarity_weight needs output = 'soft_argmax', got output {self.network.output!r}")
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
