"""The training loop: datasets in, a run folder with checkpoints, losses, scores and pictures out."""

from __future__ import annotations

import math
import os
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from geofootprint.config import LARGEST_BATCH, LARGEST_SEED, TrainConfig, from_dict, load_config, to_dict
from geofootprint.errors import Cancelled, DatasetError, ModelError, OptionError
from geofootprint.learning.batches import Batch
from geofootprint.learning.checkpoint import load_checkpoint, save_checkpoint, scalings_of
from geofootprint.learning.compilation import can_compile
from geofootprint.learning.dataset import TileSet, read_tiles
from geofootprint.learning.device_batches import open_stream
from geofootprint.learning.devices import is_first_process, launch, make_fabric
from geofootprint.learning.interrupts import cancelled_by_interrupt
from geofootprint.learning.memory import find_batch, is_out_of_memory
from geofootprint.learning.networks import window_statistics
from geofootprint.learning.pix2pix import LOSSES, Pix2Pix
from geofootprint.learning.run_curves import draw_curves
from geofootprint.learning.run_folder import RunFolder
from geofootprint.learning.run_report import write_run_report
from geofootprint.learning.samples import write_samples
from geofootprint.learning.schedule import Counters, Schedule
from geofootprint.learning.start import read_start
from geofootprint.learning.tensorboard import TensorBoard
from geofootprint.learning.validation import Score, Validation
from geofootprint.learning.watchdog import BAD_IN_A_ROW, Remedy, Watchdog, is_worth_telling
from geofootprint.progress import SILENT, Progress
from geofootprint.report import write_png

__all__ = ["TrainResult", "train"]

LOG_EVERY = 20
"""Steps whose losses make one row of losses.csv."""

SAVE_SECONDS = 60.0
"""A killed run loses at most so much."""

JUDGEMENT = ("adversarial", "discriminator_real", "discriminator_fake")
"""Losses that show whether the generator or the discriminator wins."""

SENTENCES = {
    Remedy.PAUSE: "The discriminator has won and learns no more until the generator has caught up",
    Remedy.GO_ON: "The generator has caught up, and the discriminator learns again",
    Remedy.RESET: "The generator has not caught up; the discriminator begins anew with random weights",
}

Dataset = str | os.PathLike[str] | tuple[str | os.PathLike[str], float]


