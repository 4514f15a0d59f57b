"""Training steps of the paper's recipe against a plain loop of it: float32, channels first, no trick.

Usage: python benchmarks/training.py [--batch 1 4] [--width 64] [--rounds 5] [--device auto]

Prints one JSON object with a row for each batch: images a second of both, their ratio, the share of the device's
measured peak of matrix products that ours attains, and peak memory of each, in a process of its own.
Both take turns step by step, so that a busy machine slows both. Processor seconds change less than wall seconds where
other programs run, and the ratio of the two is given as well. The data lie ready in memory: what it takes to make
them is measured by loading.py.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from torch.utils.flop_counter import FlopCounterMode

from geofootprint.config import PRESETS, TrainConfig
from geofootprint.learning.batches import Batch
from geofootprint.learning.devices import make_fabric
from geofootprint.learning.networks import PatchGAN, UNet256
from geofootprint.learning.pix2pix import Pix2Pix

SIDE = 256
CHANNELS = 2
"""Building and contour."""

WARM_UP = 2
MATRIX = {"cpu": 1024, "cuda": 8192}
"""Side of the square matrices with which the peak is measured."""

Step = Callable[[], None]


class PlainLoop:
    """The paper's networks and losses as a textbook has them.

    The discriminator learns from labels and prediction, then the generator from the discriminator and L1.

    Parameters
    ----------
    width : int
    batch : Batch
        On the device.
    """

    def __init__(self, width: int, batch: Batch) -> None:
        device = batch.image.device
        self.batch = batch
        self.generator = UNet256(3, CHANNELS, width=width).to(device)
        self.discriminator = PatchGAN(3 + CHANNELS, width=width).to(device)
        self.generator_adam = torch.optim.Adam(self.generator.parameters(), 2e-4, (0.5, 0.999))
        self.discriminator_adam = torch.optim.Adam(self.discriminator.parameters(), 2e-4, (0.5, 0.999))

    def step(self) -> None:
        """Do one step of both networks."""
        image, target = self.batch.image * 2 - 1, self.batch.target * 2 - 1
        predicted = torch.tanh(self.generator(self.batch.image) / 2)
        self.discriminator.requires_grad_(True)
        self.discriminator_adam.zero_grad()
        real, fake = self.discriminator(image, target), self.discriminator(image, predicted.detach())
        torch.autograd.backward((_cross_entropy(real, 1.0) + _cross_entropy(fake, 0.0)) / 2)
        self.discriminator_adam.step()
        self.discriminator.requires_grad_(False)
        self.generator_adam.zero_grad()
        judged = self.discriminator(image, predicted)
        torch.autograd.backward(_cross_entropy(judged, 1.0) + 100 * F.l1_loss(predicted, target))
        self.generator_adam.step()


def _cross_entropy(logits: torch.Tensor, value: float) -> torch.Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, value))


def make_batch(size: int, device: torch.device) -> Batch:
    """Return a batch of noise with labels for a third of its pixels."""
    source = torch.Generator().manual_seed(0)
    image = torch.rand(size, 3, SIDE, SIDE, generator=source)
    target = (torch.rand(size, CHANNELS, SIDE, SIDE, generator=source) < 0.3).float()
    return Batch(*(tensor.to(device) for tensor in (image, target, torch.ones(size, SIDE, SIDE))))


def make_step(name: str, size: int, width: int, fabric: Fabric) -> Step:
    """Return what does one step of ``plain`` or ``ours``."""
    torch.manual_seed(0)
    batch = make_batch(size, fabric.device)
    if name == "plain":
        return PlainLoop(width, batch).step
    networks = Pix2Pix(config_of(width, size), 3, fabric)
    image = batch.image.contiguous(memory_format=torch.channels_last)
    together = replace(batch, image=image)

    def step() -> None:
        networks.step(together, adversarial=1.0)

    return step


def config_of(width: int, size: int) -> TrainConfig:
    """Return preset pix2pix with networks of a width and a batch."""
    preset = PRESETS["pix2pix"]
    return replace(
        preset,
        generator=replace(preset.generator, width=width),
        discriminator=replace(preset.discriminator, width=width),
        data=replace(preset.data, batch=size),
    )


class Cost(NamedTuple):
    """Seconds by the wall's clock and of processors."""

    wall: float
    cpu: float


