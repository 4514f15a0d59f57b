"""The training loop: datasets in, a run folder with checkpoints, losses, scores and pictures out."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric

from geofootprint.config import TrainConfig, from_dict, load_config, to_dict
from geofootprint.errors import Cancelled, DatasetError, ModelError, OptionError
from geofootprint.learning.batches import Batch
from geofootprint.learning.checkpoint import load_checkpoint, save_checkpoint, scaling_of
from geofootprint.learning.compilation import can_compile
from geofootprint.learning.dataset import TileSet, read_tiles
from geofootprint.learning.device_batches import open_stream
from geofootprint.learning.devices import is_first_process, launch, make_fabric
from geofootprint.learning.interrupts import cancelled_by_interrupt
from geofootprint.learning.networks import window_statistics
from geofootprint.learning.pix2pix import LOSSES, Pix2Pix
from geofootprint.learning.run_folder import RunFolder
from geofootprint.learning.samples import write_samples
from geofootprint.learning.schedule import Counters, Schedule
from geofootprint.learning.validation import Score, validate
from geofootprint.progress import SILENT, Progress

__all__ = ["TrainResult", "train"]

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
        Crops a second while training, validation left out, in this part of the run; 0 where it had no step to do.
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


def train(
    datasets: Dataset | Sequence[Dataset],
    out: str | os.PathLike[str],
    *,
    preset: str | None = None,
    config: str | os.PathLike[str] | None = None,
    epochs: int | None = None,
    minutes: float | None = None,
    resume: bool = False,
    init_from: str | os.PathLike[str] | None = None,
    device: str = "auto",
    precision: str = "auto",
    devices: int = 1,
    seed: int | None = None,
    progress: Progress = SILENT,
) -> TrainResult:
    """Fit Pix2Pix to one or more datasets.

    Parameters
    ----------
    datasets : path, (path, weight), or a sequence of them
        Folders made by `geofootprint.tiling.tile`; with a weight of 2, crops are taken twice as often.
    out : path
        Folder of the run, see `geofootprint.learning.run_folder`; parents are made.
    preset : str, optional
        ``footprint`` or ``pix2pix``, see `geofootprint.config.PRESETS`; by default the one of `config`, or else
        ``footprint``.
    config : path, optional
        TOML file with settings that differ from the preset's.
    epochs : int, optional
        Length of the run; the configuration's by default.
    minutes : float, optional
        Train against the clock instead, the learning rate's schedule with it. Validations count, but for the last.
    resume : bool
        Go on from ``last.ckpt`` in `out`, with its settings; another length may be given.
    init_from : path, optional
        Checkpoint whose generator this run starts from, with its averaged weights; for a new region, or more data.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    precision : str
        ``auto``, ``32``, ``bf16`` or ``16``; auto takes bf16 where the hardware computes in it.
    devices : int
        Number of devices, or of processes on a CPU; they share each batch.
    seed : int, optional
        Of weights, crops and noise; the configuration's by default.
    progress : Progress
        Told of each step.

    Raises
    ------
    OptionError, MissingFileError, DatasetError, ModelError, OutputError
        If an option, a dataset, the checkpoint or the folder cannot be used.
    Cancelled
        If `progress` raises it, or on Ctrl+C; the run is saved and can be resumed.
    """
    _check_options(resume=resume, preset=preset, config=config, init_from=init_from, epochs=epochs, minutes=minutes)
    folder = RunFolder(out)
    folder.check(resume=resume)
    state = load_checkpoint(folder.last) if resume else None
    start = None if init_from is None else load_checkpoint(init_from)
    settings = load_config(preset, config) if state is None else _settings_of(state, folder, seed)
    settings = _with_options(settings, epochs=epochs, minutes=minutes, seed=seed)
    fabric = make_fabric(device=device, precision=precision, devices=devices)
    _check_batch(settings, fabric)
    folders = [item if isinstance(item, tuple) else (item, 1.0) for item in _as_list(datasets)]
    scaling = None if state is None else scaling_of(state)
    tiles = read_tiles(folders, "train", scaling=scaling, progress=progress)
    validation_tiles = read_tiles(folders, "val", scaling=tiles.scaling, progress=progress)
    if state is not None:
        _check_same_data(state, tiles, folder)

    launch(fabric)
    torch.manual_seed(settings.seed)
    networks = Pix2Pix(settings, tiles.bands, fabric)
    _warn_of_statistics(networks, tiles.bands, progress)
    loop = _Loop(folder, settings, fabric, networks, tiles, validation_tiles)
    if state is not None:
        loop.take_up(state)
    elif start is not None:
        networks.start_from(start, str(init_from))
    else:
        networks.start_pretrained()
    with loop.folder_opened(), cancelled_by_interrupt(progress if fabric.is_global_zero else SILENT) as watched:
        return loop.go(watched)


def _check_options(*, resume: bool, epochs: int | None, minutes: float | None, **others: Any) -> None:
    if epochs is not None and minutes is not None:
        raise OptionError("Both --epochs and --minutes are given; choose one.")
    for name, value in (("epochs", epochs), ("minutes", minutes)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise OptionError(f"--{name} must be more than 0, not {value:g}.")
    for name, value in others.items():
        if resume and value is not None:
            raise OptionError(f"Both --resume and --{name.replace('_', '-')} are given; a resumed run keeps its settings.")


def _settings_of(state: Mapping[str, Any], folder: RunFolder, seed: int | None) -> TrainConfig:
    settings = from_dict(state["config"], name=str(folder.last))
    if seed not in (None, settings.seed):
        raise OptionError(f"--seed {seed} is not that of the run in {folder.path}, {settings.seed}; leave it out.")
    return settings


def _with_options(
    config: TrainConfig, *, epochs: int | None, minutes: float | None, seed: int | None
) -> TrainConfig:
    if seed is not None and seed < 0:
        raise OptionError(f"--seed must be at least 0, not {seed}.")
    if seed is not None:
        config = replace(config, seed=seed)
    if epochs is not None:
        config = replace(config, epochs=epochs, minutes=0.0)
    if minutes is not None:
        config = replace(config, minutes=float(minutes))
    return config


def _as_list(datasets: Dataset | Sequence[Dataset]) -> Sequence[Dataset]:
    if isinstance(datasets, str | os.PathLike):
        return [datasets]
    if isinstance(datasets, tuple) and len(datasets) == 2 and isinstance(datasets[1], int | float):
        return [(datasets[0], datasets[1])]
    return datasets


def _check_batch(config: TrainConfig, fabric: Fabric) -> None:
    if config.data.batch % fabric.world_size:
        raise OptionError(
            f"A batch of {config.data.batch} crops cannot be shared by {fabric.world_size} devices; change data.batch "
            "in a --config file, or --devices."
        )


def _check_same_data(state: Mapping[str, Any], tiles: TileSet, folder: RunFolder) -> None:
    before = state["data"]
    if (before["bands"], before["tiles"]) != (tiles.bands, len(tiles.tiles)):
        raise DatasetError(
            f"{folder.path} was trained on {before['tiles']} tiles of {before['bands']} bands, but the datasets have "
            f"{len(tiles.tiles)} of {tiles.bands}; resume with the same datasets."
        )
    if before["dtype"] != tiles.dtype:
        raise DatasetError(
            f"{folder.path} was trained on {before['dtype']} images, but the datasets hold {tiles.dtype}; resume with the "
            "same datasets."
        )


def _warn_of_statistics(networks: Pix2Pix, bands: int, progress: Progress) -> None:
    found = window_statistics(networks.predictor, bands)
    if found and is_first_process():
        progress.warn(
            f"The generator {networks.config.generator.name} uses {' and '.join(found)} over the whole patch: what it says "
            "of a pixel changes with the patch around it, and seams may show; unet and smp:unet:resnet34 do not."
        )


class _Loop:
    """The steps of a run, and what it writes on the way."""

    def __init__(
        self,
        folder: RunFolder,
        config: TrainConfig,
        fabric: Fabric,
        networks: Pix2Pix,
        tiles: TileSet,
        validation_tiles: TileSet,
    ) -> None:
        self.folder, self.config, self.fabric, self.networks = folder, config, fabric, networks
        self.tiles, self.validation_tiles = tiles, validation_tiles
        self.schedule = Schedule(config, tiles.pixels)
        self.counters = Counters()
        self.score: Score | None = None
        self.means = _Means()
        self.ticked_at = self.saved_at = time.monotonic()
        self.trained_seconds = 0.0
        self.trained_crops = 0

    def take_up(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.networks.load_state(state["networks"], str(self.folder.last))
        self.counters = Counters(**{"validated": state["counters"]["step"], **state["counters"]})
        self.score = Score(**state["score"]) if state["score"] else None

    def folder_opened(self) -> AbstractContextManager[None]:
        """Make the run's folder, in the one process that writes there."""
        counters = self.counters
        opened = self.folder.opened(self.config, step=counters.step, validated=counters.validated)
        return opened if self.fabric.is_global_zero else nullcontext()

    def go(self, progress: Progress) -> TrainResult:
        """Train until the run's length is reached; saves what there is when that is cancelled."""
        first = self.counters.step * self.config.data.batch
        rank, world = self.fabric.global_rank, self.fabric.world_size
        stream = open_stream(
            self.tiles, self.config.data, self.fabric.device, seed=self.config.seed, first=first, rank=rank, world=world
        )
        self.ticked_at = self.saved_at = time.monotonic()
        if self.config.compile and self.schedule.is_long and can_compile(self.fabric):
            self.networks.compile()
        with stream as batches:
            try:
                self._train(batches, progress)
            except Cancelled as error:
                self._save(self.folder.last)
                raise Cancelled(f"Cancelled; geofootprint train --resume goes on with {self.folder.path}.") from error
        return self._result()

    def _train(self, batches: Iterator[Batch], progress: Progress) -> None:
        schedule, counters = self.schedule, self.counters
        while True:
            self._report(progress)
            if schedule.is_validation_due(counters):
                self._end_epoch(progress)
            elif schedule.is_over(counters):
                return
            else:
                self._step(next(batches))
                if time.monotonic() - self.saved_at > SAVE_SECONDS:
                    self._save(self.folder.last)

    def _report(self, progress: Progress) -> None:
        """Say how far the run is; with several processes, the first one's clock and wish to stop go for all."""
        stop: Cancelled | None = None
        try:
            progress.update("train", *self.schedule.done(self.counters))
        except Cancelled as error:
            stop = error
        if self.fabric.world_size > 1:
            stop, self.counters.elapsed = self.fabric.broadcast((stop, self.counters.elapsed))
        if stop is not None:
            raise stop

    def _step(self, batch: Batch) -> None:
        counters = self.counters
        self.networks.set_rate(self.schedule.rate(counters))
        # Noise and dropout of a step are the same in every run of one seed, resumed or not, as its crops are.
        torch.manual_seed(_seed_of_step(self.config.seed, counters.step, self.fabric.global_rank))
        to = self.fabric.to_device
        losses = self.networks.step(
            Batch(to(batch.image), to(batch.target), to(batch.valid)), adversarial=self.schedule.adversarial(counters)
        )
        self.means.add(losses)
        counters.step += 1
        if counters.step % LOG_EVERY == 0:
            self._log()
        self.trained_seconds += self._tick()
        self.trained_crops += self.config.data.batch

    def _tick(self) -> float:
        """Add the time since the last call to the run's, and return it."""
        now = time.monotonic()
        seconds, self.ticked_at = now - self.ticked_at, now
        self.counters.elapsed += seconds
        return seconds

    def _log(self) -> None:
        self._require_finite()
        means = self.means.take(self.fabric)
        row = {"step": self.counters.step, "epoch": self.counters.epoch, "seconds": round(self.counters.elapsed, 1)}
        if means and self.fabric.is_global_zero:
            self.folder.append("losses.csv", row | {name: means.get(name, "") for name in LOSSES})

    def _require_finite(self) -> None:
        bad = self.means.not_finite()
        if bad is not None:
            raise ModelError(
                f"The loss '{bad}' is not finite at step {self.counters.step}; lower optimizer.learning_rate in a --config "
                "file, or try --precision 32."
            )

    def _end_epoch(self, progress: Progress) -> None:
        """Validate, keep the best, draw samples; the clock counts it, or a run of N minutes would last longer."""
        self._log()
        self.trained_seconds += self._tick()  # what the device had still to do
        counters = self.counters
        # Cancelled here, some processes would wait for others.
        told = progress if self.fabric.world_size == 1 else SILENT
        score = validate(
            self.networks.predictor, self.validation_tiles, self.fabric, classes=self.config.data.classes, progress=told
        )
        counters.validation_seconds = self._tick()
        counters.epoch += 1
        counters.validated, counters.validated_at = counters.step, counters.elapsed
        self.score = score
        better = score.iou > counters.best_iou
        if better:
            counters.best_iou, counters.best_f1, counters.best_threshold = score.iou, score.f1, score.threshold
        if self.fabric.is_global_zero:
            self._write_scores(score)
        if better:
            self._save(self.folder.best)
        self._save(self.folder.last)

    def _write_scores(self, score: Score) -> None:
        counters = self.counters
        place = {"epoch": counters.epoch, "step": counters.step, "seconds": round(counters.elapsed, 1)}
        self.folder.append("scores.csv", place | {name: round(value, 4) for name, value in asdict(score).items()})
        write_samples(
            self.folder.sample(counters.epoch), self.networks.predictor, self.validation_tiles, self.fabric,
            classes=self.config.data.classes,
        )

    def _save(self, path: Path) -> None:
        self._require_finite()  # a checkpoint of such weights would be the end of the run
        if self.fabric.is_global_zero:
            save_checkpoint(path, self._state())
        self._tick()
        self.saved_at = time.monotonic()

    def _state(self) -> dict[str, Any]:
        tiles = self.tiles
        return {
            "config": to_dict(self.config),
            "counters": asdict(self.counters),
            "networks": self.networks.state(),
            "score": asdict(self.score) if self.score else None,
            "data": {
                "bands": tiles.bands, "dtype": tiles.dtype, "gsd": tiles.gsd, "classes": list(self.config.data.classes),
                "scaling": asdict(tiles.scaling) if tiles.scaling else None,
                "sources": list(tiles.sources), "tiles": len(tiles.tiles),
            },
        }

    def _result(self) -> TrainResult:
        counters, folder = self.counters, self.folder
        return TrainResult(
            run=str(folder.path), best=str(folder.best), last=str(folder.last),
            iou=counters.best_iou, f1=counters.best_f1, threshold=counters.best_threshold,
            epochs=counters.epoch, steps=counters.step,
            images_per_second=self.trained_crops / self.trained_seconds if self.trained_seconds else 0.0,
        )


class _Means:
    """Means of losses, summed on their device: to look at each would make it wait for the next step's commands."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[torch.Tensor, int]] = {}

    def add(self, losses: Mapping[str, torch.Tensor]) -> None:
        for name, value in losses.items():
            total, count = self._sums.get(name, (torch.zeros_like(value), 0))
            self._sums[name] = total + value, count + 1

    def not_finite(self) -> str | None:
        """Return the name of a loss that was not finite."""
        return next((name for name, (total, _) in self._sums.items() if not math.isfinite(float(total))), None)

    def take(self, fabric: Fabric) -> dict[str, float]:
        """Return the means over all processes, rounded, and begin anew."""
        means = {}
        for name, (total, count) in self._sums.items():
            shared: Any = fabric.all_reduce(total, reduce_op="mean")
            means[name] = round(float(shared) / count, 5)
        self._sums.clear()
        return means


def _seed_of_step(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0])
