"""The training loop: datasets in, a run folder with checkpoints, losses, scores and pictures out.

A run folder::

    RUN/config.toml        every setting, resolved
    RUN/losses.csv         means of the losses every few steps
    RUN/scores.csv         one row a validation
    RUN/samples/NNNN.png   image, label and prediction of some validation tiles
    RUN/last.ckpt          what `resume` goes on from
    RUN/best.ckpt          the weights with the highest validation IoU
"""

from __future__ import annotations

import csv
import math
import os
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric

from geofootprint.config import TrainConfig, from_dict, load_config, to_dict, to_toml
from geofootprint.errors import DatasetError, MissingFileError, ModelError, OptionError, OutputError
from geofootprint.learning.checkpoint import load_checkpoint, save_checkpoint
from geofootprint.learning.dataset import Batch, BatchStream, TileSet, read_tiles
from geofootprint.learning.pix2pix import CLASSES, Pix2Pix
from geofootprint.learning.samples import write_samples
from geofootprint.learning.validation import Score, validate
from geofootprint.progress import SILENT, Progress

__all__ = ["TrainResult", "train"]

WARM_UP = 100
"""Steps in which the learning rate rises to its highest."""

LOG_EVERY = 20
"""Steps whose losses make one row of losses.csv."""

SAVE_SECONDS = 60.0
"""A killed run loses at most so much."""

Dataset = str | os.PathLike[str] | tuple[str | os.PathLike[str], float]


@dataclass(frozen=True)
class TrainResult:
    """What a training run came to.

    Attributes
    ----------
    run, best, last : str
        The run's folder and its checkpoints.
    iou, f1 : float
        Best validation scores of buildings at probability 0.5, and what belongs to them.
    threshold : float
        Probability that gave the highest IoU then.
    epochs, steps : int
        Validations and steps done, of earlier parts of a resumed run too.
    images_per_second : float
        Crops a second while training, validation left out, in this part of the run.
    """

    run: str
    best: str
    last: str
    iou: float
    f1: float
    threshold: float
    epochs: int
    steps: int
    images_per_second: float


@dataclass
class _Counters:
    """Where a run stands; all of it is in a checkpoint."""

    step: int = 0
    epoch: int = 0
    elapsed: float = 0.0
    best_iou: float = -1.0
    best_f1: float = 0.0
    best_threshold: float = 0.5


def train(
    datasets: Dataset | Sequence[Dataset],
    out: str | os.PathLike[str],
    *,
    preset: str = "footprint",
    config: str | os.PathLike[str] | None = None,
    epochs: int | None = None,
    minutes: float | None = None,
    resume: bool = False,
    init_from: str | os.PathLike[str] | None = None,
    device: str = "auto",
    precision: str = "auto",
    devices: int = 1,
    seed: int = 0,
    progress: Progress = SILENT,
) -> TrainResult:
    """Fit Pix2Pix to one or more datasets.

    Parameters
    ----------
    datasets : path, (path, weight), or a sequence of them
        Folders made by `geofootprint.tiling.tile`; with a weight of 2, crops are taken twice as often.
    out : path
        Folder of the run; parents are made.
    preset : str
        ``footprint`` or ``pix2pix``, see `geofootprint.config.PRESETS`.
    config : path, optional
        TOML file with settings that differ from the preset's.
    epochs : int, optional
        Length of the run; the configuration's by default.
    minutes : float, optional
        Train against the clock instead, the learning rate's schedule with it.
    resume : bool
        Go on from ``last.ckpt`` in `out`, with its settings.
    init_from : path, optional
        Checkpoint whose generator this run starts from, with its averaged weights; for a new region, or more data.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    precision : str
        ``auto``, ``32``, ``bf16`` or ``16``; auto takes bf16 where the hardware computes in it.
    devices : int
        Number of devices, or of processes on a CPU.
    seed : int
        Of weights, crops and noise.
    progress : Progress
        Told of each step.

    Returns
    -------
    TrainResult

    Raises
    ------
    OptionError, MissingFileError, DatasetError, ModelError, OutputError
        If an option, a dataset, the checkpoint or the folder cannot be used.
    """
    if epochs is not None and minutes is not None:
        raise OptionError("Both --epochs and --minutes are given; choose one.")
    if resume and init_from is not None:
        raise OptionError("Both --resume and --init-from are given; choose one.")
    for name, value in (("epochs", epochs), ("minutes", minutes)):
        if value is not None and value <= 0:
            raise OptionError(f"--{name} must be more than 0, not {value:g}.")
    run = Path(out)
    state = _load_run(run) if resume else None
    settings = from_dict(state["config"], name=str(run / "last.ckpt")) if state else load_config(preset, config)
    _make_folder(run, settings, resume=resume)

    fabric = _make_fabric(device, precision, devices)
    fabric.launch()
    fabric.seed_everything(seed, verbose=False)
    folders = [item if isinstance(item, tuple) else (item, 1.0) for item in _as_list(datasets)]
    tiles, validation_tiles = read_tiles(folders, "train"), read_tiles(folders, "val")
    networks = Pix2Pix(settings, tiles.bands, fabric)
    counters = _Counters()
    if state:
        _check_same_data(state, tiles, run)
        networks.load_state(state["networks"])
        counters = _Counters(**state["counters"])
        torch.set_rng_state(state["rng"])
    elif init_from is not None:
        start = load_checkpoint(init_from)["networks"]
        networks.load_generator(start["generator_ema"] or start["generator"], str(init_from))
    length = _Length(settings, tiles, epochs, minutes)
    batches = BatchStream(
        tiles, settings.data, seed=seed, first=counters.step * settings.data.batch,
        rank=fabric.global_rank, world=fabric.world_size,
    )
    loop = _Loop(run, settings, fabric, networks, tiles, validation_tiles, counters, length, progress)
    try:
        return loop.go(batches)
    finally:
        batches.close()


