from __future__ import annotations

import csv
import importlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from geofootprint_cli.train import command

pytest.importorskip("torch", reason="needs geofootprint[train]")

from geofootprint.learning import trainer
from geofootprint.learning.checkpoint import load_checkpoint
from geofootprint.learning.trainer import TrainResult

Run = Callable[..., Result]

TINY = """\
compile = false
[generator]
width = 4
[discriminator]
width = 4
noise = 0.0
[data]
patch = 64
batch = 4
crops_per_epoch = 8
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset of 25 tiles: dark ground, a bright house on each."""
    import geopandas as gpd
    import rasterio
    import shapely
    from affine import Affine

    from geofootprint.tiling import tile

    folder = tmp_path_factory.mktemp("village")
    place = Affine(0.15, 0, 680_000, 0, -0.15, 5_238_000)
    pixels = np.full((3, 320, 320), 50, np.uint8)
    houses = []
    for top in range(16, 320, 64):
        for left in range(16, 320, 64):
            pixels[:, top : top + 20, left : left + 30] = 200
            corners = [(left, top), (left + 30, top), (left + 30, top + 20), (left, top + 20)]
            houses.append(shapely.Polygon([place * corner for corner in corners]))
    with rasterio.open(
        folder / "village.tif", "w", driver="GTiff", count=3, height=320, width=320, dtype="uint8", crs="EPSG:25832",
        transform=place,
    ) as image:
        image.write(pixels)
    gpd.GeoDataFrame(geometry=houses, crs="EPSG:25832").to_file(folder / "village.gpkg")
    tile(folder / "village.tif", folder / "village.gpkg", folder / "tiles", size=64, split=(0.6, 0.2, 0.2))
    return folder / "tiles"


class Called(Exception):
    """Carries what the library was called with."""


@pytest.mark.parametrize(
    ("arguments", "keywords"),
    [
        ([], {"resume": False}),
        (["--preset", "pix2pix"], {"preset": "pix2pix", "resume": False}),
        (["--config", "a.toml", "--epochs", 3], {"config": "a.toml", "epochs": 3, "resume": False}),
        (["--minutes", 2.5, "--seed", 0], {"minutes": 2.5, "seed": 0, "resume": False}),
        (["--resume", "--device", "cpu"], {"resume": True, "device": "cpu"}),
        (["--init-from", "a.ckpt", "--precision", "bf16"], {"init_from": "a.ckpt", "precision": "bf16", "resume": False}),
        (["--devices", 2, "--batch", 12], {"devices": 2, "batch": 12, "resume": False}),
        (["--batch", "auto"], {"batch": "auto", "resume": False}),
    ],
)
def test_options_are_keywords(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[object], keywords: dict[str, object]
) -> None:
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def record(*given: Any, **told: Any) -> TrainResult:
        del told["progress"]
        calls.append((given, told))
        return TrainResult(
            run="run", best="run/best.ckpt", last="run/last.ckpt", object_f1=0.4, boundary_iou=0.3, iou=0.5, f1=0.66,
            threshold=0.4, best_epoch=2, epochs=3, steps=300, images_per_second=12.5, batch=8,
            ended="its 3 epochs are done", report="run/report.html",
        )

    monkeypatch.setattr(trainer, "train", record)
    result = run("train", "tiles", "-o", "run", *arguments)
    assert result.exit_code == 0, result.output
    assert calls == [(([("tiles", 1.0)], "run"), keywords)]
    assert result.output.strip() == (
        "The best validation, of epoch 2, has object F1 0.400 and pixel IoU 0.500; 12.5 images/s; its 3 epochs are done. "
        "Checkpoints are run/best.ckpt and run/last.ckpt, the report is run/report.html."
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tiles", ("tiles", 1.0)),
        ("tiles:0.5", ("tiles", 0.5)),
        ("a/b:2", ("a/b", 2.0)),
        (r"C:\tiles", (r"C:\tiles", 1.0)),
        (r"C:\tiles:3", (r"C:\tiles", 3.0)),
        (":0.5", (":0.5", 1.0)),
    ],
)
def test_weights_follow_a_colon(text: str, expected: tuple[str, float]) -> None:
    assert importlib.import_module(command.callback.__module__)._split_weight(text) == expected


def test_a_folder_may_be_called_like_a_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiles:2").mkdir()
    assert importlib.import_module(command.callback.__module__)._split_weight("tiles:2") == ("tiles:2", 1.0)


