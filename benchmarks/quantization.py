"""Speed and loss of a model file that computes in 8 bits, against the one of the same checkpoint that computes in 32.

Usage: python benchmarks/quantization.py FULL.onnx INT8.onnx DATASET [--rounds 5]

Prints one JSON object. Both files predict the same patches of the dataset's validation tiles in turn, with one thread, by
each backend; seconds are of the processor, so that other programs count for little, and of the fastest round.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geofootprint.learning.dataset import read_tiles
from geofootprint.learning.quantization import measure_loss
from geofootprint.model import BACKENDS, Model, load_model, read_info

PATCHES = 3


def read_patches(dataset: str, side: int) -> list[NDArray[np.float32]]:
    """Return patches (1, bands, side, side) from the middle of the first tiles."""
    patches = []
    for tile in read_tiles([(dataset, 1.0)], "val").tiles[:PATCHES]:
        top, left = ((size - side) // 2 for size in tile.label.shape)
        patch = tile.image[top : top + side, left : left + side].transpose(2, 0, 1)[None]
        patches.append((patch / 255).astype(np.float32))
    return patches


def seconds_of(model: Model, patches: list[NDArray[np.float32]]) -> float:
    """Return the processor's seconds of a patch."""
    started = time.process_time()
    for patch in patches:
        model.predict(patch)
    return (time.process_time() - started) / len(patches)


def measure_speed(files: list[Path], patches: list[NDArray[np.float32]], backend: str, rounds: int) -> dict[str, Any]:
    """Return the seconds of both files, and their ratio."""
    models = [load_model(file, device="cpu", backend=backend, threads=1) for file in files]
    for model in models:
        model.predict(patches[0])  # compiles
    times = np.array([[seconds_of(model, patches) for model in models] for _ in range(rounds)])
    full, small = times.min(axis=0)
    ratios = times[:, 0] / times[:, 1]
    return {
        "seconds": round(float(full), 3), "seconds_int8": round(float(small), 3), "ratio": round(float(full / small), 2),
        "ratios_of_rounds": [round(float(ratio), 2) for ratio in ratios],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("full", type=Path)
    parser.add_argument("int8", type=Path)
    parser.add_argument("dataset")
    parser.add_argument("--rounds", type=int, default=5)
    told = parser.parse_args()
    info = read_info(told.full)
    patches = read_patches(told.dataset, info.patch)
    loss = measure_loss(
        told.full.read_bytes(), told.int8.read_bytes(), read_tiles([(told.dataset, 1.0)], "val"), info
    )
    print(json.dumps({
        "patch": info.patch,
        "megabytes": [round(file.stat().st_size / 1e6, 2) for file in (told.full, told.int8)],
        "loss": vars(loss),
        **{backend: measure_speed([told.full, told.int8], patches, backend, told.rounds) for backend in BACKENDS},
    }, indent=1))


if __name__ == "__main__":
    main()
