from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs geofootprint[train]")

from geofootprint.config import PRESETS, load_config
from geofootprint.errors import MissingFileError, OutputError
from geofootprint.learning.run_folder import RunFolder
from geofootprint.output import atomic_path

CONFIG = PRESETS["footprint"]


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_a_new_run(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "a" / "b")
    run.check(resume=False)
    with run.opened(CONFIG, step=0, validated=0):
        run.append("losses.csv", {"step": 20, "bce": 0.5})
        run.append("losses.csv", {"step": 40, "bce": 0.25})
        run.last.touch()
    assert names(run.path) == {"config.toml", "losses.csv", "samples", "last.ckpt"}
    assert (run.path / "losses.csv").read_text() == "step,bce\n20,0.5\n40,0.25\n"
    assert load_config(None, run.path / "config.toml") == CONFIG
    assert run.sample(3) == run.path / "samples" / "0003.png"


def test_a_run_that_came_to_nothing_leaves_nothing(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "a" / "b")

    def fail() -> None:
        with run.opened(CONFIG, step=0, validated=0):
            run.append("losses.csv", {"step": 20})
            run.append("events.csv", {"step": 20})
            run.tensorboard.mkdir()
            for path in (run.sample(1), run.curves, run.report, run.good, run.tensorboard / "events"):
                path.write_bytes(b"something")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert names(tmp_path) == set()


def test_but_a_checkpoint_stays(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")

    def fail() -> None:
        with run.opened(CONFIG, step=0, validated=0):
            run.last.touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert names(run.path) == {"config.toml", "samples", "last.ckpt"}


def test_a_folder_that_was_there_stays(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    with pytest.raises(ZeroDivisionError), run.opened(CONFIG, step=0, validated=0):
        raise ZeroDivisionError
    assert names(tmp_path) == {"run"}
    assert names(run.path) == set()


def test_going_on_drops_rows_of_the_part_that_was_lost(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.last.touch()
    (tmp_path / ".last.123.ckpt").touch()  # of a process that was killed while it saved
    for step in (20, 40, 60):
        run.append("losses.csv", {"step": step, "bce": 0.5})
        run.append("events.csv", {"step": step, "event": "step skipped"})
    for epoch, step in enumerate((25, 50), start=1):
        run.append("scores.csv", {"epoch": epoch, "step": step, "iou": 0.5})
    with open(tmp_path / "losses.csv", "a") as file:
        file.write("80")  # killed while it wrote
    with run.opened(CONFIG, step=50, validated=25):
        pass
    assert (tmp_path / "losses.csv").read_text() == "step,bce\n20,0.5\n40,0.5\n"
    assert (tmp_path / "scores.csv").read_text() == "epoch,step,iou\n1,25,0.5\n"
    assert [row["step"] for row in run.read("events.csv")] == ["20", "40"]
    assert names(tmp_path) == {"config.toml", "losses.csv", "scores.csv", "events.csv", "samples", "last.ckpt"}


@pytest.mark.parametrize("links", [True, False])
def test_what_is_good_stays_when_the_last_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    run = RunFolder(tmp_path)
    for state in ("one", "two"):
        run.last.write_text(state)
        run.keep_as_good()
        with atomic_path(run.last) as temporary:
            temporary.write_text("later")
        assert (run.good.read_text(), run.last.read_text()) == (state, "later")
    assert names(tmp_path) == {"last.ckpt", "good.ckpt"}


def test_a_table_that_was_not_begun(tmp_path: Path) -> None:
    assert RunFolder(tmp_path).read("events.csv") == []


def test_an_existing_run_is_not_overwritten(tmp_path: Path) -> None:
    RunFolder(tmp_path).last.touch()
    with pytest.raises(OutputError, match="already holds a run; go on with it by --resume, or choose another"):
        RunFolder(tmp_path).check(resume=False)
    RunFolder(tmp_path).check(resume=True)


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").touch()
    with pytest.raises(OutputError, match="is not a run and not empty; choose another folder"):
        RunFolder(tmp_path).check(resume=False)
    with pytest.raises(OutputError, match="is a file; give the name of a folder"):
        RunFolder(tmp_path / "dataset.json").check(resume=False)


def test_a_run_killed_before_its_first_checkpoint_may_begin_anew(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    (tmp_path / "config.toml").touch()
    run.append("losses.csv", {"step": 20, "bce": 0.5})
    run.check(resume=False)
    with run.opened(CONFIG, step=0, validated=0):
        run.last.touch()
    assert (tmp_path / "losses.csv").read_text() == "step,bce\n"


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"last\.ckpt does not exist; leave --resume out to begin a run"):
        RunFolder(tmp_path / "none").check(resume=True)


def test_no_folder_can_be_made_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    run = RunFolder(tmp_path / "file" / "run")
    with pytest.raises(OutputError, match="cannot be written"), run.opened(CONFIG, step=0, validated=0):
        pass


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user whom permissions bind")
def test_no_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    run = RunFolder(tmp_path / "run")
    with pytest.raises(OutputError, match="cannot be written: Permission denied"), run.opened(CONFIG, step=0, validated=0):
        pass
