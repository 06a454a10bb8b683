"""Networks made ready to run: batch norms become part of the convolutions before them, convolutions become FP16."""

import copy
from typing import cast

import torch
from torch import Tensor, nn

Convolution = nn.Conv2d | nn.ConvTranspose2d


def folded(network: nn.Module, inputs: tuple[Tensor, ...]) -> nn.Module:
    """A copy in evaluation mode without the batch norms that directly follow a convolution.

    Which norm follows which convolution is seen by running the copy once. The output of such a convolution must go
    nowhere but into its norm, and each of the two must be used once a run.

    Args:
        network: any module; it is left as it is.
        inputs: arguments of a small run, on the network's device.
    """
    ready = copy.deepcopy(network).eval().requires_grad_(False)
    paths = {module: path for path, module in ready.named_modules()}
    for convolution, norm in _pairs(ready, inputs):
        _fold(convolution, norm)
        ready.set_submodule(paths[norm], nn.Identity())
    return ready


def half_convolutions(network: nn.Module) -> nn.Module:
    """The same network with FP16 convolutions, which is where its arithmetic is.

    Everything else stays in FP32: probabilities and coordinates in half precision would cost a tenth of a pixel.
    The network has to give its convolutions FP16 inputs.
    """
    for module in network.modules():
        if isinstance(module, Convolution):
            module.half()
    return network


def _pairs(network: nn.Module, inputs: tuple[Tensor, ...]) -> list[tuple[Convolution, nn.BatchNorm2d]]:
    """Convolutions and the batch norms that were given their very output, in one run of ``network``."""
    # Keeping the tensor keeps its id from being given to another.
    made: dict[int, tuple[Convolution, Tensor]] = {}
    pairs: list[tuple[Convolution, nn.BatchNorm2d]] = []

    def after_convolution(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        made[id(output)] = cast(Convolution, module), output

    def before_norm(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        if found := made.get(id(arguments[0])):
            pairs.append((found[0], cast(nn.BatchNorm2d, module)))

    handles = [m.register_forward_hook(after_convolution) for m in network.modules() if _foldable(m)]
    handles += [m.register_forward_pre_hook(before_norm) for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    with torch.inference_mode():
        network(*inputs)
    for handle in handles:
        handle.remove()
    return pairs


def _foldable(module: nn.Module) -> bool:
    # A grouped transposed convolution does not keep its output channels in one dimension of its weights.
    return isinstance(module, nn.Conv2d) or (isinstance(module, nn.ConvTranspose2d) and module.groups == 1)


def _fold(convolution: Convolution, norm: nn.BatchNorm2d) -> None:
    """Scale the filters and move the bias, in place: norm(conv(x)) = scale * (conv(x) - mean) + shift.

    In float64, so that the only rounding is that of the new weights.
    """
    mean, variance = cast(Tensor, norm.running_mean).double(), cast(Tensor, norm.running_var).double()
    scale = norm.weight.double() * torch.rsqrt(variance + norm.eps)
    bias = -mean if convolution.bias is None else convolution.bias.double() - mean
    # Output channels come first in a convolution, second in a transposed one.
    shape = (1, -1, 1, 1) if isinstance(convolution, nn.ConvTranspose2d) else (-1, 1, 1, 1)
    kind = convolution.weight.dtype
    convolution.weight = _constant(convolution.weight.double() * scale.view(shape), kind)
    convolution.bias = _constant(bias * scale + norm.bias.double(), kind)


def _constant(values: Tensor, kind: torch.dtype) -> nn.Parameter:
    return nn.Parameter(values.to(kind), requires_grad=False)
