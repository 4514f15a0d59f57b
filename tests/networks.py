"""Networks for tests that need some whose normalisation matters, without training them."""

from __future__ import annotations

import torch
from torch import nn


def stir(network: nn.Module) -> nn.Module:
    """Give batch normalisation the statistics of noise, and parameters that matter."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain mean
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    with torch.no_grad():
        network.train()(torch.rand(4, 3, 256, 256))
    return network.eval()