@dataclass(frozen=True)
class TrainResult:
    """What a training run came to.

    Attributes
    ----------
    run, best, last : str
        The run's folder and its checkpoints.
    object_f1, boundary_iou, iou, f1 : float
        Scores of the best validation, which is the one with the highest object F1 in steps of 0.005 and, of equal ones,
        the highest IoU: those of buildings and of outlines at `threshold`, those of pixels at probability 0.5.
    threshold : float
        Probability that gave the highest IoU then.
    best_epoch : int
        The number of that validation.
    epochs, steps : int
        Validations and steps done, of earlier parts of a resumed run too.
    images_per_second : float
        Crops a second while training, validation left out, in this part of the run; 0 where it had no step to do.
    batch : int
        Crops to a step.
    ended : str
        Why the run is over.
    report : str
        A page with curves, scores and samples.
    """

    run: str
    best: str
    last: str
    object_f1: float
    boundary_iou: float
    iou: float
    f1: float
    threshold: float
    best_epoch: int
    epochs: int
    steps: int
    images_per_second: float
    batch: int
    ended: str
    report: str


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
    batch: int | str | None = None,
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
        Checkpoint, model file (.onnx) or ``default``, the model that comes along, whose generator this run starts from;
        for a new region, or more data. Settings of the generator and channels that `config` leaves open are its.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    precision : str
        ``auto``, ``32``, ``bf16`` or ``16``; auto takes bf16 where the hardware computes in it.
    devices : int
        Number of devices, or of processes on a CPU; they share each batch.
    batch : int or "auto", optional
        Crops to a step, over all devices; the configuration's by default. ``auto`` takes as many as fit into memory.
    seed : int, optional
        Of weights, crops and noise; the configuration's by default.
    progress : Progress
        Told of each step.

    Raises
    ------
    OptionError, MissingFileError, DatasetError, ModelError, OutputError
        If an option, a dataset, the checkpoint or the folder cannot be used; memory runs out (the message says which
        batch would fit); or gradients stay not finite, however often the run goes back.
    Cancelled
        If `progress` raises it, or on Ctrl+C; the run is saved and can be resumed.
    """
    _check_options(resume=resume, preset=preset, config=config, init_from=init_from, epochs=epochs, minutes=minutes, batch=batch)
    folder = RunFolder(out)
    folder.check(resume=resume)
    state = _load_last(folder) if resume else None
    start = None if init_from is None else read_start(init_from)
    given = load_config(preset, config, start.settings if start else None)
    settings = given if state is None else _settings_of(state, folder, seed)
    settings = _with_options(settings, epochs=epochs, minutes=minutes, seed=seed, batch=batch)
    fabric = make_fabric(device=device, precision=precision, devices=devices)
    alone = make_fabric(device=device, precision=precision)
    _check_batch(settings, fabric)
    folders = [item if isinstance(item, tuple) else (item, 1.0) for item in _as_list(datasets)]
    scalings = scalings_of(state) if state else start.scalings if start else {}
    tiles = read_tiles(folders, "train", scalings=scalings, progress=progress)
    validation_tiles = read_tiles(folders, "val", scalings=tiles.scalings, progress=progress)
    if state is not None:
        _check_same_data(state, tiles, folder)

    launch(fabric)
    if batch == "auto":
        settings = _with_batch(settings, _find_batch(settings, tiles.bands, fabric, alone))
    torch.manual_seed(settings.seed)
    networks = Pix2Pix(settings, tiles.bands, fabric)
    _warn_of_statistics(networks, tiles.bands, progress)
    loop = _Loop(folder, settings, fabric, alone, networks, tiles, validation_tiles)
    if state is not None:
        loop.take_up(state, anew=epochs is not None or minutes is not None)
    elif start is not None:
        networks.start_from(start.weights_for(settings, tiles), start.name)
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


def _find_batch(config: TrainConfig, bands: int, fabric: Fabric, alone: Fabric) -> int:
    # On the first device; on others as many crops will fit.
    found = find_batch(config, bands, alone, processes=fabric.world_size) if fabric.is_global_zero else 0
    batch: int = fabric.broadcast(found)
    return batch


def _with_batch(config: TrainConfig, batch: int) -> TrainConfig:
    return replace(config, data=replace(config.data, batch=batch))


def _load_last(folder: RunFolder) -> dict[str, Any]:
    state = load_checkpoint(folder.last)
    missing = {"config", "counters", "networks", "data"} - state.keys()
    if missing:
        raise ModelError(
            f"{folder.last} lacks {', '.join(sorted(missing))}; begin a new run with --init-from {folder.best}, if that is whole."
        )
    return state


def _settings_of(state: Mapping[str, Any], folder: RunFolder, seed: int | None) -> TrainConfig:
    settings = from_dict(state["config"], name=str(folder.last))
    if seed not in (None, settings.seed):
        raise OptionError(f"--seed {seed} is not that of the run in {folder.path}, {settings.seed}; leave it out.")
    return settings


def _with_options(
    config: TrainConfig, *, epochs: int | None, minutes: float | None, seed: int | None, batch: int | str | None
) -> TrainConfig:
    if batch not in (None, "auto"):
        if not isinstance(batch, int) or not 1 <= batch <= LARGEST_BATCH:
            raise OptionError(f"--batch must be a whole number from 1 to {LARGEST_BATCH}, or auto, not {batch}.")
        config = _with_batch(config, batch)
    if seed is not None and not 0 <= seed <= LARGEST_SEED:
        raise OptionError(f"--seed must be from 0 to {LARGEST_SEED}, not {seed}.")
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
            f"A batch of {config.data.batch} crops cannot be shared by {fabric.world_size} devices; change --batch "
            "or --devices."
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
        alone: Fabric,
        networks: Pix2Pix,
        tiles: TileSet,
        validation_tiles: TileSet,
    ) -> None:
        self.folder, self.config, self.fabric, self.networks = folder, config, fabric, networks
        self.alone = alone  # to try in one process what fits into memory
        self.tiles, self.validation = tiles, Validation(validation_tiles, config.data.classes)
        self.schedule = Schedule(config, tiles.pixels)
        self.counters = Counters()
        self.watchdog = Watchdog()
        self.score: Score | None = None
        self.best_score: Score | None = None
        self.means = _Means()
        self.ticked_at = self.saved_at = time.monotonic()
        self.trained_seconds = 0.0
        self.trained_crops = 0

    def take_up(self, state: Mapping[str, Any], *, anew: bool) -> None:
        """Go on from a checkpoint; `anew` gives a run that stopped early its patience back."""
        self.networks.load_state(state["networks"], str(self.folder.last))
        known = {field.name for field in fields(Counters)}
        counters = {name: value for name, value in state["counters"].items() if name in known}  # older ones had others
        self.counters = Counters(**{"validated": counters["step"], **counters})
        self.watchdog = Watchdog(**state.get("watchdog", {}))
        self.networks.discriminator_learns = not self.watchdog.paused
        self.score, self.best_score = (
            Score(**state[name]) if state.get(name) else None for name in ("score", "best_score")
        )
        if anew and self.schedule.is_stale(self.counters):
            self.counters.stale = 0
        if self.counters.good == self.counters.step:
            if self.fabric.is_global_zero:
                self.folder.keep_as_good()  # killed before it was, or removed at the end of the run
        elif not self.folder.good.exists():
            self.counters.good = 0

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
        self.board = TensorBoard(self.folder.tensorboard, self.counters.step)
        self.ticked_at = self.saved_at = time.monotonic()
        if self.config.compile and self.schedule.is_long and can_compile(self.fabric):
            self.networks.compile()
        with self.board, stream as batches:
            try:
                self._train(batches, progress)
            except Cancelled as error:
                self._save(self.folder.last)
                self._write_report(f"It was cancelled at step {self.counters.step}; --resume goes on with it.")
                raise Cancelled(f"Cancelled; geofootprint train --resume goes on with {self.folder.path}.") from error
        ended = self._why_it_ended()
        self._write_report(f"{ended[0].upper()}{ended[1:]}.")
        if self.fabric.is_global_zero:
            self.folder.good.unlink(missing_ok=True)
        return self._result(ended)

    def _train(self, batches: Iterator[Batch], progress: Progress) -> None:
        schedule = self.schedule
        while True:
            self._report(progress)
            if schedule.is_validation_due(self.counters):
                self._end_epoch(progress)
            elif schedule.is_over(self.counters):
                return
            else:
                self._step(batches, progress)
                if time.monotonic() - self.saved_at > SAVE_SECONDS:
                    self._save(self.folder.last)

    def _report(self, progress: Progress) -> None:
        """Say how far the run is; with several processes, the first one's counters and wish to stop go for all.

        What the clock says decides when to validate, which all must do together.
        """
        stop: Cancelled | None = None
        try:
            progress.update("train", *self.schedule.done(self.counters))
        except Cancelled as error:
            stop = error
        if self.fabric.world_size > 1:
            stop, self.counters = self.fabric.broadcast((stop, self.counters))
        if stop is not None:
            raise stop

    def _step(self, batches: Iterator[Batch], progress: Progress) -> None:
        counters = self.counters
        self.networks.set_rate(self.schedule.rate(counters) * self.watchdog.rate)
        # Noise and dropout of a step are the same in every run of one seed, resumed or not, as its crops are.
        torch.manual_seed(_seed_of_step(self.config.seed, counters.step, self.fabric.global_rank))
        losses = self._learn(batches)
        counters.step += 1
        finite = float(self._share(torch.tensor(float(self.networks.is_finite)))) == 1
        if finite:
            self.means.add(losses)
        self._mend(self.watchdog.look(finite=finite, losses=self._judgement(losses)), progress)
        if finite and not counters.good:
            self._keep_as_good()
        if counters.step % LOG_EVERY == 0:
            self._log()
        self.trained_seconds += self._tick()
        self.trained_crops += self.config.data.batch

    def _learn(self, batches: Iterator[Batch]) -> dict[str, torch.Tensor]:
        to = self.fabric.to_device
        try:
            batch = next(batches)
            return self.networks.step(
                Batch(to(batch.image), to(batch.target), to(batch.valid)),
                adversarial=self.schedule.adversarial(self.counters),
            )
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            traceback.clear_frames(error.__traceback__)  # they hold what is to be free now
        raise OptionError(self._say_what_fits())

    def _say_what_fits(self) -> str:
        """Return the sentence for a batch that is too large, with the one that is not, if that can be tried here."""
        config, batch = self.config, self.config.data.batch
        said = f"A batch of {batch} crops of {config.data.patch} px does not fit into memory; "
        if self.fabric.world_size > 1 or batch < 4:
            return said + "give a smaller one by --batch, let --batch auto find it, or lower data.patch in a --config file."
        del self.networks
        fits = find_batch(config, self.tiles.bands, self.alone, most=batch - 1)
        return said + f"{fits} would: give --batch {fits}, or let --batch auto find it."

    def _share(self, value: torch.Tensor) -> torch.Tensor:
        """Return the mean over all processes."""
        if self.fabric.world_size == 1:
            return value
        mean: torch.Tensor = self.fabric.all_reduce(value, reduce_op="mean")  # type: ignore[assignment]
        return mean

    def _judgement(self, losses: Mapping[str, torch.Tensor]) -> dict[str, float]:
        """Return the losses that show who wins, the same in all processes; none where that changes nothing."""
        if "adversarial" not in losses or not self.config.discriminator.pause:
            return {}
        shared = self._share(torch.stack([losses[name] for name in JUDGEMENT]))
        return dict(zip(JUDGEMENT, shared.tolist(), strict=True))

    def _mend(self, remedy: Remedy, progress: Progress) -> None:
        """Do what the watchdog asks for, and tell of it."""
        dog, step = self.watchdog, self.counters.step
        if remedy is Remedy.NONE:
            return
        if remedy is Remedy.SKIPPED:
            self._tell(remedy, f"The gradients of step {step} were not finite; it was left out.")
            if is_worth_telling(dog.skipped):
                progress.warn(f"The gradients of step {step} were not finite; it was left out ({dog.skipped} so far).")
            return
        if remedy is Remedy.ROLL_BACK:
            self._roll_back(progress, f"the gradients of {BAD_IN_A_ROW} steps in a row were not finite")
            return
        if remedy is Remedy.RESET:
            torch.manual_seed(_seed_of_step(self.config.seed, step, 0))
            self.networks.reset_discriminator()
        self.networks.discriminator_learns = not dog.paused
        text = f"{SENTENCES[remedy]} (step {step})."
        self._tell(remedy, text)
        progress.warn(text)

    def _roll_back(self, progress: Progress, reason: str) -> None:
        """Go back to the last good state, and on with the next crops at a lower learning rate.

        Raises
        ------
        ModelError
            If there is none, or that was done too often.
        """
        counters, dog = self.counters, self.watchdog
        if dog.has_given_up or not counters.good:
            raise ModelError(
                f"The training does not recover at step {counters.step}: {reason}, and going back helps no more; begin anew "
                "with a lower optimizer.learning_rate in a --config file, or with --precision 32."
            )
        self.fabric.barrier()  # the first process may still be writing it
        self.networks.load_state(load_checkpoint(self.folder.good)["networks"], str(self.folder.good))
        self.networks.discriminator_learns = True
        text = (
            f"At step {counters.step} {reason}: the run went back to the weights of step {counters.good} and goes on at "
            f"{dog.rate:g} of the learning rates."
        )
        self._tell(Remedy.ROLL_BACK, text)
        progress.warn(text)

    def _tell(self, remedy: Remedy, text: str) -> None:
        if self.fabric.is_global_zero:
            self.folder.append("events.csv", self._place() | {"event": remedy.value, "text": text})
            self.board.tell(text, self.counters.step)

    def _place(self) -> dict[str, Any]:
        counters = self.counters
        return {"step": counters.step, "epoch": counters.epoch, "seconds": round(counters.elapsed, 1)}

    def _tick(self) -> float:
        """Add the time since the last call to the run's, and return it."""
        now = time.monotonic()
        seconds, self.ticked_at = now - self.ticked_at, now
        self.counters.elapsed += seconds
        return seconds

    def _log(self) -> None:
        means = self.means.take(self.fabric)
        if means and self.fabric.is_global_zero:
            self.folder.append("losses.csv", self._place() | {name: means.get(name, "") for name in LOSSES})
            rate = self.schedule.rate(self.counters) * self.watchdog.rate
            self.board.add("loss", means, self.counters.step)
            self.board.add("rate", {"learning_rate": rate * self.config.optimizer.learning_rate}, self.counters.step)

    def _end_epoch(self, progress: Progress) -> None:
        """Validate, keep the best, draw samples; the clock counts it, or a run of N minutes would last longer."""
        self._log()
        self.trained_seconds += self._tick()  # what the device had still to do
        counters = self.counters
        began = counters.elapsed
        # Cancelled here, some processes would wait for others.
        told = progress if self.fabric.world_size == 1 else SILENT
        try:
            score = self.validation.score(self.networks.predictor, self.fabric, progress=told)
        except ModelError:
            counters.validated, counters.validated_at = counters.step, counters.elapsed
            self.watchdog.go_back()
            self._roll_back(progress, "the generator's output was not finite")
            if self.schedule.is_over(counters) and self.best_score is None:
                raise ModelError(
                    "The generator's output was not finite at the only validation; train longer, or with a lower "
                    "optimizer.learning_rate in a --config file."
                ) from None
            self._save(self.folder.last)
            return
        self._tick()
        counters.epoch += 1
        counters.validated, counters.validated_at = counters.step, counters.elapsed
        better = self._take(score)
        if self.fabric.is_global_zero:
            self._write_scores(score)
        self._tick()
        counters.validation_seconds = counters.elapsed - began
        if better:
            self._save(self.folder.best)
        self._keep_as_good()

    def _take(self, score: Score) -> bool:
        """Take a validation's scores, and return whether they are the best so far."""
        counters = self.counters
        self.score = score
        if self.best_score is not None and score.rank <= self.best_score.rank:
            counters.stale += 1
            return False
        self.best_score = score
        counters.best_epoch, counters.stale = counters.epoch, 0
        return True

    def _write_scores(self, score: Score) -> None:
        counters, values = self.counters, asdict(score)
        place = {"epoch": counters.epoch, "step": counters.step, "seconds": round(counters.elapsed, 1)}
        self.folder.append("scores.csv", place | {name: round(value, 4) for name, value in values.items()})
        self.board.add("score", values, counters.step)
        self.board.flush()
        write_samples(
            self.folder.sample(counters.epoch), self.networks.predictor, self.validation.tiles, self.fabric,
            classes=self.config.data.classes, threshold=score.threshold,
        )
        write_png(self.folder.curves, draw_curves(self.folder.read("losses.csv"), self.folder.read("scores.csv")))

    def _keep_as_good(self) -> None:
        """Save a state that the run can go back to."""
        self.counters.good = self.counters.step
        self._save(self.folder.last)
        if self.fabric.is_global_zero:
            self.folder.keep_as_good()

    def _save(self, path: Path) -> None:
        if self.fabric.is_global_zero:
            save_checkpoint(path, self._state())
        self._tick()
        self.saved_at = time.monotonic()

    def _state(self) -> dict[str, Any]:
        tiles = self.tiles
        return {
            "config": to_dict(self.config),
            "counters": asdict(self.counters),
            "watchdog": asdict(self.watchdog),
            "networks": self.networks.state(),
            "score": asdict(self.score) if self.score else None,
            "best_score": asdict(self.best_score) if self.best_score else None,
            "data": {
                "bands": tiles.bands, "dtype": tiles.dtype, "gsd": tiles.gsd, "classes": list(self.config.data.classes),
                "scaling": asdict(tiles.scaling) if tiles.scaling else None,
                "sources": list(tiles.sources), "tiles": len(tiles.tiles),
            },
        }

    def _why_it_ended(self) -> str:
        counters, config = self.counters, self.config
        if self.schedule.is_stale(counters):
            return (
                f"stopped early at epoch {counters.epoch}: {counters.stale} validations in a row were no better than that of "
                f"epoch {counters.best_epoch}"
            )
        if config.minutes:
            return f"its {config.minutes:g} minutes are over"
        return "its epoch is done" if config.epochs == 1 else f"its {config.epochs} epochs are done"

    def _write_report(self, ended: str) -> None:
        if self.fabric.is_global_zero and self.best_score is not None:
            write_run_report(self.folder, self.config, self.best_score, self.counters, ended=ended)

    def _result(self, ended: str) -> TrainResult:
        counters, folder, best = self.counters, self.folder, self.best_score or Score(0.0, 0.0, 0.0, 0.5, 0.0)
        return TrainResult(
            run=str(folder.path), best=str(folder.best), last=str(folder.last),
            object_f1=best.object_f1, boundary_iou=best.boundary_iou, iou=best.iou, f1=best.f1, threshold=best.threshold,
            best_epoch=counters.best_epoch, epochs=counters.epoch, steps=counters.step,
            images_per_second=self.trained_crops / self.trained_seconds if self.trained_seconds else 0.0,
            batch=self.config.data.batch, ended=ended, report=str(folder.report),
        )


class _Means:
    """Means of losses, summed on their device: to look at each would make it wait for the next step's commands."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[torch.Tensor, int]] = {}

    def add(self, losses: Mapping[str, torch.Tensor]) -> None:
        for name, value in losses.items():
            total, count = self._sums.get(name, (torch.zeros_like(value), 0))
            self._sums[name] = total + value, count + 1

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