def test_json_result(run: Run, dataset: Path, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "run"
    result = run(
        "train", dataset, "-o", out, "--config", tiny, "--epochs", 1, "--device", "cpu", "--precision", "32", "--json"
    )
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    fields = json.loads(result.stdout)
    assert fields["images_per_second"] > 0
    assert 0 <= fields["iou"] <= 1
    assert (fields["epochs"], fields["steps"]) == (1, 2)
    assert (fields["run"], fields["best"], fields["last"]) == (str(out), str(out / "best.ckpt"), str(out / "last.ckpt"))
    assert Path(fields["best"]).is_file()
    assert Path(fields["last"]).is_file()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["none"], "none does not exist"),
        (["{tiles}", "--preset", "best"], "no preset 'best'"),
        (["{tiles}", "--epochs", "0"], "--epochs must be more than 0"),
        (["{tiles}:0"], "weight of .* must be more than 0"),
        (["{tiles}", "--config", "none.toml"], r"none\.toml does not exist"),
        (["{tiles}", "--batch", "0"], "--batch must be a whole number from 1 to 4096, or auto"),
        (["{tiles}", "--resume"], "leave --resume out to begin a run"),
    ],
)
def test_bad_input_is_one_sentence(
    run: Run, dataset: Path, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    told = [argument.replace("{tiles}", str(dataset)) for argument in arguments]
    result = run("train", *told, "-o", tmp_path / "run")
    assert result.exit_code == 2
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("Error: ")
    assert re.search(sentence, line)
    assert not (tmp_path / "run").exists()


def test_a_batch_that_is_no_number(run: Run, dataset: Path, tmp_path: Path) -> None:
    result = run("train", dataset, "-o", tmp_path / "run", "--batch", "many")
    assert result.exit_code == 2
    assert "'many' is neither a whole number nor auto." in result.stderr


def test_a_gpu_that_is_not_there(run: Run, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = run("train", dataset, "-o", tmp_path / "run", "--device", "cuda")
    assert result.exit_code == 2
    assert "No CUDA device is available here; use --device cpu" in result.stderr


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "geofootprint_cli", *[str(argument) for argument in arguments]]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
def test_ctrl_c_saves_and_the_run_goes_on(run: Run, dataset: Path, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with start(
        "--progress", "json", "train", dataset, "-o", out, "--config", tiny, "--epochs", 1000, "--device", "cpu"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "progress" and event["done"] >= 1:
                break
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors == ""
    last = json.loads(rest.strip().splitlines()[-1])
    assert last == {
        "event": "error", "code": 130, "text": f"Cancelled; geofootprint train --resume goes on with {out}."
    }
    step = load_checkpoint(out / "last.ckpt")["counters"]["step"]
    assert step >= 1
    result = run("train", dataset, "-o", out, "--resume", "--epochs", step // 2 + 1, "--device", "cpu", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["steps"] == 2 * (step // 2 + 1)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs gloo")
def test_two_processes_learn_what_one_does(run: Run, dataset: Path, tmp_path: Path) -> None:
    # With losses that are means over pixels, all of them known: the mean of two halves is that of the whole.
    settings = tmp_path / "settings.toml"
    settings.write_text(TINY + "scale = [0.5, 0.5]\nrotation = 0.0\n" + MEANS)
    together, alone = tmp_path / "together", tmp_path / "alone"
    common = ("--config", settings, "--epochs", 1, "--device", "cpu", "--precision", "32", "--json")
    with start("train", dataset, "-o", together, *common, "--devices", 2) as process:
        output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    fields = json.loads(output)  # of one process alone
    assert run("train", dataset, "-o", alone, *common).exit_code == 0
    one, other = (load_checkpoint(folder / "last.ckpt") for folder in (together, alone))
    assert fields["steps"] == one["counters"]["step"] == 2
    assert one["networks"]["generator"].keys() == other["networks"]["generator"].keys()
    (shared,), (single,) = (read_rows(folder / "losses.csv") for folder in (together, alone))
    for name in ("bce", "l1", "adversarial", "discriminator_real", "discriminator_fake"):
        assert float(shared[name]) == pytest.approx(float(single[name]), rel=1e-3), name
    assert len(read_rows(together / "scores.csv")) == 1


MEANS = """\
[loss]
dice = 0.0
contour = 0.0
adversarial = 0.1
adversarial_start = 0.0
"""


def read_rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))
