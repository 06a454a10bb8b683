"""`python -m trainer.import_tf snapshot_140.ckpt -o weights.safetensors`: a checkpoint of the original PoseFix.

Names, layouts and constants are those of the released TensorFlow 1 code; the file is read without TensorFlow.
"""

import argparse
import hashlib
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from posefix_track.errors import InputError
from posefix_track.network import PoseFix, original_config
from trainer.command import add_weights_output, run, write_weights
from trainer.tensor_bundle import Float, TensorBundle, fields, shape_of

INPUT_SIZES = {"256x192": (256, 192), "384x288": (384, 288)}
KEYPOINTS = ("coco17", "posetrack18")
# What the paper (ResNet-50) and the released configuration (all others) train with.
_USUAL_SIZES = {"resnet50": (256, 192)}
_LICENCE = "PoseFix's code is under the MIT licence; the weights are under the terms of whoever published them"
_SCOPE = re.compile(r"resnet_v1_(50|101|152)/")
_OPTIMISER = frozenset({"Variable", "beta1_power", "beta2_power"})
_NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


@dataclass(frozen=True)
class Imported:
    """A network with a checkpoint's weights, and what is known of where they come from."""

    network: PoseFix
    info: dict[str, Any]


def import_checkpoint(path: Path, keypoints: str = "coco17", input_size: tuple[int, int] | None = None) -> Imported:
    """Read a snapshot of the original training.

    Args:
        path: the snapshot's prefix, or any of its files.
        keypoints: "coco17" or "posetrack18": both have 17 channels, so the file cannot tell.
        input_size: (height, width) of the crop in pixels; None for what the snapshot's .meta file says or, without
            one, for what the paper used with this backbone.

    Raises:
        InputError: unreadable or damaged files, variables that are missing, unknown or of another shape.
    """
    bundle = TensorBundle(path)
    backbone = _backbone(bundle)
    size = input_size or recorded_input_size(bundle) or _USUAL_SIZES.get(backbone, (384, 288))
    config = replace(original_config(backbone, size), keypoints=keypoints)
    with torch.device("meta"):
        # Shapes without values: a file that does not fit is refused at once.
        expected = PoseFix(config)
    names, shapes = variable_names(expected), expected.state_dict()
    _check(bundle, {theirs: _their_shape(shapes[ours]) for theirs, ours in names.items()})
    network = PoseFix(config).eval()
    state = network.state_dict()
    for theirs, ours in names.items():
        state[ours].copy_(_ours(checked_values(bundle, theirs)))
    return Imported(network, _info(bundle, names))


def variable_names(network: PoseFix) -> dict[str, str]:
    """The original's name -> name in ``network.state_dict()``, for every tensor that the two share."""
    blocks = [len(cast(nn.Sequential, getattr(network.backbone, f"layer{i}"))) for i in (1, 2, 3, 4)]
    names = {"out/weights": "head.final.weight", "out/biases": "head.final.bias"}
    for theirs, convolution, norm in _layers(network.config.backbone.replace("resnet", "resnet_v1_"), blocks):
        names[f"{theirs}/weights"] = f"{convolution}.weight"
        names.update({f"{theirs}/BatchNorm/{a}": f"{norm}.{b}" for a, b in _NORM.items()})
    return names


def _layers(scope: str, blocks: list[int]) -> Iterator[tuple[str, str, str]]:
    """(their layer, our convolution, our batch norm)."""
    yield f"{scope}/conv1", "backbone.conv1", "backbone.bn1"
    for block, units in enumerate(blocks, 1):
        for unit in range(units):
            theirs, ours = f"{scope}/block{block}/unit_{unit + 1}/bottleneck_v1", f"backbone.layer{block}.{unit}"
            yield from ((f"{theirs}/conv{i}", f"{ours}.conv{i}", f"{ours}.bn{i}") for i in (1, 2, 3))
            if unit == 0:
                yield f"{theirs}/shortcut", f"{ours}.downsample.0", f"{ours}.downsample.1"
    yield from ((f"up{i + 1}", f"head.up.{i}", f"head.norm.{i}") for i in range(3))


def recorded_input_size(bundle: TensorBundle) -> tuple[int, int] | None:
    """(height, width) of the image placeholder in the snapshot's .meta file; None without such a file or placeholder.

    Raises:
        InputError: a damaged file, or a size that the original code does not know.
    """
    path = bundle.with_suffix(".meta")
    if not path.is_file():
        return None
    try:
        shapes = list(_placeholder_shapes(path.read_bytes()))
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: not a readable TensorFlow graph: {error}; give --input-size") from error
    size = next((shape[1:3] for shape in shapes if len(shape) == 4 and shape[3] == 3), None)
    if size is None:
        return None
    if size not in INPUT_SIZES.values():
        raise InputError(f"{path}: trained with {size[0]}x{size[1]} crops, expected {' or '.join(INPUT_SIZES)}")
    return size


