from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs geofootprint[train]")

from geofootprint.config import load_config  # noqa: E402
from geofootprint.errors import Cancelled, DatasetError, MissingFileError, ModelError, OptionError, OutputError  # noqa: E402
from geofootprint.learning import memory, pix2pix, schedule, trainer, watchdog  # noqa: E402
from geofootprint.learning.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from geofootprint.learning.device_batches import DeviceStream  # noqa: E402
from geofootprint.learning.pix2pix import Pix2Pix  # noqa: E402
from geofootprint.learning.samples import GAP, SIDE  # noqa: E402
from geofootprint.learning.trainer import TrainResult, train  # noqa: E402
from geofootprint.learning.validation import Score, Validation  # noqa: E402

EXACT: dict[str, Any] = {"device": "cpu", "precision": "32"}


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def tensors(state: Any, name: str = "") -> dict[str, Any]:
    """Return all tensors and numbers of nested mappings and lists."""
    if isinstance(state, dict):
        return {key: value for part, inner in state.items() for key, value in tensors(inner, f"{name}.{part}").items()}
    if isinstance(state, list):
        return {key: value for i, inner in enumerate(state) for key, value in tensors(inner, f"{name}.{i}").items()}
    return {name: state}


def differing(one: Path, other: Path) -> list[str]:
    """Return what differs between the networks and optimizers of two checkpoints."""
    first, second = (tensors(load_checkpoint(path)["networks"]) for path in (one, other))
    assert first.keys() == second.keys()
    return [
        name for name, value in first.items()
        if not (torch.equal(value, second[name]) if isinstance(value, torch.Tensor) else value == second[name])
    ]


class StopAt:
    """A progress that cancels in a stage once so much of it is done."""

    def __init__(self, done: float, stage: str = "train") -> None:
        self.done, self.stage = done, stage
        self.told: list[tuple[str, float, float]] = []
        self.warnings: list[str] = []

    def update(self, stage: str, done: float, total: float) -> None:
        self.told.append((stage, done, total))
        if stage == self.stage and done >= self.done:
            raise Cancelled("Cancelled.")

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture(scope="module")
def finished(dataset: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainResult]:
    """Return a run of three epochs of two steps, and what it came to."""
    run = tmp_path_factory.mktemp("runs") / "run"
    return run, train(dataset, run, config=tiny, epochs=3, **EXACT)


def test_the_folder_of_a_run(finished: tuple[Path, TrainResult], tiny: Path) -> None:
    run, result = finished
    (events,) = (run / "tensorboard").iterdir()
    assert events.stat().st_size > 500
    assert {str(path.relative_to(run)) for path in run.rglob("*")} - {f"tensorboard/{events.name}"} == {
        "config.toml", "losses.csv", "scores.csv", "last.ckpt", "best.ckpt", "progress.png", "report.html", "tensorboard",
        "samples", "samples/0001.png", "samples/0002.png", "samples/0003.png",
    }
    assert (result.run, result.last, result.best) == (str(run), str(run / "last.ckpt"), str(run / "best.ckpt"))
    assert (result.epochs, result.steps, result.batch) == (3, 6, 4)
    assert result.ended == "its 3 epochs are done"
    assert result.report == str(run / "report.html")
    assert result.images_per_second > 0
    config = load_config(None, run / "config.toml")
    assert config.epochs == 3
    assert (config.generator, config.data) == (load_config(None, tiny).generator, load_config(None, tiny).data)


def test_tables_of_a_run(finished: tuple[Path, TrainResult]) -> None:
    run, result = finished
    losses, scores = rows(run / "losses.csv"), rows(run / "scores.csv")
    assert [row["step"] for row in losses] == [row["step"] for row in scores] == ["2", "4", "6"]
    assert [row["epoch"] for row in scores] == ["1", "2", "3"]
    for name in ("bce", "dice", "contour", "l1", "adversarial", "discriminator_real", "discriminator_fake"):
        assert all(np.isfinite(float(row[name])) for row in losses)
    best = max(scores, key=lambda row: (round(float(row["object_f1"]) / 0.005), float(row["iou"])))
    assert float(best["iou"]) == pytest.approx(result.iou, abs=1e-4)
    assert float(best["object_f1"]) == pytest.approx(result.object_f1, abs=1e-4)
    assert int(best["epoch"]) == result.best_epoch


