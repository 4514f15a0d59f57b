from __future__ import annotations

import pickle
import signal
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs geofootprint[train]")

from geofootprint._version import __version__  # noqa: E402
from geofootprint.errors import MissingFileError, ModelError, OutputError  # noqa: E402
from geofootprint.learning import checkpoint  # noqa: E402
from geofootprint.learning.checkpoint import SCHEMA, load_checkpoint, save_checkpoint  # noqa: E402

KILLED_WHILE_SAVING = """
import os, signal, sys
import torch
from geofootprint.learning.checkpoint import save_checkpoint

class Dying(dict):
    def __reduce__(self):  # called once the file is open and half of it written
        os.kill(os.getpid(), signal.SIGKILL)

save_checkpoint(sys.argv[1], {"step": 2, "weights": torch.zeros(1_000_000), "more": Dying()})
"""


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "last.ckpt"
    save_checkpoint(path, {"step": 1, "weights": torch.arange(1000.0)})
    return path


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    state = {
        "step": 3, "rate": 0.5, "name": "a", "nothing": None, "list": [1, 2.0],
        "networks": {"weights": OrderedDict(a=torch.randn(2, 3).to(memory_format=torch.contiguous_format))},
    }
    save_checkpoint(path, state)
    loaded = load_checkpoint(path)
    assert torch.equal(loaded["networks"]["weights"]["a"], state["networks"]["weights"]["a"])  # type: ignore[index]
    assert {name: loaded[name] for name in ("step", "rate", "name", "nothing", "list")} == {
        name: state[name] for name in ("step", "rate", "name", "nothing", "list")
    }
    assert (loaded["schema"], loaded["version"]) == (SCHEMA, __version__)
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_killed_while_saving_the_old_one_stays(saved: Path) -> None:
    command = [sys.executable, "-c", KILLED_WHILE_SAVING, str(saved)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert load_checkpoint(saved)["step"] == 1


@contextmanager
def small_files(limit: int) -> Iterator[None]:
    """Let no file grow beyond a limit: what a full disk does, for this process alone."""
    resource = pytest.importorskip("resource", reason="needs limits on a file's size")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_disk_full_the_old_one_stays_and_the_message_says_so(saved: Path) -> None:
    with small_files(100_000), pytest.raises(OutputError, match=r"last\.ckpt cannot be written: File too large\.$"):
        save_checkpoint(saved, {"step": 2, "weights": torch.zeros(1_000_000)})
    assert load_checkpoint(saved)["step"] == 1
    assert [entry.name for entry in saved.parent.iterdir()] == ["last.ckpt"]


def test_folder_is_missing(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        save_checkpoint(tmp_path / "none" / "last.ckpt", {})


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"none\.ckpt does not exist"):
        load_checkpoint(tmp_path / "none.ckpt")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated(saved: Path, share: float) -> None:
    data = saved.read_bytes()
    saved.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelError, match=r"last\.ckpt is not a checkpoint of geofootprint, or is damaged"):
        load_checkpoint(saved)


def test_damaged_in_the_middle(saved: Path) -> None:
    data = bytearray(saved.read_bytes())
    data[40:140] = bytes(100)
    saved.write_bytes(data)
    with pytest.raises(ModelError, match="is damaged"):
        load_checkpoint(saved)


class Exploit:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('code of a checkpoint was run')",)


def test_foreign_pickles_are_not_run(tmp_path: Path) -> None:
    plain, zipped = tmp_path / "plain.ckpt", tmp_path / "zipped.ckpt"
    plain.write_bytes(pickle.dumps(Exploit()))
    torch.save({"schema": 1, "version": "0", "networks": Exploit()}, zipped)
    for path in (plain, zipped):
        with pytest.raises(ModelError, match="is not a checkpoint of geofootprint"):
            load_checkpoint(path)


@pytest.mark.parametrize("content", [torch.zeros(3), {"state_dict": {}}, [1, 2]])
def test_checkpoints_of_others(tmp_path: Path, content: object) -> None:
    path = tmp_path / "other.ckpt"
    torch.save(content, path)
    with pytest.raises(ModelError, match="is not a checkpoint of geofootprint"):
        load_checkpoint(path)


def test_newer_schema(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "SCHEMA", SCHEMA + 1)
    save_checkpoint(saved, {})
    monkeypatch.undo()
    with pytest.raises(ModelError, match=f"was written by geofootprint {__version__}, which is newer; update geofootprint"):
        load_checkpoint(saved)


def test_flipped_bits_are_seen(saved: Path) -> None:
    data = bytearray(saved.read_bytes())
    middle = data.index(torch.arange(500.0, 502.0).numpy().tobytes())
    data[middle] ^= 1
    saved.write_bytes(data)
    with pytest.raises(ModelError, match="or is damaged"):
        load_checkpoint(saved)


def test_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"is a folder; give the best.ckpt of a run"):
        load_checkpoint(tmp_path)
