"""How many crops to a step fit into memory, found by doing real steps."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import torch
from lightning_fabric import Fabric

from geofootprint.config import TrainConfig
from geofootprint.errors import OptionError
from geofootprint.learning.batches import Batch
from geofootprint.learning.pix2pix import Pix2Pix

__all__ = ["LARGEST", "available_memory", "find_batch", "is_out_of_memory", "largest_that_fits"]

LARGEST = 128
"""Crops to a step that are tried at most: larger batches learn no better."""

SHARE = 0.8
"""Of the memory that is free, what a step may take: validation and checkpoints want some too."""

SIGNS = (
    "out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory", "could not create a primitive",
)
"""What torch says in errors that have no class of their own; the last is oneDNN's, which computes its convolutions."""

SAMPLE_SECONDS = 0.005
"""Between two looks at the memory that this process holds."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, of a GPU or of the machine."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in SIGNS)


def largest_that_fits(fits: Callable[[int], bool], most: int, *, multiple: int = 1) -> int:
    """Return the largest number that fits, to an eighth: doubled until one does not, then halved in between.

    Parameters
    ----------
    fits : callable
        Of a number; what fits, fits for all smaller ones too.
    most : int
        The largest number tried.
    multiple : int
        What the number is a multiple of.

    Returns
    -------
    int
        0 if nothing fits.
    """
    low, high = 0, most // multiple + 1  # in multiples: the largest known to fit, the smallest not to
    while high - low > max(1, low // 8):
        between = max(1, 2 * low) if 2 * low < high else (low + high) // 2
        between = min(between, high - 1)
        if fits(between * multiple):
            low = between
        else:
            high = between
    return low * multiple


def find_batch(config: TrainConfig, bands: int, fabric: Fabric, *, most: int = LARGEST, processes: int = 1) -> int:
    """Return how many crops to a step fit into memory.

    Networks of the run's kind do a few steps on made-up crops, on this process's device alone, and are thrown away. On a
    CPU what a step needs is measured, and no step is tried that would take more than is free.

    Parameters
    ----------
    config : TrainConfig
    bands : int
    fabric : lightning_fabric.Fabric
        Of one process: its device and precision.
    most : int
        Crops to a step of all processes that are tried at most.
    processes : int
        That share a batch, and on a CPU the memory.

    Raises
    ------
    OptionError
        If not even the smallest batch fits.
    """
    trial = _Trial(config, bands, fabric, free=available_memory() / processes)
    # Batch normalisation of small crops needs two.
    batch = largest_that_fits(trial.fits, most // processes, multiple=2) * processes
    if batch:
        return batch
    raise OptionError(
        f"Not even two crops of {config.data.patch} px fit into memory; lower data.patch or generator.width in a --config "
        "file."
    )


class _Trial:
    """Steps on made-up crops."""

    def __init__(self, config: TrainConfig, bands: int, fabric: Fabric, *, free: float) -> None:
        self._config, self._bands = config, bands
        self._fabric = fabric
        self._is_cpu = fabric.device.type == "cpu"
        self._allowed = SHARE * free
        self._needed = 0.0  # a crop

    def fits(self, batch: int) -> bool:
        if self._is_cpu and self._needed * batch > self._allowed:
            return False
        try:
            with _peak_memory() as peak:
                self._step(batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return False
        finally:
            gc.collect()
            if not self._is_cpu:
                torch.cuda.empty_cache()
        self._needed = peak[-1] / batch
        return not self._is_cpu or peak[-1] <= self._allowed

    def _step(self, batch: int) -> None:
        config = replace(self._config, data=replace(self._config.data, batch=batch))
        networks = Pix2Pix(config, self._bands, self._fabric)
        side, classes = config.data.patch, len(config.data.classes)
        image = torch.rand(batch, self._bands, side, side).contiguous(memory_format=torch.channels_last)
        target, valid = torch.zeros(batch, classes, side, side), torch.ones(batch, side, side)
        made_up = Batch(*(self._fabric.to_device(part) for part in (image, target, valid)))
        for _ in range(2):  # the optimizers' moments are there from the second
            networks.step(made_up, adversarial=float(config.loss.adversarial > 0))


@contextmanager
def _peak_memory() -> Iterator[list[float]]:
    """Give a list that ends with the most bytes this process held more than before."""
    process, done = psutil.Process(), threading.Event()
    before = process.memory_info().rss
    peak = [0.0]

    def watch() -> None:
        while not done.wait(SAMPLE_SECONDS):
            peak[-1] = max(peak[-1], float(process.memory_info().rss - before))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def available_memory() -> float:
    """Return the bytes of the machine's memory that this process may still take; a container's limit counts."""
    free = float(psutil.virtual_memory().available)
    try:
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # none, or no limit
        return free
    return min(free, float(max(0, limit - used)))
