"""Inputs of any size for networks that halve them several times."""

from __future__ import annotations

import torch
import torch.nn.functional as F

__all__ = ["pad_to_multiple"]


def pad_to_multiple(x: torch.Tensor, multiple: int) -> torch.Tensor:
    """Repeat the last row and column until height and width are multiples of `multiple`.

    Parameters
    ----------
    x : tensor of shape (N, C, H, W)
    multiple : int

    Returns
    -------
    tensor of shape (N, C, H', W')
        The caller cuts its output back to H and W.
    """
    bottom = -x.shape[-2] % multiple
    right = -x.shape[-1] % multiple
    return F.pad(x, (0, right, 0, bottom), mode="replicate")
