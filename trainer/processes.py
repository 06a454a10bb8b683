"""One process, or several that train together: each does its part of every batch.

Started by ``torchrun`` or ``accelerate launch``. Losses are means over the joints of the whole batch and gradients are
averaged, so that several processes compute what one would. Batch norms use the statistics of the whole batch too.
"""

import os
from typing import Any, Protocol, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from posefix_track.errors import ResourceError


class Processes(Protocol):
    """The processes of a run.

    Attributes:
        device: of this process.
        index, count: which process this is, and of how many; number 0 writes files.
    """

    device: torch.device
    index: int
    count: int

    def join(self, step: nn.Module) -> nn.Module:
        """``step``, whose parameters get the gradients of all processes' losses."""
        ...

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the processes."""
        ...

    def wait(self) -> None:
        """Until all processes are here."""
        ...


class OneProcess:
    """A run on its own."""

    index, count = 0, 1

    def __init__(self) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def join(self, step: nn.Module) -> nn.Module:
        """``step`` as it is."""
        return step

    def mean(self, values: Tensor) -> Tensor:
        """``values`` as they are."""
        return values

    def wait(self) -> None:
        """Not at all."""


class SeveralProcesses:
    """Data-parallel processes under accelerate. Raises ResourceError where that is not installed."""

    def __init__(self) -> None:
        try:
            from accelerate import Accelerator
        except ImportError as error:
            raise ResourceError('training in several processes needs: pip install -e ".[train]"') from error
        self._accelerator = Accelerator(cpu=not torch.cuda.is_available(), mixed_precision="no")
        self.device: torch.device = self._accelerator.device
        self.index: int = self._accelerator.process_index
        self.count: int = self._accelerator.num_processes

    def join(self, step: nn.Module) -> nn.Module:
        """``step`` under DistributedDataParallel, with batch norms over all processes."""
        return cast(nn.Module, self._accelerator.prepare_model(_joint_batch_norms(step)))

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the processes."""
        return cast(Tensor, self._accelerator.reduce(values, "mean"))

    def wait(self) -> None:
        """Until all processes are here."""
        self._accelerator.wait_for_everyone()


def this_process() -> Processes:
    """What the environment says: torchrun and accelerate launch set WORLD_SIZE."""
    return SeveralProcesses() if int(os.environ.get("WORLD_SIZE", "1")) > 1 else OneProcess()


def mean_over_processes(count: Tensor) -> Tensor:
    """Mean of a number without a gradient over the processes that train together; itself where there is one."""
    if not (dist.is_available() and dist.is_initialized()):
        return count
    total = count.float()
    dist.all_reduce(total)
    return total / dist.get_world_size()


class _JointBatchNorm(nn.BatchNorm2d):
    """Batch norm over all processes, of equal shares, on CPUs, for which torch's SyncBatchNorm has no kernel."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        count = x.numel() // x.shape[1] * dist.get_world_size()
        values = x.float()
        mean = _sum(values) / count
        centred = values - mean.view(1, -1, 1, 1)
        variance = _sum(centred.square()) / count
        with torch.no_grad():
            momentum = cast(float, self.momentum)
            cast(Tensor, self.running_mean).lerp_(mean, momentum)
            cast(Tensor, self.running_var).lerp_(variance * (count / (count - 1)), momentum)
            cast(Tensor, self.num_batches_tracked).add_(1)
        gain = torch.rsqrt(variance + self.eps) * self.weight
        return (centred * gain.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)).to(x.dtype)


class _SumOverProcesses(torch.autograd.Function):
    """Everybody's losses depend on everybody's values, so gradients are summed as well."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


def _sum(values: Tensor) -> Tensor:
    """[C] sums over everything but channels, and over the processes."""
    return cast(Tensor, _SumOverProcesses.apply(values.sum((0, 2, 3))))  # type: ignore[no-untyped-call]


def _joint_batch_norms(module: nn.Module) -> nn.Module:
    if next(module.parameters()).is_cuda:
        return cast(nn.Module, nn.SyncBatchNorm.convert_sync_batchnorm(module))  # type: ignore[no-untyped-call]
    for part in module.modules():
        if type(part) is nn.BatchNorm2d:
            # Nothing but the arithmetic of forward differs.
            part.__class__ = _JointBatchNorm
    return module
