"""What a compiled plan depends on. A plan whose key differs in anything is another plan."""

import hashlib
import importlib
import inspect
import json
import sys
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from torch import nn

# The code that turns a network into a plan; what it imports of this project counts too.
_OWN_CODE = ("engines.onnx_export", "engines.tensorrt_build")


@dataclass(frozen=True)
class PlanKey:
    """Everything that decides a plan.

    Attributes:
        weights_sha256: of all parameters, buffers and settings of the network.
        code_sha256: of the source of the network and of what makes a plan of it.
        library, library_version: "tensorrt" or "tensorrt-rtx", exact version.
        gpu, sm, processors: name, compute capability such as "9.0" and number of multiprocessors; "any", "any" and 0
            for plans that are not made for one GPU.
        precision: "fp16" or "fp32".
        input_size: (height, width) of the images.
        joints: K.
        batches: smallest, usual and largest number of rows.
    """

    weights_sha256: str
    code_sha256: str
    library: str
    library_version: str
    gpu: str
    sm: str
    processors: int
    precision: str
    input_size: tuple[int, int]
    joints: int
    batches: tuple[int, int, int]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they come back from JSON."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return values

    @property
    def digest(self) -> str:
        """SHA-256 of all of it."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()


def weights_sha256(network: nn.Module) -> str:
    """Of the parameters, the buffers (those that are not saved as well) and the plain settings of all modules."""
    digest = hashlib.sha256()
    for name, module in network.named_modules():
        digest.update(f"{name} {type(module).__qualname__} {_settings(module)}\n".encode())
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def code_sha256(network: nn.Module) -> str:
    """Of the source files that define the network and the export, and of those of the same packages they use."""
    classes = {type(module).__module__ for module in network.modules()}
    names = {name for name in classes if not name.startswith("torch.")} | set(_OWN_CODE)
    packages = {name.partition(".")[0] for name in names}
    seen: set[str] = set()
    while names:
        name = names.pop()
        seen.add(name)
        names |= {used for used in _used(_module(name)) if used.partition(".")[0] in packages} - seen
    digest = hashlib.sha256()
    for name in sorted(seen):
        digest.update(f"{name}\n".encode() + _source(name))
    return digest.hexdigest()


def _module(name: str) -> ModuleType:
    return sys.modules.get(name) or importlib.import_module(name)


def _used(module: ModuleType) -> set[str]:
    """Modules that this one imports, or imports functions and classes from."""
    values = list(vars(module).values())
    defined = {value.__module__ for value in values if isinstance(value, type | FunctionType) and value.__module__}
    return defined | {value.__name__ for value in values if isinstance(value, ModuleType)}


def _source(name: str) -> bytes:
    try:
        return Path(inspect.getfile(_module(name))).read_bytes()
    except (TypeError, OSError):  # typed into an interpreter
        return b""


def _settings(module: nn.Module) -> str:
    """Numbers, texts and dataclasses among the attributes: strides, epsilons, a config."""
    plain = {k: v for k, v in vars(module).items() if _is_setting(v) and not k.startswith("_") and k != "training"}
    return repr(sorted(plain.items()))


def _is_setting(value: object) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_setting, value))
    return value is None or isinstance(value, bool | int | float | str) or is_dataclass(value)
