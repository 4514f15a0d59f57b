"""Batch normalisation as part of the convolution before it, and taken out of it again."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

__all__ = ["FOLDABLE", "fold_batch_norm", "unfold_batch_norm"]

FOLDABLE = (nn.Conv2d, nn.ConvTranspose2d)


def fold_batch_norm(network: nn.Module, example: torch.Tensor) -> nn.Module:
    """Return a copy in which batch normalisation is part of the convolution before it.

    Parameters
    ----------
    network : torch.nn.Module
    example : tensor
        An input; which convolution feeds which normalisation is seen by running it.
    """
    network = copy.deepcopy(network).eval()
    for convolution, norm in _pairs(network, example):
        before, after = network.get_submodule(convolution), network.get_submodule(norm)
        transposed = isinstance(before, nn.ConvTranspose2d)
        _put(network, convolution, fuse_conv_bn_eval(before, after, transposed))  # type: ignore[type-var,arg-type]
        _put(network, norm, nn.Identity())
    return network.requires_grad_(False)


def _pairs(network: nn.Module, example: torch.Tensor) -> list[tuple[str, str]]:
    """Return the names of convolutions and of the normalisations that alone follow them, in order."""
    calls: Counter[nn.Module] = Counter()
    makers: dict[int, tuple[nn.Module, torch.Tensor]] = {}  # the tensors are kept, or their ids would be used again
    pairs: list[tuple[nn.Module, nn.Module]] = []

    def watch(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        calls[module] += 1
        if isinstance(module, FOLDABLE):
            makers[id(output)] = module, output
        elif id(inputs[0]) in makers:
            pairs.append((makers[id(inputs[0])][0], module))

    watched = [module for module in network.modules() if isinstance(module, (*FOLDABLE, nn.BatchNorm2d))]
    hooks = [module.register_forward_hook(watch) for module in watched]
    with torch.inference_mode():
        network(example)
    for hook in hooks:
        hook.remove()
    names = {module: name for name, module in network.named_modules()}
    return [(names[before], names[after]) for before, after in pairs if calls[before] == calls[after] == 1]


def _put(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, module)


def unfold_batch_norm(network: nn.Module, folded: Mapping[str, torch.Tensor], images: Iterable[torch.Tensor]) -> None:
    """Give a network, in place, the weights of its folded twin, so that it predicts the same and can be trained on.

    What the normalisation did is known only as a whole, its statistics are lost. They are taken anew: mean and variance
    of what each convolution of the twin gives for some images. With them as running statistics, and with weight and bias
    that undo them, the network computes what the twin does; and since the statistics of a batch are about the same, it
    also does so, nearly, when it is trained.

    Parameters
    ----------
    network : torch.nn.Module
    folded : mapping of str to tensor
        Parameters of what `fold_batch_norm` made of such a network; buffers that lack keep the network's values.
    images : iterable of tensors of shape (N, C, H, W)
        As in training.

    Raises
    ------
    KeyError, RuntimeError
        If parameters lack, or are of other shapes.
    """
    network.eval()
    batches = iter(images)
    first = next(batches)
    pairs = _pairs(network, first)
    twin = fold_batch_norm(network, first)
    missing = {name for name, _ in twin.named_parameters()} - folded.keys()
    if missing:
        raise KeyError(min(missing))
    twin.load_state_dict(folded, strict=False)
    moments = _watch_moments(twin, [name for name, _ in pairs])
    with torch.inference_mode():
        for batch in (first, *batches):
            twin(batch)
    state = {**network.state_dict(), **twin.state_dict()}
    for convolution, norm in pairs:
        mean, variance = moments[convolution].mean_and_variance()
        # Where the convolution has no bias of its own, the twin's is in its mean.
        shift = state.pop(f"{convolution}.bias") if network.get_submodule(convolution).bias is None else 0
        eps = float(network.get_submodule(norm).eps)  # type: ignore[arg-type]
        state[f"{norm}.running_mean"], state[f"{norm}.running_var"] = mean - shift, variance
        state[f"{norm}.weight"], state[f"{norm}.bias"] = torch.sqrt(variance + eps), mean
    network.load_state_dict(state)


class _Moments:
    """Mean and variance of each channel of a module's outputs."""

    def __init__(self) -> None:
        self._sum: Any = 0
        self._squares: Any = 0
        self._count = 0

    def add(self, _module: nn.Module, _inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        wide = output.double()
        self._sum = self._sum + wide.sum(dim=(0, 2, 3))
        self._squares = self._squares + wide.square().sum(dim=(0, 2, 3))
        self._count += output.numel() // output.shape[1]

    def mean_and_variance(self) -> tuple[torch.Tensor, torch.Tensor]:
        mean = self._sum / self._count
        return mean.float(), (self._squares / self._count - mean.square()).clamp(min=0).float()


def _watch_moments(network: nn.Module, names: Iterable[str]) -> dict[str, _Moments]:
    moments = {name: _Moments() for name in names}
    for name, watched in moments.items():
        network.get_submodule(name).register_forward_hook(watched.add)
    return moments
