"""The folder of a training run.

::

    RUN/config.toml        every setting, resolved; --config takes it
    RUN/losses.csv         means of the losses every few steps
    RUN/scores.csv         one row a validation
    RUN/events.csv         steps that were left out, and what else the watchdog did; only if it did
    RUN/progress.png       both as curves, drawn anew at each validation
    RUN/tensorboard/       the same for TensorBoard
    RUN/samples/NNNN.png   image, label, prediction and error of some validation tiles
    RUN/last.ckpt          what --resume goes on from
    RUN/good.ckpt          what the watchdog goes back to; only while the run goes on
    RUN/best.ckpt          the weights of the best validation: by object F1 in steps of 0.005, of equal ones by IoU
    RUN/report.html        all of it on one page, when the run has ended
"""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from geofootprint.config import TrainConfig, to_toml
from geofootprint.errors import MissingFileError, OutputError
from geofootprint.output import atomic_path

__all__ = ["RunFolder"]

TABLES = ("losses.csv", "scores.csv", "events.csv")

PARTS = (
    "config.toml", *TABLES, "progress.png", "tensorboard", "samples", "good.ckpt", "best.ckpt", "report.html",
)


class RunFolder:
    """Paths of a run, and its tables.

    Parameters
    ----------
    path : path

    Attributes
    ----------
    path, last, good, best : pathlib.Path
        The folder and its checkpoints.
    curves, report, tensorboard : pathlib.Path
        What a person looks at.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.last = self.path / "last.ckpt"
        self.good = self.path / "good.ckpt"
        self.best = self.path / "best.ckpt"
        self.curves = self.path / "progress.png"
        self.report = self.path / "report.html"
        self.tensorboard = self.path / "tensorboard"

    def check(self, *, resume: bool) -> None:
        """Refuse a folder that cannot become a run, or is none to resume, before any work is done.

        Raises
        ------
        MissingFileError, OutputError
        """
        if resume and not self.last.is_file():
            raise MissingFileError(f"{self.last} does not exist; leave --resume out to begin a run in {self.path}.")
        if resume:
            return
        if self.last.exists():
            raise OutputError(f"{self.path} already holds a run; go on with it by --resume, or choose another folder.")
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"{self.path} is a file; give the name of a folder for the run.")
        # What a run leaves that was killed before its first checkpoint may go.
        if self.path.is_dir() and any(self.path.iterdir()) and not (self.path / "config.toml").is_file():
            raise OutputError(f"{self.path} is not a run and not empty; choose another folder for the run.")

    @contextmanager
    def opened(self, config: TrainConfig, *, step: int, validated: int) -> Iterator[None]:
        """Make the folder, or take it up again; should no checkpoint come of it, what was made goes again.

        Parameters
        ----------
        config : TrainConfig
        step, validated : int
            Steps done, and the one of the last validation; rows of later ones are from a part of the run that was lost.

        Raises
        ------
        OutputError
            If the folder cannot be made or written to.
        """
        missing = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        theirs = {name for name in PARTS if (self.path / name).exists()}  # such as the config.toml that was given
        try:
            with self._writing():
                self._make(config, step, validated)
            yield
        except BaseException:
            if not self.last.exists():
                self._remove(missing, theirs)
            raise

    def _make(self, config: TrainConfig, step: int, validated: int) -> None:
        (self.path / "samples").mkdir(parents=True, exist_ok=True)
        for leftover in self.path.glob(".*.ckpt"):  # of a process that was killed while it saved
            leftover.unlink()
        with atomic_path(self.path / "config.toml") as temporary:
            temporary.write_text(to_toml(config), encoding="utf-8")
        for table in TABLES:
            self._keep_rows(table, validated if table == "scores.csv" else step)

    def _remove(self, missing: list[Path], theirs: set[str]) -> None:
        for name in set(PARTS) - theirs:
            part = self.path / name
            with suppress(OSError):
                shutil.rmtree(part) if part.is_dir() else part.unlink()
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()

    def append(self, name: str, row: Mapping[str, Any]) -> None:
        """Add a row to one of the tables.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        path = self.path / name
        with self._writing():
            new = not path.exists()
            with open(path, "a", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, fieldnames=list(row))
                if new:
                    writer.writeheader()
                writer.writerow(row)

    def read(self, name: str) -> list[dict[str, str]]:
        """Return the rows of one of the tables; none where it was not begun."""
        path = self.path / name
        if not path.exists():
            return []
        with open(path, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def keep_as_good(self) -> None:
        """Keep ``last.ckpt`` as ``good.ckpt`` too, when it is replaced; takes no time, where the disk has links.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        with atomic_path(self.good) as temporary:
            try:
                os.link(self.last, temporary)
            except OSError:  # a file system without links
                shutil.copyfile(self.last, temporary)

    def _keep_rows(self, name: str, step: int) -> None:
        path = self.path / name
        if not path.exists():
            return
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            names = reader.fieldnames or ["step"]
            whole = [row for row in reader if None not in row.values()]  # the last may be cut short
        rows = [row for row in whole if int(row["step"]) <= step]
        with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=names)
            writer.writeheader()
            writer.writerows(rows)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OutputError:
            raise
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror}; choose another folder.") from error

    def sample(self, epoch: int) -> Path:
        """Return the path of the pictures of a validation."""
        return self.path / "samples" / f"{epoch:04d}.png"
