"""Crops that the data's side makes, against those that training takes.

Usage: python benchmarks/loading.py [--presets footprint pix2pix] [--crops 96] [--steps 2]

Prints one JSON object. On a processor all is counted in crops a second of one core's time, which other programs on the
machine do not change; a run has `workers` threads that make crops and all cores for its networks. Where there is a GPU,
its own stream and its networks are measured by the clock. Three times each, the best counts.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch

from geofootprint.config import PRESETS, TrainConfig
from geofootprint.labels import BUILDING, CONTOUR
from geofootprint.learning.batches import WORKERS, Batch, BatchStream, CropDrawer, make_crop, to_batch
from geofootprint.learning.dataset import Tile, TileSet
from geofootprint.learning.device_batches import DeviceStream
from geofootprint.learning.devices import make_fabric
from geofootprint.learning.pix2pix import Pix2Pix
from geofootprint.scenes import make_scene

TIMES = 3
WANTED = 2.0
"""Crops made to one that is taken."""


def make_tiles(*, size: int = 512, count: int = 4, dtype: str = "uint8") -> TileSet:
    """Return tiles of procedural towns."""
    tiles = []
    for seed in range(count):
        scene = np.ascontiguousarray(np.moveaxis(make_scene(size=size, gsd=0.15, seed=seed).image, 0, -1))
        image = scene if dtype == "uint8" else scene.astype(np.uint16) * np.uint16(257)
        bright = (scene.mean(axis=2) > scene.mean()).astype(np.uint8)
        edge = cv2.morphologyEx(bright, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        label = np.where(edge & (bright > 0), CONTOUR, bright * BUILDING).astype(np.uint8)
        tiles.append(Tile(image, label, 1.0))
    return TileSet(tiles, 3, 0.15, (), dtype)


def best_rate(work: Callable[[], int], clock: Callable[[], float]) -> float:
    """Return crops a second of the fastest of several runs, after one that warms up."""
    work()
    rates = []
    for _ in range(TIMES):
        start = clock()
        crops = work()
        rates.append(crops / (clock() - start))
    return max(rates)


def opencv_rate(tiles: TileSet, config: TrainConfig, crops: int) -> float:
    """Return crops a core's second of what one thread of `BatchStream` does."""
    data, drawer = config.data, CropDrawer(tiles, config.data, seed=0)

    def work() -> int:
        for first in range(0, crops, 8):
            made = [make_crop(*drawer.draw(first + number), data.patch) for number in range(8)]
            images, labels = zip(*made, strict=True)
            to_batch(np.stack(images), np.stack(labels), data.classes)
        return crops

    return best_rate(work, time.process_time)


def stream_rate(stream: DeviceStream | BatchStream, batch: int, crops: int, clock: Callable[[], float]) -> float:
    """Return crops a second that a stream gives."""
    with stream as batches:

        def work() -> int:
            count = max(1, crops // batch)
            for _ in range(count):
                made = next(batches)
            float(made.image[0, 0, 0, 0])  # waits for a GPU
            return count * batch

        return best_rate(work, clock)


def training_rate(config: TrainConfig, batch: Batch, steps: int, device: str, clock: Callable[[], float]) -> float:
    """Return crops a second that the networks take; without the discriminator where the preset begins so."""
    fabric = make_fabric(device=device)
    torch.manual_seed(0)
    networks = Pix2Pix(config, batch.image.shape[1], fabric)
    on_device = Batch(*(fabric.to_device(part) for part in (batch.image, batch.target, batch.valid)))
    adversarial = 0.0 if config.loss.adversarial_start else 1.0

    def work() -> int:
        for _ in range(steps):
            losses = networks.step(on_device, adversarial=adversarial)
        float(losses["bce"])
        return steps * len(batch.image)

    return best_rate(work, clock)


def measure(preset: str, crops: int, steps: int) -> dict[str, Any]:
    """Measure one preset."""
    config = PRESETS[preset]
    tiles = make_tiles()
    cpu = torch.device("cpu")
    loading = opencv_rate(tiles, config, crops)
    deep = opencv_rate(make_tiles(dtype="uint16"), config, crops)
    # Batches of one say little of what torch can do.
    torched = replace(config.data, batch=max(8, config.data.batch))
    on_device = stream_rate(DeviceStream(tiles, torched, cpu, seed=0), torched.batch, crops, time.process_time)
    with BatchStream(tiles, config.data, seed=0) as stream:
        batch = next(stream)
    training = training_rate(config, batch, steps, "cpu", time.process_time)
    ratio = loading * WORKERS / (training * (os.cpu_count() or 1))
    told: dict[str, Any] = {
        "made_per_core_second": round(loading, 1),
        "made_of_uint16_per_core_second": round(deep, 1),
        "made_by_torch_per_core_second": round(on_device, 1),
        "trained_per_core_second": round(training, 2),
        "ratio": round(ratio, 1),
        "holds": ratio >= WANTED,
    }
    if torch.cuda.is_available():
        told["cuda"] = measure_cuda(config, tiles, batch, crops, steps)
    return told


def measure_cuda(config: TrainConfig, tiles: TileSet, batch: Batch, crops: int, steps: int) -> dict[str, Any]:
    """Measure both sides on a GPU, one after the other."""
    device = torch.device("cuda", 0)
    made = stream_rate(DeviceStream(tiles, config.data, device, seed=0), config.data.batch, 16 * crops, time.perf_counter)
    trained = training_rate(config, batch, 16 * steps, "cuda", time.perf_counter)
    return {
        "device": torch.cuda.get_device_name(device),
        "made_per_second": round(made, 1),
        "trained_per_second": round(trained, 1),
        "ratio": round(made / trained, 1),
        "holds": made / trained >= WANTED,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--presets", nargs="+", default=["footprint", "pix2pix"], choices=list(PRESETS))
    parser.add_argument("--crops", type=int, default=96)
    parser.add_argument("--steps", type=int, default=2)
    options = parser.parse_args()
    # One core each: what several do together depends on what else they have to do.
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    results = {preset: measure(preset, options.crops, options.steps) for preset in options.presets}
    print(json.dumps({
        "claim": f"crops are made at least {WANTED:g} times as fast as training takes them",
        "cpus": os.cpu_count(), "workers": WORKERS, "torch": torch.__version__, "opencv": cv2.__version__, **results,
    }))


if __name__ == "__main__":
    main()
