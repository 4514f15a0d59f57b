"""The state of a training run on disk: written whole or not at all, read without running any code in it."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from geofootprint._version import __version__
from geofootprint.errors import MissingFileError, ModelError, OutputError
from geofootprint.output import atomic_path
from geofootprint.scaling import Scaling

__all__ = ["SCHEMA", "load_checkpoint", "save_checkpoint", "scaling_of", "scalings_of"]

SCHEMA = 1
"""Goes up when an older version would misread a checkpoint."""


def save_checkpoint(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Write a checkpoint that replaces the old one only when it is complete and on the disk.

    Parameters
    ----------
    path : path
    state : dict
        Tensors and plain values.

    Raises
    ------
    OutputError
        If it cannot be written; the old checkpoint is still there.
    """
    try:
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            torch.save({**state, "schema": SCHEMA, "version": __version__}, file)
            file.flush()
            os.fsync(file.fileno())
    except RuntimeError as error:  # torch hides in it what the disk said
        raise OutputError(f"{path} cannot be written: {_reason(error)}.") from error


def _reason(error: BaseException) -> str:
    while error.__context__ is not None and not isinstance(error, OSError):
        error = error.__context__
    return str(error.strerror if isinstance(error, OSError) else error).splitlines()[0]


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint into the CPU's memory.

    Returns
    -------
    dict
        What `save_checkpoint` was given, with ``schema`` and ``version``.

    Raises
    ------
    MissingFileError
        If nothing is at `path`.
    ModelError
        If the file is damaged, not a checkpoint, or of a newer schema.
    """
    if Path(path).is_dir():
        raise MissingFileError(f"{path} is a folder; give the best.ckpt of a run.")
    if not Path(path).is_file():
        raise MissingFileError(f"{path} does not exist; check the path of the checkpoint.")
    damaged = (
        f"{path} is not a checkpoint of geofootprint, or is damaged; give the last.ckpt or best.ckpt of a run, or begin a new "
        "run with --init-from one of them."
    )
    # Torch's older formats, which it would try next, are none of ours.
    if not zipfile.is_zipfile(path):
        raise ModelError(damaged)
    try:
        with zipfile.ZipFile(path) as parts:  # torch writes checksums and does not look at them
            if parts.testzip() is not None:
                raise ModelError(damaged)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise ModelError(damaged) from error
    if not isinstance(state, dict) or "schema" not in state:
        raise ModelError(damaged)
    if state["schema"] > SCHEMA:
        raise ModelError(f"{path} was written by geofootprint {state['version']}, which is newer; update geofootprint.")
    return state


def scaling_of(state: Mapping[str, Any]) -> Scaling | None:
    """Return what made 0 to 1 of the pixels that a checkpoint was trained on; none for uint8."""
    told = state["data"].get("scaling")
    return Scaling(tuple(told["offset"]), tuple(told["divisor"])) if told else None


def scalings_of(state: Mapping[str, Any]) -> dict[str, Scaling]:
    """Return the same by the type of these pixels; nothing for uint8."""
    scaling = scaling_of(state)
    return {} if scaling is None else {state["data"]["dtype"]: scaling}
