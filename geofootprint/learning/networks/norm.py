"""Batch normalisation over the batches of all processes."""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed, nn

__all__ = ["SharedBatchNorm", "share_batch_norm"]


class _SumOverProcesses(torch.autograd.Function):
    """The sum of all processes' tensors; each of them learns from what any makes of it."""

    @staticmethod
    def forward(_context: Any, x: torch.Tensor) -> torch.Tensor:
        total = x.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: Any, gradient: torch.Tensor) -> torch.Tensor:
        total = gradient.clone()
        distributed.all_reduce(total)
        return total


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation whose statistics are of all processes' batches, on any device.

    torch's SyncBatchNorm, which does the same, refuses CPUs. Every process must have a batch of the same size.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the normalised input, of shape (N, C, H, W)."""
        if not self.training:
            return super().forward(x)
        world = distributed.get_world_size()
        wide = x.float()
        moments = torch.stack([wide.mean(dim=(0, 2, 3)), wide.square().mean(dim=(0, 2, 3))])
        mean, square = _SumOverProcesses.apply(moments) / world
        variance = square - mean.square()
        self._follow(mean.detach(), variance.detach(), x.numel() // x.shape[1] * world)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        normalised: torch.Tensor = (wide * scale[:, None, None] + shift[:, None, None]).to(x.dtype)
        return normalised

    @torch.no_grad()
    def _follow(self, mean: torch.Tensor, variance: torch.Tensor, count: int) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        momentum = 0.1 if self.momentum is None else self.momentum
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * count / max(1, count - 1), momentum)


def share_batch_norm(network: nn.Module, device: torch.device) -> nn.Module:
    """Return the network with batch normalisation over all processes; names of weights stay.

    Parameters
    ----------
    network : torch.nn.Module
    device : torch.device
        Where it will run.
    """
    if device.type == "cuda":
        shared: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return shared
    for name, child in network.named_children():
        if isinstance(child, nn.BatchNorm2d):
            other = SharedBatchNorm(child.num_features, child.eps, child.momentum)
            other.load_state_dict(child.state_dict())
            setattr(network, name, other)
        else:
            share_batch_norm(child, device)
    return network