def test_pictures_of_a_run(finished: tuple[Path, TrainResult]) -> None:
    run, _ = finished
    for path in (run / "samples").iterdir():
        picture = np.asarray(cv2.imread(str(path)))
        assert picture.shape[1] == 4 * (SIDE + GAP)
        assert picture.std() > 10


def test_a_checkpoint_says_all(finished: tuple[Path, TrainResult], dataset: Path) -> None:
    run, result = finished
    last, best = load_checkpoint(run / "last.ckpt"), load_checkpoint(run / "best.ckpt")
    assert last["counters"]["step"] == 6
    assert best["score"]["iou"] == result.iou == best["best_score"]["iou"]
    assert best["score"]["threshold"] == result.threshold
    assert best["data"]["bands"] == 3
    assert best["data"]["dtype"] == "uint8"
    assert best["data"]["gsd"] == pytest.approx(0.15, rel=0.01)
    assert best["data"]["classes"] == ["building", "contour"]
    assert [Path(source).name for source in best["data"]["sources"]] == ["town.tif"]
    assert last["config"]["data"]["patch"] == 64


def test_the_same_seed_is_the_same_run(finished: tuple[Path, TrainResult], dataset: Path, tmp_path: Path) -> None:
    run, _ = finished
    again = tmp_path / "again"
    train(dataset, again, config=run / "config.toml", **EXACT)
    assert differing(run / "last.ckpt", again / "last.ckpt") == []
    other = tmp_path / "other"
    train(dataset, other, config=run / "config.toml", seed=1, epochs=1, **EXACT)
    assert differing(run / "last.ckpt", other / "last.ckpt")
    assert load_config(None, other / "config.toml").seed == 1


@pytest.mark.parametrize("stop", [1, 3, 5], ids=["in an epoch", "in the second", "in the last"])
def test_cancelled_and_resumed_is_to_the_bit_what_it_would_have_been(
    finished: tuple[Path, TrainResult], dataset: Path, tiny: Path, tmp_path: Path, stop: int
) -> None:
    whole, result = finished
    run = tmp_path / "run"
    with pytest.raises(Cancelled, match=r"--resume goes on with .*run\.$"):
        train(dataset, run, config=tiny, epochs=3, progress=StopAt(stop), **EXACT)
    assert load_checkpoint(run / "last.ckpt")["counters"]["step"] == stop
    resumed = train(dataset, run, resume=True, **EXACT)
    assert differing(whole / "last.ckpt", run / "last.ckpt") == []
    assert differing(whole / "best.ckpt", run / "best.ckpt") == []
    unlike = {"images_per_second": 0, "run": "", "best": "", "last": "", "report": ""}
    assert asdict(resumed) | unlike == asdict(result) | unlike
    assert [row["iou"] for row in rows(run / "scores.csv")] == [row["iou"] for row in rows(whole / "scores.csv")]


