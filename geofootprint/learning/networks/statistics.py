"""Whether what a network says of a pixel depends on all of its window, and so on how a raster was cut."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["window_statistics"]

SIDE = 128
"""Pixels of the window that is tried; deep layers must still have more than one pixel there."""

STATISTICS: Mapping[str, str] = {
    "aten.mean": "global pooling",
    "aten._adaptive_avg_pool2d": "global pooling",
    "aten.adaptive_max_pool2d": "global pooling",
    "aten.native_group_norm": "group normalisation",
    "aten._softmax": "attention",
    "aten._scaled_dot_product": "attention",
}
"""Operators that bring together the pixels of a whole window, by the beginning of their names."""


class _Watch(TorchDispatchMode):
    """Notes which statistics the operators take that are called within it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: set[str] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(function)
        for start, statistic in STATISTICS.items():
            if name.startswith(start) and not (start == "aten.mean" and _is_over_channels(args)):
                self.found.add(statistic)
        return function(*args, **(kwargs or {}))


def _is_over_channels(arguments: Any) -> bool:
    x, axes = arguments[0], arguments[1] if len(arguments) > 1 else range(4)
    return x.ndim == 4 and all(axis % 4 == 1 for axis in axes)


def window_statistics(network: nn.Module, bands: int) -> tuple[str, ...]:
    """Return which statistics of the whole window a network uses at inference, seen by running it.

    Batch normalisation is none of them: its statistics are fixed there.

    Parameters
    ----------
    network : torch.nn.Module
    bands : int
        Of its input.
    """
    weight = next(network.parameters())
    was_training = network.training
    network.eval()
    with torch.no_grad(), _Watch() as watch:
        network(torch.zeros(1, bands, SIDE, SIDE, device=weight.device, dtype=weight.dtype))
    network.train(was_training)
    return tuple(sorted(watch.found))
