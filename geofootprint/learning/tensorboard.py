"""Losses and scores as TensorBoard draws them: event files that `tensorboard --logdir RUN` reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

__all__ = ["TensorBoard"]


class TensorBoard:
    """Curves of one part of a run; use as a context manager.

    Parameters
    ----------
    folder : pathlib.Path
        Gets a file for each part of the run; made with its first curve.
    step : int
        The first step to come: what an earlier part that was lost wrote from there on is not shown.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self._folder, self._step = folder, step
        self._writer: Any = None

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def add(self, group: str, values: Mapping[str, float], step: int) -> None:
        """Add a point to the curve of each value, named ``group/name``."""
        for name, value in values.items():
            self._open().add_scalar(f"{group}/{name}", value, step)

    def tell(self, text: str, step: int) -> None:
        """Add a remark."""
        self._open().add_text("events", text, step)

    def flush(self) -> None:
        """Let what was added be read."""
        if self._writer is not None:
            self._writer.flush()

    def _open(self) -> Any:
        if self._writer is None:
            self._writer = SummaryWriter(str(self._folder), purge_step=self._step or None)
        return self._writer
