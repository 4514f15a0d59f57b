"""The folder of the private environment: one set-up at a time, the old one kept until the new one works."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from .runner import EngineError
from .setup_marker import MARKER, is_ours, read_marker

if os.name == "nt":
    import msvcrt
else:
    import fcntl

HELD = (errno.EWOULDBLOCK, errno.EACCES)
"""What locking a file gives that another process has locked; EACCES is how Windows says it."""


def aside(folder: Path) -> Path:
    """Return where the old environment waits while a new one is made."""
    return folder.with_name(f"{folder.name}.old")


def unpacking(folder: Path) -> Path:
    """Return where the wheels of a bundle lie while they are installed."""
    return folder.with_name(f"{folder.name}.wheels")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other set-ups of the same folder out, in this QGIS and in others.

    Raises
    ------
    EngineError
        If one is going on, or the parent folder cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        file = folder.with_name(f"{folder.name}.lock").open("a+b")
    except OSError as error:
        raise not_writable(folder, error) from error
    with file:
        try:
            _lock(file)  # the system opens it again when this process ends, in whatever way
        except OSError as error:
            if error.errno not in HELD:  # a file system without locks, as some network drives are
                raise not_writable(folder, error) from error
            raise EngineError(
                "Another window of QGIS is setting up {folder}; wait until it is done.", folder=folder
            ) from error
        yield


def _lock(file: IO[bytes]) -> None:
    if os.name == "nt":
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def not_writable(folder: Path, error: OSError) -> EngineError:
    """Return the error that an environment cannot be made at this place."""
    return EngineError(
        "{folder} cannot be written ({why}); choose another folder, or end what uses it, and try again.",
        folder=folder,
        why=error.strerror or error,
    )


def refuse_foreign(folder: Path) -> None:
    """Raise EngineError if there is something at this place that this plugin did not make."""
    if folder.exists() and not is_ours(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise EngineError(
            "{folder} was not made by this plugin and is left alone; choose another folder, or choose it as Python in "
            "Settings > Options > geofootprint.",
            folder=folder,
        )


def recover(folder: Path) -> None:
    """Remove what an interrupted set-up or removal left, and put the environment before it back."""
    remove_tree(unpacking(folder))
    for place in (folder, aside(folder)):
        marker = read_marker(place)
        if marker is not None and not marker.ready:
            remove_tree(place)
    if folder.exists():  # the new one was ready, only the old one was not removed any more
        remove_tree(aside(folder))
    elif is_ours(aside(folder)):
        _rename(aside(folder), folder)


@contextmanager
def replacing(folder: Path) -> Iterator[None]:
    """Have the folder made anew: the old one comes back if that fails, and goes if it succeeds."""
    refuse_foreign(folder)
    if is_ours(folder):
        _rename(folder, aside(folder))
    try:
        yield
    except BaseException:
        remove_tree(folder)
        if is_ours(aside(folder)):
            _rename(aside(folder), folder)
        raise
    remove_tree(aside(folder))


def remove_tree(folder: Path) -> None:
    """Remove an environment of ours, and nothing else.

    Raises
    ------
    EngineError
        If a file in it is in use or may not be removed.
    """
    if not is_ours(folder):
        return
    try:
        # An empty marker says "not ready", and it goes last: what is half removed is never taken for whole or foreign.
        (folder / MARKER).open("w").close()
        for entry in folder.iterdir():
            if entry.name != MARKER:
                _remove_entry(entry)
        shutil.rmtree(folder)
    except OSError as error:
        raise EngineError(
            "{folder} cannot be removed ({why}); end what uses it, and press the button again.",
            folder=folder,
            why=error.strerror or error,
        ) from error


def _remove_entry(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _rename(folder: Path, target: Path) -> None:
    try:
        os.replace(folder, target)
    except OSError as error:
        raise EngineError(
            "{folder} is in use ({why}); end algorithms of geofootprint that are running, and press the button again.",
            folder=folder,
            why=error.strerror or error,
        ) from error