def measure(step: Step, device: torch.device) -> Cost:
    """Do one step and wait for its end."""
    wall, cpu = time.perf_counter(), _processor_seconds()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return Cost(time.perf_counter() - wall, _processor_seconds() - cpu)


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Return the most operations a second that products of large matrices attain."""
    side = MATRIX[device.type]
    one, other = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))

    def multiply() -> None:
        for _ in range(5):
            one @ other

    measure(multiply, device)
    return max(5 * 2 * side**3 / measure(multiply, device).wall for _ in range(5))


def peak_megabytes(name: str, size: int, options: argparse.Namespace) -> int:
    """Return the peak memory of a process that does a few steps of one kind, on a GPU that of its tensors."""
    command = [sys.executable, "-W", "ignore", __file__, "--only", name, "--batch", str(size), "--width", str(options.width)]
    done = subprocess.run([*command, "--device", options.device], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def print_peak(name: str, size: int, width: int, fabric: Fabric) -> None:
    """Do a few steps and print the memory they took."""
    step = make_step(name, size, width, fabric)
    for _ in range(WARM_UP):
        step()
    if fabric.device.type == "cuda":
        print(torch.cuda.max_memory_allocated() // 2**20)
    else:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def compare(size: int, options: argparse.Namespace, fabric: Fabric, peak: float) -> dict[str, Any]:
    """Return the row of one batch size but for the memory."""
    device = fabric.device
    steps = {name: make_step(name, size, options.width, fabric) for name in ("plain", "ours")}
    for step in steps.values():
        for _ in range(WARM_UP):
            measure(step, device)
    with FlopCounterMode(display=False) as counter:
        steps["plain"]()
    costs: dict[str, list[Cost]] = {name: [] for name in steps}
    for _ in range(options.rounds):
        for name, step in steps.items():
            costs[name].append(measure(step, device))
    plain, ours = (Cost(*(statistics.median(part) for part in zip(*costs[name], strict=True))) for name in steps)
    return {
        "batch": size,
        "plain_images_per_s": round(size / plain.wall, 2), "images_per_s": round(size / ours.wall, 2),
        "ratio": round(plain.wall / ours.wall, 2), "ratio_of_processor_seconds": round(plain.cpu / ours.cpu, 2),
        "tflop_a_step": round(counter.get_total_flops() / 1e12, 3),
        "share_of_peak": round(counter.get_total_flops() / ours.wall / peak, 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--width", type=int, default=64, help="filters of the first levels; the paper's is 64")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--only", choices=["plain", "ours"], help="print the peak memory of one kind alone")
    options = parser.parse_args()
    fabric = make_fabric(device=options.device)
    if options.only:
        print_peak(options.only, options.batch[0], options.width, fabric)
        return
    # First: a child begins with the most that its parent ever had.
    memory = [
        {"plain_peak_mb": peak_megabytes("plain", size, options), "peak_mb": peak_megabytes("ours", size, options)}
        for size in options.batch
    ]
    precision = fabric.strategy.precision.precision
    dtype = torch.bfloat16 if precision == "bf16-mixed" else torch.float32
    peak, plain_peak = measure_peak(fabric.device, dtype), measure_peak(fabric.device, torch.float32)
    rows = [compare(size, options, fabric, peak) | taken for size, taken in zip(options.batch, memory, strict=True)]
    print(json.dumps({
        "claim": "preset pix2pix trains at least twice as fast as a plain float32 loop of its recipe",
        "device": str(fabric.device), "cpus": os.cpu_count(), "threads": torch.get_num_threads(),
        "precision": precision, "peak_tflops": round(peak / 1e12, 3), "peak_over_float32": round(peak / plain_peak, 2),
        "width": options.width, "rounds": options.rounds, "holds": all(row["ratio"] >= 2 for row in rows), "batches": rows,
    }))


if __name__ == "__main__":
    main()
