"""Fusing a network's steps with torch.compile, where that is possible."""

from __future__ import annotations

import torch
from lightning_fabric import Fabric

__all__ = ["can_compile"]


def can_compile(fabric: Fabric) -> bool:
    """Return whether torch.compile works here; it needs a compiler, which a machine may lack.

    Asked by compiling something: what it needs besides (headers, a linker, Triton) differs from place to place.
    Several processes share batch normalisation by messages, which it cannot fuse.

    Parameters
    ----------
    fabric : lightning_fabric.Fabric
        The device, and how many processes there are.
    """
    if fabric.world_size > 1:
        return False
    try:
        fused = torch.compile(lambda x: x.sin() + 1)
        fused(torch.ones(8, device=fabric.device))
    except (RuntimeError, OSError, ImportError):  # torch's own errors of compiling are children of the first
        return False
    return True
