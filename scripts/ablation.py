"""Train preset footprint without one of its ingredients at a time, and tabulate what each is worth.

Usage: python scripts/ablation.py WORK DATA -o OUT [--rows full no_gan ...] [--seeds 0 1 2] [--table]

WORK holds the tiles that train_default.sh cuts, DATA the orthophotos. A run trains on four places, for 8000 crops in
two epochs with networks of 16 filters, exports its last checkpoint, segments banepa_north and scores the polygons in
its area of interest. What is in OUT is not done again; --table only prints what is there, as Markdown.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

PLACES = ("banepa_south", "banepa_east:2", "zanzibar:0.7", "dhaka:1.5", "banepa_north")
"""Datasets and weights as of the default model; tiles of banepa_north are for validation alone."""

SMALL: dict[str, dict[str, Any]] = {
    "generator": {"width": 16}, "discriminator": {"width": 16}, "data": {"crops_per_epoch": 4000},
}
EPOCHS = 2

NO_DISTURBANCE = {"shadow": 0.0, "blur": 0.0, "noise": 0.0, "jpeg": 0.0}

ROWS: dict[str, tuple[str, dict[str, dict[str, Any]]]] = {
    "full": ("preset `footprint`", {}),
    "no_gan": ("`loss.adversarial = 0`: no discriminator", {"loss": {"adversarial": 0.0}}),
    "gan_early": (
        "`loss.adversarial_start = 0.2`, `adversarial_ramp = 0.2`: it sets in early",
        {"loss": {"adversarial_start": 0.2, "adversarial_ramp": 0.2}},
    ),
    "gan_strong": ("`loss.adversarial = 0.1`: five times its weight", {"loss": {"adversarial": 0.1}}),
    "no_spectral": (
        "`discriminator.spectral_norm = false`: batch normalisation instead", {"discriminator": {"spectral_norm": False}},
    ),
    "no_smooth": (
        "`discriminator.noise = 0`: it sees hard labels against soft predictions", {"discriminator": {"noise": 0.0}},
    ),
    "no_contour": ("`data.contour = false`: no contour channel", {"data": {"contour": False}}),
    "touch": ("`data.touch = true`: a touch channel more", {"data": {"touch": True}}),
    "no_dice": ("`loss.dice = 0`", {"loss": {"dice": 0.0}}),
    "no_l1": ("`loss.l1 = 0`", {"loss": {"l1": 0.0}}),
    "no_ema": ("`optimizer.ema = 0`", {"optimizer": {"ema": 0.0}}),
    "no_colour": (
        "`data.colour`, `shadow`, `blur`, `noise`, `jpeg` = 0", {"data": {"colour": 0.0, **NO_DISTURBANCE}},
    ),
    "no_disturb": ("`data.shadow`, `blur`, `noise`, `jpeg` = 0", {"data": NO_DISTURBANCE}),
    "no_scale": ("`data.scale = [1, 1]`: one ground sampling distance", {"data": {"scale": [1.0, 1.0]}}),
    "no_rotation": ("`data.rotation = 0`: symmetries of the square alone", {"data": {"rotation": 0.0}}),
    "no_d4": (
        "`data.rotation = 0`, `quarter_turns = false`: mirrored alone", {"data": {"rotation": 0.0, "quarter_turns": False}},
    ),
    "norm_channel": ('`generator.norm = "channel"`', {"generator": {"norm": "channel"}}),
    "norm_none": ('`generator.norm = "none"`', {"generator": {"norm": "none"}}),
    "transposed": ('`generator.upsampling = "transposed"`', {"generator": {"upsampling": "transposed"}}),
}
"""What each run changes, for people and in the configuration."""

Scores = dict[str, Any]

COLUMNS = {
    "iou": "IoU", "boundary_iou": "boundary IoU", "object_f1": "object F1", "polis_m": "PoLiS in m",
    "total_vertex_ratio": "vertices per true vertex", "merged": "merged",
}


def write_settings(changes: dict[str, dict[str, Any]], path: Path) -> None:
    """Write the small networks and one row's changes as TOML."""
    tables = {table: SMALL.get(table, {}) | changes.get(table, {}) for table in [*SMALL, *changes]}
    lines = ["compile = false"]
    for table, entries in tables.items():
        lines += [f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in entries.items())]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def run_row(row: str, seed: int, work: Path, data: Path, out: Path) -> None:
    """Train, export, segment and evaluate, unless that is done."""
    run = out / f"{row}.{seed}"
    scores = out / f"{run.name}.eval.json"
    if scores.exists():
        return
    settings = out / f"{row}.toml"
    write_settings(ROWS[row][1], settings)
    if not (run / "finished").exists():
        places = [str(work / place) for place in PLACES]
        _geofootprint(
            "train", *places, "-o", str(run), "--epochs", str(EPOCHS), "--config", str(settings), "--seed", str(seed)
        )
        (run / "finished").touch()
    model, footprints, place = run / "model.onnx", run / "buildings.gpkg", data / "banepa_north"
    _geofootprint("export", str(run / "last.ckpt"), "-o", str(model))
    _geofootprint("segment", str(place / "ortho.tif"), "-m", str(model), "-o", str(footprints))
    said = _geofootprint(
        "evaluate", str(footprints), str(place / "buildings.gpkg"), "--aoi", str(place / "aoi.geojson"), "--json"
    )
    scores.write_text(said, encoding="utf-8")


def _geofootprint(*arguments: str) -> str:
    command = [sys.executable, "-m", "geofootprint", "--progress", "none", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def tabulate(out: Path) -> str:
    """Return the means of all seeds as a Markdown table.

    With several seeds, their standard deviation; in brackets the mean difference from the whole preset with the same
    seeds, its twins.
    """
    lines = [f"| run | seeds | {' | '.join(COLUMNS.values())} |", f"|---|---|{'---|' * len(COLUMNS)}"]
    twins = _read_scores(out, "full")
    for row, (about, _) in ROWS.items():
        found = _read_scores(out, row)
        if found:
            cells = [_show({seed: scores[column] for seed, scores in found.items()}, twins, column) for column in COLUMNS]
            lines.append(f"| {about} | {len(found)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _read_scores(out: Path, row: str) -> dict[str, Scores]:
    paths = sorted(out.glob(f"{row}.*.eval.json"))
    return {path.name.split(".")[1]: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def _show(values: Scores, twins: dict[str, Scores], column: str) -> str:
    digits = 0 if all(isinstance(value, int) for value in values.values()) else 3
    text = f"{statistics.mean(values.values()):.{digits}f}"
    if len(values) > 1:
        text += f" ± {statistics.stdev(values.values()):.{digits}f}"
    differences = [value - twins[seed][column] for seed, value in values.items() if seed in twins]
    if any(differences):
        text += f" ({statistics.mean(differences):+.{digits}f})"
    return text


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--table", action="store_true", help="print what is there and train nothing")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for seed in [] if options.table else options.seeds:
        for row in options.rows:
            run_row(row, seed, options.work, options.data, options.out)
    print(tabulate(options.out))


if __name__ == "__main__":
    main()