def _placeholder_shapes(meta: bytes) -> Iterator[tuple[int, ...]]:
    # Field numbers: MetaGraphDef.graph_def 2, GraphDef.node 1, NodeDef.op 2, .attr 5 (map: 1 to 2), AttrValue.shape 7.
    for graph in _parts(meta, 2):
        for node in _parts(graph, 1):
            if b"Placeholder" in _parts(node, 2):
                attributes = [dict(fields(attribute)) for attribute in _parts(node, 5)]
                values = [a.get(2) for a in attributes if a.get(1) == b"shape"]
                yield from (shape_of(s) for v in values if isinstance(v, bytes) for s in _parts(v, 7))


def _parts(message: bytes, number: int) -> list[bytes]:
    return [value for field, value in fields(message) if field == number and isinstance(value, bytes)]


def _backbone(bundle: TensorBundle) -> str:
    found = {match[1] for name in bundle.entries if (match := _SCOPE.match(name))}
    if len(found) != 1:
        raise InputError(
            f"{bundle.prefix}: not a PoseFix snapshot: expected one ResNet-50, 101 or 152, got {len(found)}"
        )
    return f"resnet{found.pop()}"


def _check(bundle: TensorBundle, shapes: dict[str, tuple[int, ...]]) -> None:
    optimiser = _OPTIMISER | {f"{name}/{slot}" for name in shapes for slot in ("Adam", "Adam_1")}
    missing = sorted(shapes.keys() - bundle.entries)
    unknown = sorted(bundle.entries.keys() - shapes - optimiser)
    for kind, names in (("lacks", missing), ("has unknown", unknown)):
        if names:
            raise InputError(
                f"{bundle.prefix}: not a PoseFix snapshot: {kind} {len(names)} variables such as {names[0]}"
            )
    for name, shape in shapes.items():
        if (got := bundle.entries[name].shape) != shape:
            raise InputError(f"{bundle.prefix}: {name} has shape {list(got)}, expected {list(shape)}")


def _their_shape(tensor: Tensor) -> tuple[int, ...]:
    """TensorFlow's [height, width, in, out] of our [out, in, height, width]; likewise for transposed convolutions."""
    return tuple(tensor.permute(2, 3, 1, 0).shape if tensor.ndim == 4 else tensor.shape)


def _ours(values: Float) -> Tensor:
    return torch.tensor(values.transpose(3, 2, 0, 1) if values.ndim == 4 else values)


def checked_values(bundle: TensorBundle, name: str) -> Float:
    """One variable, float32. Raises InputError where it is damaged or holds what no training leaves."""
    values = bundle.read(name)
    if not np.isfinite(values).all() or (name.endswith("moving_variance") and values.min() < 0):
        raise InputError(f"{bundle.prefix}: {name} holds NaN, infinite or impossible values")
    return values


def _info(bundle: TensorBundle, names: Iterable[str]) -> dict[str, Any]:
    digests = {}
    for path in map(bundle.data_file, sorted({bundle.entries[name].shard for name in names})):
        with path.open("rb") as file:
            digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return {"imported_from": bundle.prefix.name, "sha256": digests, "licence": _LICENCE}


def main(arguments: list[str] | None = None) -> int:
    """Parse arguments, import, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m trainer.import_tf", description=__doc__)
    parser.add_argument("snapshot", type=Path, help="snapshot_<epoch>.ckpt, beside its .index and .data files")
    add_weights_output(parser)
    parser.add_argument("--keypoints", choices=KEYPOINTS, default="coco17", help="what it was trained on")
    size = "height x width of its crops (default: as its .meta file says, else 256x192 for ResNet-50 and 384x288)"
    parser.add_argument("--input-size", choices=INPUT_SIZES, help=size)
    return run(lambda parsed: write_weights(parsed, _converted), parser.parse_args(arguments))


def _converted(parsed: argparse.Namespace) -> tuple[PoseFix, dict[str, Any]]:
    imported = import_checkpoint(parsed.snapshot, parsed.keypoints, INPUT_SIZES.get(parsed.input_size))
    return imported.network, imported.info


if __name__ == "__main__":
    sys.exit(main())
