"""The page that closes a training run: scores, curves, pictures, settings, and what to do next."""

from __future__ import annotations

import shlex
from typing import Any

import cv2
import numpy as np

from geofootprint.config import PRESETS, TrainConfig, to_dict
from geofootprint.learning.run_curves import draw_curves
from geofootprint.learning.run_folder import RunFolder
from geofootprint.learning.schedule import Counters
from geofootprint.learning.validation import Score
from geofootprint.output import atomic_path
from geofootprint.page import Figure, Section, build_page

__all__ = ["write_run_report"]

SHOWN = 25
"""Rows of the table of validations; of more, the best, the last and some between are shown."""

COLUMNS = {
    "epoch": "epoch", "step": "step", "seconds": "minutes", "object_f1": "object F1", "object_precision": "precision",
    "object_recall": "recall", "iou": "pixel IoU", "boundary_iou": "boundary IoU", "threshold": "threshold",
}


def write_run_report(folder: RunFolder, config: TrainConfig, best: Score, counters: Counters, *, ended: str) -> None:
    """Write ``report.html``; pictures are inside it.

    Parameters
    ----------
    folder : RunFolder
    config : TrainConfig
    best : Score
        Of the best validation.
    counters : Counters
        Where the run stands.
    ended : str
        A sentence: why the run is over.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    scores = folder.read("scores.csv")
    numbers = [
        (f"{best.object_f1:.3f}", "object F1"), (f"{best.iou:.3f}", "pixel IoU"), (f"{best.boundary_iou:.3f}", "boundary IoU"),
        (f"{best.threshold:.2f}", "threshold"), (f"{counters.best_epoch} of {counters.epoch}", "best epoch"),
        (f"{counters.elapsed / 60:.0f} min", f"{counters.step} steps of {config.data.batch} crops"),
    ]
    sections = [
        _next_steps(folder), _curves(folder, scores), *_samples(folder, counters.best_epoch), _table(scores, counters.best_epoch),
        *_events(folder), _settings(config),
    ]
    page = build_page(f"Training run {folder.path.name}", ended, sections, numbers=numbers)
    with atomic_path(folder.report) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _next_steps(folder: RunFolder) -> Section:
    best, model = shlex.quote(str(folder.best)), shlex.quote(str(folder.path / "model.onnx"))
    rows = [
        ["the model as a file", f"geofootprint export {best} -o {model}"],
        ["buildings of an orthophoto", f"geofootprint segment ortho.tif -m {model} -o buildings.gpkg"],
    ]
    return Section("What to do next", rows=rows)


def _curves(folder: RunFolder, scores: list[dict[str, str]]) -> Section:
    picture = draw_curves(folder.read("losses.csv"), scores)
    return Section("Curves", figures=[Figure(picture, "Scores at validations, and means of losses, over training steps.")])


def _samples(folder: RunFolder, epoch: int) -> list[Section]:
    picture = cv2.imread(str(folder.sample(epoch))) if folder.sample(epoch).exists() else None
    if picture is None:
        return []
    shown = np.ascontiguousarray(np.moveaxis(np.asarray(picture, np.uint8)[..., ::-1], -1, 0))
    caption = "Validation tiles with many buildings; the errors are those at the threshold."
    return [Section(f"Predictions of the best epoch, {epoch}", figures=[Figure(shown, caption, photo=True)])]


def _table(scores: list[dict[str, str]], best: int) -> Section:
    kept = set(np.linspace(0, len(scores) - 1, min(SHOWN, len(scores))).round().astype(int).tolist())
    rows = [
        [f"{row['epoch']} (best)" if row["epoch"] == str(best) else row["epoch"], *(_cell(row, key) for key in list(COLUMNS)[1:])]
        for number, row in enumerate(scores)
        if number in kept or row["epoch"] == str(best)
    ]
    text = (
        "Buildings are told apart by the contours of label and prediction and paired from an IoU of 0.5. Pixel IoU is at "
        "probability 0.5, all else at the threshold, which gives the highest pixel IoU."
    )
    return Section("Validations", text, header=list(COLUMNS.values()), rows=rows)


def _cell(row: dict[str, str], key: str) -> str:
    text = row.get(key, "")
    if key == "seconds":
        return f"{float(text) / 60:.1f}"
    return text if key == "step" or not text else f"{float(text):.3f}"


def _events(folder: RunFolder) -> list[Section]:
    rows = [[f"step {row['step']}: {row['event']}", row["text"]] for row in folder.read("events.csv")]
    return [Section("What the watchdog did", rows=rows[-SHOWN:])] if rows else []


def _settings(config: TrainConfig) -> Section:
    usual = _flat(to_dict(PRESETS.get(config.preset, TrainConfig())))
    rows = [
        [key, str(value), "" if usual.get(key) == value else f"preset: {usual.get(key)}"]
        for key, value in _flat(to_dict(config)).items()
    ]
    return Section("Settings", header=("setting", "value", "changed"), rows=rows)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
