"""Which hardware a run uses, and how exactly it computes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision, Precision
from lightning_fabric.utilities import rank_zero_only

from geofootprint.errors import OptionError

__all__ = ["is_first_process", "launch", "make_fabric"]

DEVICES = ("auto", "cpu", "cuda")

PRECISIONS = ("auto", "32", "bf16", "16")


def make_fabric(*, device: str = "auto", precision: str = "auto", devices: int = 1) -> Fabric:
    """Return what runs networks on the device asked for; it has not launched other processes yet.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}
    precision : {"auto", "32", "bf16", "16"}
        auto takes bf16 where the hardware computes in it.
    devices : int
        Number of devices, or of processes on a CPU.

    Raises
    ------
    OptionError
        If there is no such device, not as many, or it cannot compute so.
    """
    if device not in DEVICES:
        raise OptionError(f"There is no device '{device}'; use auto, cpu or cuda.")
    if precision not in PRECISIONS:
        raise OptionError(f"There is no precision '{precision}'; use auto, 32, bf16 or 16.")
    if device == "cuda" and not torch.cuda.is_available():
        raise OptionError("No CUDA device is available here; use --device cpu, or install a torch with CUDA and its driver.")
    accelerator = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    if devices < 1 or (accelerator == "cuda" and devices > torch.cuda.device_count()):
        there = f", and there are {torch.cuda.device_count()}" if accelerator == "cuda" else ""
        raise OptionError(f"--devices must be at least 1{there}, not {devices}.")
    if precision == "16" and accelerator == "cpu":
        raise OptionError("CPUs do not train in 16-bit floats; use --precision bf16 or 32.")
    plugin = _make_precision(precision, accelerator)
    try:
        return Fabric(accelerator=accelerator, devices=devices, plugins=[plugin])
    except (ValueError, RuntimeError) as error:
        raise OptionError(f"{devices} {accelerator} device(s) cannot be used: {str(error).splitlines()[0]}") from error


def launch(fabric: Fabric) -> None:
    """Start the other processes, if there are to be any; each runs this program anew from its beginning."""
    with _without_lightnings_remarks():
        fabric.launch()


@contextmanager
def _without_lightnings_remarks() -> Iterator[None]:
    # Lightning sets its logger to tell what nobody asked for; who asks by -v still gets it.
    logger = logging.getLogger("lightning_fabric")
    level = logger.level
    logger.setLevel(max(logging.INFO, logging.getLogger().level))
    try:
        yield
    finally:
        logger.setLevel(level)


def is_first_process() -> bool:
    """Return whether this process is the one of a run that writes and speaks."""
    return getattr(rank_zero_only, "rank", 0) == 0


def _make_precision(precision: str, accelerator: str) -> Precision:
    # Made here: Fabric says on stderr which precision it chose when it is given a name.
    if precision == "auto":
        precision = "bf16" if _computes_bf16(accelerator) else "32"
    if precision == "32":
        return Precision()
    return MixedPrecision("bf16-mixed" if precision == "bf16" else "16-mixed", accelerator)


def _computes_bf16(accelerator: str) -> bool:
    if accelerator == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # torch tells these only by private names; without them float32 is right everywhere.
    checks: list[Any] = [
        getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    ]
    return any(check is not None and bool(check()) for check in checks)
