"""How soon preset footprint reaches a validation IoU, with and without what makes it fast.

Usage: python benchmarks/time_to_iou.py DATASET... [--minutes 5] [--marks 0.5 0.6 0.65 0.7] [--seed 0]

DATASETs are made by `geofootprint tile`, one of them with tiles of the split val; weights are written as of `geofootprint
train`. Two runs of the same length, one after the other: the preset as it is, and in float32 and not compiled.
Prints one JSON object: seconds until a validation first reached each mark (null if it did not), the best IoU, and
images a second. Seconds count from the first step, validations with them.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


def train(datasets: list[str], run: Path, options: argparse.Namespace, *extra: str) -> dict[str, Any]:
    """Train a run and return when it reached which IoU."""
    command = [sys.executable, "-m", "geofootprint", "--progress", "none", "train", *datasets, "-o", str(run), "--json"]
    command += ["--minutes", str(options.minutes), "--seed", str(options.seed), *extra]
    result = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    with open(run / "scores.csv", newline="", encoding="utf-8") as file:
        scores = [(float(row["seconds"]), float(row["iou"])) for row in csv.DictReader(file)]
    reached = {
        f"{mark:g}": next((seconds for seconds, iou in scores if iou >= mark), None) for mark in options.marks
    }
    return {
        "seconds_to": reached, "best_iou": round(max(iou for _, iou in scores), 4), "steps": result["steps"],
        "images_per_s": round(result["images_per_second"], 2),
    }


def main() -> None:
    """Train both and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("datasets", nargs="+")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--marks", type=float, nargs="+", default=[0.5, 0.6, 0.65, 0.7])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        slow = folder / "slow.toml"
        slow.write_text("compile = false\n", encoding="utf-8")
        ours = train(options.datasets, folder / "ours", options)
        plain = train(options.datasets, folder / "plain", options, "--config", str(slow), "--precision", "32")
    print(json.dumps({
        "claim": "bf16 and compiling bring an IoU sooner", "minutes": options.minutes, "seed": options.seed,
        "cpus": os.cpu_count(), "footprint": ours, "float32_not_compiled": plain,
        "holds": ours["best_iou"] >= plain["best_iou"],
    }))


if __name__ == "__main__":
    main()
