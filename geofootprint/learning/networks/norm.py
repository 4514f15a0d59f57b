"""Normalisation whose result does not depend on the window, and batch normalisation over several processes."""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed, nn

__all__ = ["ChannelNorm", "SharedBatchNorm", "make_norm", "share_batch_norm"]


class ChannelNorm(nn.Module):
    """Normalises the channels of each pixel by their own mean and variance: layer normalisation at every pixel.

    Parameters
    ----------
    channels : int

    References
    ----------
    Ba, Kiros, Hinton: Layer Normalization (2016), arXiv:1607.06450; over pixels as in ConvNeXt, arXiv:2201.03545.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the normalised input, of shape (N, C, H, W)."""
        wide = x.float()
        centred = wide - wide.mean(dim=1, keepdim=True)
        normal = centred * torch.rsqrt(centred.square().mean(dim=1, keepdim=True) + 1e-5)
        return (normal * self.weight[:, None, None] + self.bias[:, None, None]).to(x.dtype)


def make_norm(name: str, channels: int) -> nn.Module:
    """Return the normalisation ``batch``, ``channel`` or ``none`` for a number of channels."""
    if name == "batch":
        return nn.BatchNorm2d(channels)
    return ChannelNorm(channels) if name == "channel" else nn.Identity()


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
