"""Weights files: safetensors with the network's config and an honest account of the training in the metadata."""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from engines.engine import EngineError
from engines.quantised import quantised_facts
from posefix_track.downloads import fetch_weights, is_url
from posefix_track.errors import InputError, PosefixError, ResourceError
from posefix_track.network import NetworkConfig, PoseFix
from posefix_track.weights_header import WeightsHeader, read_header

_FOLDER = Path(__file__).parent / "weights"
# The files that travel with the package.
SHIPPED = {"lite": _FOLDER / "lite.safetensors"}
_FORMAT = "posefix_track"
# Crops of more pixels a side than this would be a mistake, or meant to fill the memory.
_MAX_INPUT = 2048
_UNUSABLE = (AttributeError, KeyError, TypeError, ValueError, RuntimeError, RecursionError, OverflowError, PosefixError)
Shapes = dict[str, tuple[int, ...]]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Weights:
    """A loaded network (evaluation mode, float32), what is known about it, the file's SHA-256, and the file."""

    network: PoseFix
    info: dict[str, Any]
    sha256: str
    path: Path | None = None


def find_weights(name: str | Path) -> Path:
    """The file of a shipped name such as "lite", of a URL with its hash, or the path itself.

    Raises:
        PosefixError: there is none, or it cannot be fetched (see ``posefix_track.downloads``).
    """
    if str(name) in SHIPPED:
        return SHIPPED[str(name)]
    if is_url(name):
        return fetch_weights(str(name))
    path = Path(name)
    if not path.is_file():
        raise InputError(f"no weights {str(name)!r}: give a .safetensors file, a URL or one of {', '.join(SHIPPED)}")
    return path


def load_weights(name: str | Path) -> Weights:
    """Load shipped weights by name, or a safetensors file by path or by URL with ``#sha256=``.

    Raises:
        InputError: not a safetensors file of this project, or tensors that do not fit its config.
    """
    path = find_weights(name)
    header = read_header(path)
    network, info = _described(path, header)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key).float() for key in header.shapes}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a readable safetensors file: {error}") from error
    _load_tensors(path, network, tensors)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Weights(network.eval().requires_grad_(False), info, digest, path)


def quantised_path(weights: Path) -> Path:
    """Where the INT8 form of a weights file is looked for: beside it."""
    return weights.with_name(f"{weights.stem}.int8.safetensors")


def find_quantised(weights: Weights) -> Path | None:
    """The INT8 form of ``weights``, or None where there is none; one made from other weights does not count."""
    if weights.path is None or not (path := quantised_path(weights.path)).is_file():
        return None
    try:
        made_from = quantised_facts(path).get("weights_sha256")
    except EngineError as error:
        raise InputError(str(error)) from error
    if made_from != weights.sha256:
        _log.warning("%s was made from other weights and is not used; make it anew: posefix-track quantise", path)
        return None
    return path


def save_weights(path: Path, network: PoseFix, info: dict[str, Any], dtype: torch.dtype = torch.float16) -> None:
    """Write a weights file atomically. ``info`` says what the weights were trained on and how they score.

    Raises:
        ResourceError: it cannot be written; what was there before is intact.
    """
    tensors = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    tensors = {n: _stored(t, dtype).contiguous() if t.is_floating_point() else t for n, t in tensors.items()}
    metadata = {"format": _FORMAT, "config": json.dumps(network.config.to_dict()), "info": json.dumps(info)}
    temporary = path.with_name(path.name + ".part")
    try:
        save_file(tensors, temporary, metadata)
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise ResourceError(f"{path}: cannot be written: {error}; make room, or choose another place") from error


def _stored(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    small = tensor.to(dtype)
    # Half precision ends at 65504, and the original's running variances of 0..255 inputs do not.
    return small if small.isfinite().all() else tensor


def _described(path: Path, header: WeightsHeader) -> tuple[PoseFix, dict[str, Any]]:
    """The untrained network and the account of the training that the metadata describes."""
    metadata = header.metadata
    if metadata.get("format") != _FORMAT:
        raise InputError(f"{path}: not posefix_track weights (its metadata does not say so)")
    try:
        info: dict[str, Any] = json.loads(metadata.get("info", "{}"))
        config = NetworkConfig.from_dict(_completed(json.loads(metadata["config"])))
        if max(config.input_size) > _MAX_INPUT:
            raise InputError(f"input_size must be at most {_MAX_INPUT}, got {list(config.input_size)}")
        with torch.device("meta"):
            # Takes no memory, whatever the config asks for.
            expected = {name: tuple(tensor.shape) for name, tensor in PoseFix(config).state_dict().items()}
    except _UNUSABLE as error:
        raise InputError(f"{path}: unusable network config: {error}") from error
    _check_shapes(path, expected, header.shapes)
    return PoseFix(config), info


def _completed(config: dict[str, Any]) -> dict[str, Any]:
    """Files older than ``centred_crops``: only those of imported originals sample plainly, and lie as originals do."""
    return {"centred_crops": config.get("antialias", True), **config}


def _check_shapes(path: Path, expected: Shapes, found: Shapes) -> None:
    wrong = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
    if wrong:
        name = wrong[0]
        raise InputError(
            f"{path}: tensors do not fit the network: {name} and {len(wrong) - 1} others, expected"
            f" {expected.get(name, 'none')}, got {found.get(name, 'none')}"
        )


def _load_tensors(path: Path, network: PoseFix, tensors: dict[str, torch.Tensor]) -> None:
    broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise InputError(f"{path}: {broken[0]} and {len(broken) - 1} other tensors hold values that are not finite")
    network.load_state_dict(tensors, strict=True)