def _as_list(datasets: Dataset | Sequence[Dataset]) -> list[Dataset]:
    if isinstance(datasets, (str, os.PathLike)) or (isinstance(datasets, tuple) and isinstance(datasets[1], (int, float))):
        return [datasets]
    return list(datasets)  # type: ignore[arg-type]


class _Length:
    """How long a run is and how far it has come, by steps or by the clock."""

    def __init__(self, config: TrainConfig, tiles: TileSet, epochs: int | None, minutes: float | None) -> None:
        crops = config.data.crops_per_epoch or max(1000, tiles.pixels // config.data.patch**2)
        self.steps_per_epoch = max(1, crops // config.data.batch)
        self.steps = (epochs or config.epochs) * self.steps_per_epoch
        self.seconds = minutes * 60 if minutes else None

    def share(self, counters: _Counters) -> float:
        """Return the share of the run that is done, from 0 to 1."""
        done = counters.elapsed / self.seconds if self.seconds else counters.step / self.steps
        return min(1.0, done)

    def rate(self, counters: _Counters, schedule: str) -> float:
        """Return the learning rate's share of its highest."""
        share = self.share(counters)
        if schedule == "linear":
            return min(1.0, 2 * (1 - share))
        warm = min(1.0, (counters.step + 1) / WARM_UP)
        return warm * max(0.01, 0.5 * (1 + math.cos(math.pi * share)))


class _Loop:
    """The steps of a run, and what it writes on the way."""

    def __init__(
        self, run: Path, config: TrainConfig, fabric: Fabric, networks: Pix2Pix, tiles: TileSet,
        validation_tiles: TileSet, counters: _Counters, length: _Length, progress: Progress,
    ) -> None:
        self.run, self.config, self.fabric, self.networks = run, config, fabric, networks
        self.tiles, self.validation_tiles = tiles, validation_tiles
        self.counters, self.length, self.progress = counters, length, progress
        self.saved_at = time.monotonic()
        self.trained_seconds = 0.0
        self.trained_crops = 0

    def go(self, batches: BatchStream) -> TrainResult:
        """Train until the run's length is reached."""
        counters, sums = self.counters, defaultdict[str, float](float)
        for batch in batches:
            share = self.length.share(counters)
            self.progress.update("train", round(share * self.length.steps), self.length.steps)
            if share >= 1:
                break
            started = time.monotonic()
            self.networks.set_rate(self.length.rate(counters, self.config.optimizer.schedule))
            adversarial = self.config.loss.adversarial > 0 and share >= self.config.loss.adversarial_start
            losses = self.networks.step(self._to_device(batch), adversarial=adversarial)
            counters.step += 1
            for name, value in losses.items():
                sums[name] += float(value) / LOG_EVERY
            self._count_time(started)
            if counters.step % LOG_EVERY == 0:
                self._log(sums)
                sums.clear()
            if counters.step % self.length.steps_per_epoch == 0:
                self._end_epoch()
            elif time.monotonic() - self.saved_at > SAVE_SECONDS:
                self._save("last.ckpt")
        if counters.step % self.length.steps_per_epoch or counters.epoch == 0:
            self._end_epoch()
        return self._result()

    def _to_device(self, batch: Batch) -> Batch:
        to = self.fabric.to_device
        return Batch(to(batch.image), to(batch.target), to(batch.valid))

    def _count_time(self, started: float) -> None:
        seconds = time.monotonic() - started
        self.counters.elapsed += seconds
        self.trained_seconds += seconds
        self.trained_crops += self.config.data.batch

    def _log(self, means: Mapping[str, float]) -> None:
        bad = [name for name, value in means.items() if not math.isfinite(value)]
        if bad:
            raise ModelError(
                f"The loss '{bad[0]}' is not finite at step {self.counters.step}; lower optimizer.learning_rate "
                f"in a --config file and go on from {self.run / 'last.ckpt'} with --resume."
            )
        names = ("bce", "dice", "contour", "l1", "adversarial", "discriminator_real", "discriminator_fake")
        row = {"step": self.counters.step, "epoch": self.counters.epoch, "seconds": round(self.counters.elapsed, 1)}
        row |= {name: f"{means[name]:.5f}" if name in means else "" for name in names}
        self._append("losses.csv", row)

    def _append(self, name: str, row: Mapping[str, Any]) -> None:
        if self.fabric.global_rank != 0:
            return
        path = self.run / name
        new = not path.exists()
        with open(path, "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)

    def _end_epoch(self) -> None:
        """Validate, keep the best, draw samples; the clock counts it, or a run of N minutes would last longer."""
        started, counters = time.monotonic(), self.counters
        counters.epoch += 1
        score = validate(self.networks.predictor, self.validation_tiles, self.fabric)
        self._append("scores.csv", {
            "epoch": counters.epoch, "step": counters.step, "seconds": round(counters.elapsed, 1),
            **{name: round(value, 4) for name, value in asdict(score).items()},
        })
        if self.fabric.global_rank == 0:
            write_samples(self.run / "samples" / f"{counters.epoch:04d}.png", self.networks.predictor, self.validation_tiles, self.fabric)
        counters.elapsed += time.monotonic() - started
        if score.iou > counters.best_iou:
            counters.best_iou, counters.best_f1, counters.best_threshold = score.iou, score.f1, score.threshold
            self._save("best.ckpt", score)
        self._save("last.ckpt", score)

    def _save(self, name: str, score: Score | None = None) -> None:
        self.saved_at = time.monotonic()
        if self.fabric.global_rank == 0:
            save_checkpoint(self.run / name, self._state(score))

    def _state(self, score: Score | None) -> dict[str, Any]:
        return {
            "config": to_dict(self.config),
            "counters": asdict(self.counters),
            "networks": self.networks.state(),
            "rng": torch.get_rng_state(),
            "score": asdict(score) if score else None,
            "data": {
                "bands": self.tiles.bands, "dtype": "uint8", "gsd": self.tiles.gsd, "classes": list(CLASSES),
                "sources": list(self.tiles.sources), "tiles": len(self.tiles.tiles),
            },
        }

    def _result(self) -> TrainResult:
        counters = self.counters
        return TrainResult(
            run=str(self.run), best=str(self.run / "best.ckpt"), last=str(self.run / "last.ckpt"),
            iou=counters.best_iou, f1=counters.best_f1, threshold=counters.best_threshold,
            epochs=counters.epoch, steps=counters.step,
            images_per_second=self.trained_crops / self.trained_seconds if self.trained_seconds else 0.0,
        )


def _load_run(run: Path) -> dict[str, Any]:
    if not (run / "last.ckpt").is_file():
        raise MissingFileError(f"{run / 'last.ckpt'} does not exist; there is no run to resume, leave --resume out to start one.")
    return load_checkpoint(run / "last.ckpt")


def _check_same_data(state: Mapping[str, Any], tiles: TileSet, run: Path) -> None:
    before = state["data"]
    if (before["bands"], before["tiles"]) != (tiles.bands, len(tiles.tiles)):
        raise DatasetError(
            f"{run} was trained on {before['tiles']} tiles of {before['bands']} bands, but the datasets have "
            f"{len(tiles.tiles)} of {tiles.bands}; resume with the same datasets."
        )


def _make_folder(run: Path, config: TrainConfig, *, resume: bool) -> None:
    if not resume and (run / "last.ckpt").exists():
        raise OutputError(f"{run} already holds a run; go on with it by --resume, or choose another folder.")
    try:
        (run / "samples").mkdir(parents=True, exist_ok=True)
        (run / "config.toml").write_text(to_toml(config), encoding="utf-8")
        if not resume:
            for name in ("losses.csv", "scores.csv"):
                (run / name).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{run} cannot be written ({error.strerror}); choose another folder.") from error


def _make_fabric(device: str, precision: str, devices: int) -> Fabric:
    if device not in ("auto", "cpu", "cuda"):
        raise OptionError(f"There is no device '{device}'; use auto, cpu or cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise OptionError("No CUDA device is available here; use --device cpu, or install a torch with CUDA and its driver.")
    accelerator = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    names = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
    if precision == "auto":
        precision = "bf16" if _computes_bf16(accelerator) else "32"
    if precision not in names:
        raise OptionError(f"There is no precision '{precision}'; use auto, 32, bf16 or 16.")
    plugin: Any = names[precision]
    try:
        return Fabric(accelerator=accelerator, devices=devices, precision=plugin)
    except (ValueError, RuntimeError) as error:
        raise OptionError(f"{devices} {accelerator} device(s) cannot be used: {error}") from error


def _computes_bf16(accelerator: str) -> bool:
    if accelerator == "cuda":
        return torch.cuda.is_bf16_supported()
    # torch tells these only by private names; without them float32 is right everywhere.
    checks = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
    return any(check is not None and check() for check in checks)