def test_cancelled_in_a_validation(
    finished: tuple[Path, TrainResult], dataset: Path, tiny: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with pytest.raises(Cancelled):
        train(dataset, run, config=tiny, epochs=3, progress=StopAt(0, stage="validate"), **EXACT)
    counters = load_checkpoint(run / "last.ckpt")["counters"]
    assert (counters["step"], counters["epoch"], counters["validated"]) == (2, 0, 0)
    assert not (run / "best.ckpt").exists()
    train(dataset, run, resume=True, **EXACT)
    assert [row["step"] for row in rows(run / "scores.csv")] == ["2", "4", "6"]
    assert differing(finished[0] / "last.ckpt", run / "last.ckpt") == []


def test_a_finished_run_stays_as_it_is(finished: tuple[Path, TrainResult], dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    result = train(dataset, run, resume=True, **EXACT)
    assert (result.steps, result.epochs, result.images_per_second) == (6, 3, 0)
    assert (run / "scores.csv").read_text() == (finished[0] / "scores.csv").read_text()


def test_a_finished_run_can_be_lengthened(
    finished: tuple[Path, TrainResult], dataset: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    assert train(dataset, run, resume=True, epochs=4, **EXACT).steps == 8
    assert load_config(None, run / "config.toml").epochs == 4
    assert [row["step"] for row in rows(run / "scores.csv")] == ["2", "4", "6", "8"]


def test_checkpoints_without_newer_counters_can_be_resumed(
    finished: tuple[Path, TrainResult], dataset: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    state = load_checkpoint(run / "last.ckpt")
    del state["counters"]["validated"], state["networks"]["scaler"], state["config"]["minutes"]
    del state["watchdog"], state["best_score"], state["counters"]["good"]
    state["counters"]["best_iou"] = 0.5
    save_checkpoint(run / "last.ckpt", state)
    assert train(dataset, run, resume=True, epochs=4, **EXACT).epochs == 4


def test_progress_in_steps_and_by_the_clock(dataset: Path, tiny: Path, tmp_path: Path) -> None:
    seen = StopAt(10**9)
    train(dataset, tmp_path / "steps", config=tiny, epochs=1, progress=seen, **EXACT)
    assert [entry for entry in seen.told if entry[0] == "train"] == [
        ("train", 0, 2), ("train", 1, 2), ("train", 2, 2), ("train", 2, 2),
    ]
    seen = StopAt(10**9)
    started = time.monotonic()
    result = train(dataset, tmp_path / "clock", config=tiny, minutes=1 / 60, progress=seen, **EXACT)
    assert time.monotonic() - started > 1
    assert {entry[2] for entry in seen.told if entry[0] == "train"} == {1}
    assert result.epochs >= 1
    assert load_checkpoint(tmp_path / "clock" / "last.ckpt")["counters"]["validated"] == result.steps
    assert load_config(None, tmp_path / "clock" / "config.toml").minutes == pytest.approx(1 / 60)


def test_saved_within_a_minute(
    dataset: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[str] = []

    def save(path: Path, state: dict[str, Any]) -> None:
        saved.append(f"{path.name} {state['counters']['step']}")
        save_checkpoint(path, state)

    monkeypatch.setattr(trainer, "save_checkpoint", save)
    monkeypatch.setattr(trainer, "SAVE_SECONDS", 0.0)
    train(dataset, tmp_path / "run", config=tiny, epochs=1, **EXACT)
    # The first is what the run could go back to.
    assert saved == ["last.ckpt 1", "last.ckpt 1", "last.ckpt 2", "best.ckpt 2", "last.ckpt 2"]


KILLED = """
import sys
from geofootprint.learning import trainer
trainer.SAVE_SECONDS = 0.0
trainer.train(sys.argv[1], sys.argv[2], config=sys.argv[3], epochs=1000, device="cpu", precision="32")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_process_is_resumed_to_the_bit(dataset: Path, tiny: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-c", KILLED, dataset, run, tiny], env=environment) as process:
        deadline = time.monotonic() + 120
        while not (run / "best.ckpt").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    killed_at = load_checkpoint(run / "last.ckpt")["counters"]["step"]
    assert killed_at > 0
    with pytest.raises(Cancelled):
        train(dataset, run, resume=True, progress=StopAt(killed_at + 3), **EXACT)
    with pytest.raises(Cancelled):  # of a thousand epochs too: rates depend on the run's length
        train(dataset, tmp_path / "whole", config=tiny, epochs=1000, progress=StopAt(killed_at + 3), **EXACT)
    assert load_checkpoint(run / "last.ckpt")["counters"]["step"] == killed_at + 3
    assert differing(tmp_path / "whole" / "last.ckpt", run / "last.ckpt") == []
    assert not list(run.glob(".*.ckpt"))


def test_a_run_starts_from_another(finished: tuple[Path, TrainResult], dataset: Path, tmp_path: Path) -> None:
    run, _ = finished
    with pytest.raises(Cancelled):
        train(
            dataset, tmp_path / "run", config=run / "config.toml", init_from=run / "best.ckpt", progress=StopAt(0), **EXACT
        )
    before, after = (load_checkpoint(path)["networks"] for path in (run / "best.ckpt", tmp_path / "run" / "last.ckpt"))
    for name, value in before["generator_ema"].items():
        assert torch.equal(value, after["generator"][name])
        assert torch.equal(value, after["generator_ema"][name])
    assert load_checkpoint(tmp_path / "run" / "last.ckpt")["counters"]["step"] == 0


def test_generator_and_channels_are_those_of_what_it_starts_from(
    finished: tuple[Path, TrainResult], dataset: Path, tmp_path: Path
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text("compile = false\n[data]\npatch = 64\nbatch = 4\n")
    with pytest.raises(Cancelled):
        train(
            dataset, tmp_path / "run", config=settings, init_from=finished[0] / "best.ckpt", progress=StopAt(0), **EXACT
        )
    config = load_checkpoint(tmp_path / "run" / "last.ckpt")["config"]
    assert config["generator"]["width"] == 4
    assert config["data"]["patch"] == 64


def test_a_run_starts_from_the_default_model(dataset: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    settings = tmp_path / "settings.toml"
    settings.write_text("compile = false\n[data]\npatch = 64\nbatch = 2\ncrops_per_epoch = 2\n")
    run = tmp_path / "run"
    result = train(dataset, run, config=settings, init_from="default", epochs=1, **EXACT)
    assert result.steps == 1
    assert load_checkpoint(run / "last.ckpt")["config"]["generator"]["width"] == 24
    assert train(dataset, run, resume=True, epochs=2, **EXACT).steps == 2


def test_another_generator_cannot_be_started_from(
    finished: tuple[Path, TrainResult], dataset: Path, tmp_path: Path
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text("[generator]\nwidth = 24\n")
    with pytest.raises(ModelError, match=r"best\.ckpt does not hold this run's generator \(name unet, width 24"):
        train(dataset, tmp_path / "run", config=settings, init_from=finished[0] / "best.ckpt", **EXACT)
    assert not (tmp_path / "run").exists()


EASY = """\
[generator]
width = 4
[loss]
adversarial = 0.0
[data]
patch = 64
batch = 4
crops_per_epoch = 240
scale = [1.0, 1.0]
rotation = 0.0
colour = 0.0
[optimizer]
learning_rate = 0.02
ema = 0.8
"""


def test_it_learns(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "WARM_UP", 5)
    settings = tmp_path / "easy.toml"
    settings.write_text(EASY)
    result = train(dataset, tmp_path / "run", config=settings, epochs=1, **EXACT)
    losses = rows(tmp_path / "run" / "losses.csv")
    assert [row["step"] for row in losses] == ["20", "40", "60"]
    for name, share in (("bce", 0.5), ("dice", 0.6), ("contour", 0.8), ("l1", 0.6)):
        assert float(losses[-1][name]) < share * float(losses[0][name]), name
    assert all(row["adversarial"] == "" for row in losses)
    assert result.iou > 0.8


def test_the_paper_runs_at_256_px(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_dataset(side=768, size=256, split=(0.4, 0.3, 0.3))
    settings = tmp_path / "two.toml"
    settings.write_text("[generator]\nwidth = 8\n[data]\ncrops_per_epoch = 2\n")
    result = train(folder, tmp_path / "run", preset="pix2pix", config=settings, epochs=1, **EXACT)
    assert (result.steps, result.epochs) == (2, 1)
    (losses,) = rows(tmp_path / "run" / "losses.csv")
    assert float(losses["discriminator_real"]) > 0
    assert float(losses["adversarial"]) > 0


def test_bfloat16(dataset: Path, tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    result = train(dataset, tmp_path / "run", config=tiny, epochs=1, device="cpu", precision="bf16")
    assert result.steps == 2
    assert capfd.readouterr() == ("", "")


def test_several_weighted_datasets(
    dataset: Path, make_dataset: Callable[..., Path], tiny: Path, tmp_path: Path
) -> None:
    other = make_dataset(side=256)
    train([dataset, (other, 0.5)], tmp_path / "run", config=tiny, epochs=1, **EXACT)
    data = load_checkpoint(tmp_path / "run" / "last.ckpt")["data"]
    assert len(data["sources"]) == 2
    train((other, 2), tmp_path / "one", config=tiny, epochs=1, **EXACT)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"epochs": 1, "minutes": 1}, OptionError, "Both --epochs and --minutes are given"),
        ({"epochs": 0}, OptionError, "--epochs must be more than 0, not 0"),
        ({"minutes": -1}, OptionError, "--minutes must be more than 0, not -1"),
        ({"batch": 0}, OptionError, "--batch must be a whole number from 1 to 4096, or auto, not 0"),
        ({"batch": "big"}, OptionError, "--batch must be a whole number from 1 to 4096, or auto, not big"),
        ({"resume": True, "batch": 4}, OptionError, "Both --resume and --batch are given"),
        ({"seed": -1}, OptionError, "--seed must be from 0 to .*, not -1"),
        ({"preset": "x"}, OptionError, "no preset 'x'"),
        ({"device": "gpu"}, OptionError, "no device 'gpu'"),
        ({"precision": "8"}, OptionError, "no precision '8'"),
        ({"devices": 0}, OptionError, "--devices must be at least 1"),
        ({"config": "none.toml"}, MissingFileError, r"none\.toml does not exist"),
        ({"init_from": "none.ckpt"}, MissingFileError, r"none\.ckpt does not exist"),
        ({"resume": True}, MissingFileError, r"last\.ckpt does not exist"),
        ({"resume": True, "init_from": "a.ckpt"}, OptionError, "Both --resume and --init-from are given"),
        ({"resume": True, "config": "a.toml"}, OptionError, "Both --resume and --config are given"),
        ({"resume": True, "preset": "pix2pix"}, OptionError, "Both --resume and --preset are given"),
    ],
)
def test_options_that_cannot_be(
    dataset: Path, tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        train(dataset, tmp_path / "run", **{**EXACT, **options})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[generator]\nname = "unet9"', "no generator 'unet9'"),
        ("[data]\nbatch = 1\npatch = 64", "needs more than 1 crop"),
        ("[data]\nbatchs = 1", "did you mean 'data.batch'"),
    ],
)
def test_settings_that_cannot_be_leave_no_folder(dataset: Path, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "wrong.toml").write_text(text)
    with pytest.raises(OptionError, match=message):
        train(dataset, tmp_path / "run", config=tmp_path / "wrong.toml", **EXACT)
    assert not (tmp_path / "run").exists()


def test_datasets_that_cannot_be_leave_no_folder(make_dataset: Callable[..., Path], dataset: Path, tmp_path: Path) -> None:
    for given, message in (
        (make_dataset(split=(1.0, 0.0, 0.0)), "no tile is in the split 'val'"),
        ([dataset, make_dataset(bands=5)], "train on datasets of one kind"),
        (tmp_path, "is not a dataset"),
    ):
        with pytest.raises(DatasetError, match=message):
            train(given, tmp_path / "run", **EXACT)
        assert not (tmp_path / "run").exists()


def test_an_existing_run(finished: tuple[Path, TrainResult], dataset: Path, tiny: Path) -> None:
    before = (finished[0] / "last.ckpt").read_bytes()
    with pytest.raises(OutputError, match="already holds a run"):
        train(dataset, finished[0], config=tiny, epochs=1, **EXACT)
    assert (finished[0] / "last.ckpt").read_bytes() == before


def test_resuming_with_other_things(
    finished: tuple[Path, TrainResult], make_dataset: Callable[..., Path], dataset: Path
) -> None:
    with pytest.raises(DatasetError, match=r"was trained on 1[0-9] tiles of 3 bands, but the datasets have"):
        train(make_dataset(side=256), finished[0], resume=True, **EXACT)
    with pytest.raises(OptionError, match="--seed 5 is not that of the run"):
        train(dataset, finished[0], resume=True, seed=5, **EXACT)


def test_a_batch_that_devices_cannot_share(dataset: Path, tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="A batch of 4 crops cannot be shared by 3 devices"):
        train(dataset, tmp_path / "run", config=tiny, devices=3, **EXACT)


class Warned(StopAt):
    """A progress that notes warnings."""

    def __init__(self, done: float = 10**9) -> None:
        super().__init__(done)
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def poison(monkeypatch: pytest.MonkeyPatch, bad: range | list[int], loss: str = "bce_loss") -> None:
    """Make a loss, and so its gradients, not finite at some calls, as numbered by the step they are of."""
    step_of: list[int] = [0]
    step, whole = Pix2Pix.step, getattr(pix2pix, loss)

    def counted(self: Pix2Pix, *arguments: Any, **options: Any) -> dict[str, Any]:
        step_of[0] = int(self.generator_optimizer.param_groups[0]["poisoned_at"])
        return step(self, *arguments, **options)

    def poisoned(*arguments: Any) -> Any:
        return whole(*arguments) * (float("inf") if step_of[0] in bad else 1.0)

    look = trainer._Loop._learn

    def learn(self: Any, batches: Any) -> Any:
        self.networks.generator_optimizer.param_groups[0]["poisoned_at"] = self.counters.step
        return look(self, batches)

    monkeypatch.setattr(trainer._Loop, "_learn", learn)
    monkeypatch.setattr(Pix2Pix, "step", counted)
    monkeypatch.setattr(pix2pix, loss, poisoned)


def test_a_step_that_is_not_finite_is_left_out(
    dataset: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, seen = tmp_path / "run", Warned()
    poison(monkeypatch, [1, 4])
    assert train(dataset, run, config=tiny, epochs=3, progress=seen, **EXACT).steps == 6
    assert seen.warnings == [
        f"The gradients of step {step} were not finite; it was left out ({count} so far)." for step, count in ((2, 1), (5, 2))
    ]
    assert [(row["step"], row["event"]) for row in rows(run / "events.csv")] == [("2", "step skipped"), ("5", "step skipped")]
    assert "What the watchdog did" in (run / "report.html").read_text()
    state = load_checkpoint(run / "last.ckpt")
    assert state["watchdog"]["skipped"] == 2
    values = tensors(state["networks"]).values()
    assert all(bool(torch.isfinite(value).all()) for value in values if isinstance(value, torch.Tensor))
    assert all(np.isfinite(float(row["bce"])) for row in rows(run / "losses.csv"))


@pytest.fixture
def longer(tiny: Path, tmp_path: Path) -> Path:
    """Return a configuration of four steps an epoch."""
    path = tmp_path / "longer.toml"
    path.write_text(tiny.read_text().replace("crops_per_epoch = 8", "crops_per_epoch = 16"))
    return path


@pytest.mark.parametrize("stop", [7, 11], ids=["among bad steps", "after going back"])
def test_a_run_that_went_back_is_resumed_to_the_bit(
    dataset: Path, longer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    poison(monkeypatch, range(5, 10))
    whole, run, seen = tmp_path / "whole", tmp_path / "run", Warned()
    train(dataset, whole, config=longer, epochs=3, progress=seen, **EXACT)
    (told,) = [text for text in seen.warnings if "went back" in text]
    assert told == (
        "At step 10 the gradients of 5 steps in a row were not finite: the run went back to the weights of step 8 and goes on "
        "at 0.5 of the learning rates."
    )
    with pytest.raises(Cancelled):
        train(dataset, run, config=longer, epochs=3, progress=StopAt(stop), **EXACT)
    train(dataset, run, resume=True, **EXACT)
    assert differing(whole / "last.ckpt", run / "last.ckpt") == []
    assert [row["event"] for row in rows(run / "events.csv")] == [row["event"] for row in rows(whole / "events.csv")]


def test_what_does_not_recover_ends_with_a_sentence(
    dataset: Path, longer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    longer.write_text(longer.read_text().replace("crops_per_epoch = 16", "crops_per_epoch = 80"))
    poison(monkeypatch, range(3, 1000))
    with pytest.raises(ModelError, match=r"does not recover at step 28: .* lower optimizer.learning_rate") as caught:
        train(dataset, run, config=longer, epochs=100, **EXACT)
    assert "\n" not in str(caught.value)
    assert [row["event"] for row in rows(run / "events.csv")].count("rolled back") == 4
    assert (run / "last.ckpt").exists()


def test_a_run_that_never_was_finite_leaves_nothing(
    dataset: Path, longer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer.write_text(longer.read_text().replace("crops_per_epoch = 16", "crops_per_epoch = 80"))
    poison(monkeypatch, range(1000))
    with pytest.raises(ModelError, match="does not recover at step 5"):
        train(dataset, tmp_path / "run", config=longer, epochs=9, **EXACT)
    assert not (tmp_path / "run").exists()


def test_a_learning_rate_that_is_far_too_high(dataset: Path, longer: Path, tmp_path: Path) -> None:
    settings = tmp_path / "wild.toml"
    settings.write_text(longer.read_text() + '[optimizer]\nlearning_rate = 1e30\nclip = 0.0\nema = 0.0\n')
    seen = Warned()
    with pytest.raises(ModelError, match="does not recover"):
        train(dataset, tmp_path / "run", config=settings, epochs=100, progress=seen, **EXACT)
    assert any("not finite: the run went back to the weights of step" in text for text in seen.warnings)


def test_a_discriminator_that_wins_is_paused_and_reset(
    dataset: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The discriminator's losses are as good as nothing, and the generator's climbs.
    monkeypatch.setattr(watchdog, "WINDOW", 2)
    climbing = iter(range(1000))
    monkeypatch.setattr(Pix2Pix, "_tell_apart", lambda *_: (torch.tensor(0.01, requires_grad=True),) * 2)
    monkeypatch.setattr(pix2pix, "adversarial_loss", lambda logits, real: logits.float().mean() * 0 + next(climbing))
    changed: list[bool] = []
    reset = Pix2Pix.reset_discriminator

    def noted(self: Pix2Pix) -> None:
        before = [value.clone() for value in self.discriminator.module.parameters()]
        reset(self)
        changed.extend(not torch.equal(*pair) for pair in zip(before, self.discriminator.module.parameters(), strict=True))

    monkeypatch.setattr(Pix2Pix, "reset_discriminator", noted)
    run, seen = tmp_path / "run", Warned()
    train(dataset, run, config=tiny, epochs=4, progress=seen, **EXACT)
    assert [(row["step"], row["event"]) for row in rows(run / "events.csv")] == [
        ("2", "discriminator paused"), ("8", "discriminator reset")
    ]
    assert seen.warnings[0].startswith("The discriminator has won and learns no more")
    assert any(changed)
    # The paper's goes on learning.
    settings = tmp_path / "paper.toml"
    settings.write_text(tiny.read_text().replace("[discriminator]\n", "[discriminator]\npause = false\n"))
    train(dataset, tmp_path / "paper", config=settings, epochs=4, **EXACT)
    assert not (tmp_path / "paper" / "events.csv").exists()


def test_it_stops_when_nothing_becomes_better(
    dataset: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "patient.toml"
    settings.write_text("patience = 2\n" + tiny.read_text())
    scores = iter([0.5, 0.7, 0.7, 0.6, 0.9, 0.9, 0.9, 0.9])

    def score(*_arguments: Any, **_options: Any) -> Score:
        return Score(0.5, 0.6, 0.6, 0.4, 0.3, object_f1=next(scores))

    monkeypatch.setattr(Validation, "score", score)
    result = train(dataset, tmp_path / "run", config=settings, epochs=50, **EXACT)
    assert (result.epochs, result.best_epoch, result.object_f1) == (4, 2, 0.7)
    assert result.ended == "stopped early at epoch 4: 2 validations in a row were no better than that of epoch 2"
    assert load_checkpoint(result.best)["counters"]["epoch"] == 2
    assert train(dataset, tmp_path / "run", resume=True, **EXACT).epochs == 4
    # Another length is a wish to go on.
    assert train(dataset, tmp_path / "run", resume=True, epochs=6, **EXACT).epochs == 6


def test_a_batch_of_ones_own(dataset: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = train(dataset, tmp_path / "two", config=tiny, epochs=1, batch=2, **EXACT)
    assert (result.batch, result.steps) == (2, 4)
    assert load_config(None, tmp_path / "two" / "config.toml").data.batch == 2
    monkeypatch.setattr(memory, "LARGEST", 8)
    monkeypatch.setattr(trainer, "find_batch", lambda *given, **told: memory.find_batch(*given, **told, most=8))
    result = train(dataset, tmp_path / "auto", config=tiny, epochs=1, batch="auto", **EXACT)
    assert (result.batch, result.steps) == (8, 1)
    # To look for it leaves no trace in what is learnt.
    train(dataset, tmp_path / "eight", config=tiny, epochs=1, batch=8, **EXACT)
    assert differing(tmp_path / "auto" / "last.ckpt", tmp_path / "eight" / "last.ckpt") == []


def test_memory_that_runs_out(dataset: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Pix2Pix.step

    def hungry(self: Pix2Pix, batch: Any, **options: Any) -> dict[str, Any]:
        if len(batch.image) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return step(self, batch, **options)

    monkeypatch.setattr(Pix2Pix, "step", hungry)
    with pytest.raises(OptionError, match="A batch of 4 crops of 64 px does not fit into memory; 2 would: give --batch 2"):
        train(dataset, tmp_path / "run", config=tiny, epochs=1, **EXACT)
    assert not (tmp_path / "run").exists()


def test_more_bands(make_dataset: Callable[..., Path], tiny: Path, tmp_path: Path) -> None:
    assert train(make_dataset(bands=5), tmp_path / "run", config=tiny, epochs=1, **EXACT).steps == 2
    assert load_checkpoint(tmp_path / "run" / "last.ckpt")["data"]["bands"] == 5


def test_pretrained_weights_are_needed_once(dataset: Path, tiny: Path, tmp_path: Path) -> None:
    encoders = pytest.importorskip("segmentation_models_pytorch", reason="needs geofootprint[train]").encoders
    weights, config, run = tmp_path / "encoder.pth", tmp_path / "smp.toml", tmp_path / "run"
    torch.save(encoders.get_encoder("mobilenet_v2", weights=None).state_dict(), weights)
    told = f'[generator]\nname = "smp:fpn:mobilenet_v2"\nencoder_weights = "{weights}"'
    config.write_text(tiny.read_text().replace("[generator]\nwidth = 4", told) + "[optimizer]\nlearning_rate = 0.0\n")
    notes = StopAt(10**9)
    train(dataset, run, config=config, epochs=1, progress=notes, **EXACT)
    assert ["uses group normalisation over the whole patch" in text for text in notes.warnings] == [True]
    kept = load_checkpoint(run / "last.ckpt")["networks"]["generator"]["network.encoder.features.0.0.weight"]
    assert torch.equal(kept, torch.load(weights)["features.0.0.weight"])
    weights.unlink()
    assert train(dataset, run, resume=True, epochs=2, **EXACT).epochs == 2
    start = run / "last.ckpt"
    assert train(dataset, tmp_path / "other", config=config, epochs=1, init_from=start, **EXACT).epochs == 1
    with pytest.raises(MissingFileError, match=r"encoder\.pth does not exist; check generator\.encoder_weights"):
        train(dataset, tmp_path / "third", config=config, epochs=1, **EXACT)
    assert not (tmp_path / "third").exists()


def test_batches_of_a_device_resume_to_the_bit(
    dataset: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "open_stream", DeviceStream)
    train(dataset, tmp_path / "whole", config=tiny, epochs=2, **EXACT)
    with pytest.raises(Cancelled):
        train(dataset, tmp_path / "run", config=tiny, epochs=2, progress=StopAt(3), **EXACT)
    train(dataset, tmp_path / "run", resume=True, **EXACT)
    assert differing(tmp_path / "whole" / "last.ckpt", tmp_path / "run" / "last.ckpt") == []


@pytest.mark.parametrize("part", ["config", "networks", "counters"])
def test_a_checkpoint_that_lacks_a_part(dataset: Path, tiny: Path, tmp_path: Path, part: str) -> None:
    run = tmp_path / "run"
    run.mkdir()
    save_checkpoint(run / "last.ckpt", {name: {} for name in ("config", "networks", "counters", "data") if name != part})
    with pytest.raises(ModelError, match=f"lacks {part}; begin a new run with --init-from"):
        train(dataset, run, resume=True, **EXACT)


def test_a_configuration_in_the_folder_of_a_run_that_fails_stays(dataset: Path, tiny: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    settings = run / "config.toml"
    settings.write_text(tiny.read_text())

    class Stop:
        def update(self, *_: object) -> None:
            raise ModelError("enough")

        def warn(self, text: str) -> None: ...

    with pytest.raises(ModelError, match="enough"):
        train(dataset, run, config=settings, epochs=1, progress=Stop(), **EXACT)
    assert settings.exists()
    assert not (run / "samples").exists()

