"""An offline bundle: a zip with geofootprint's wheel, those of all it needs, and a list of them with their sums.

`scripts/make_bundle.py` makes it. It holds for one version, one series of Python and one platform.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from .runner import EngineCancelled, EngineError, Listener
from .setup_marker import MARKER
from .texts import marked

MANIFEST = "manifest.json"
"""Name of the list inside the zip."""

FORMAT = 1
"""Version of the list that this plugin reads."""

WHEELS = "wheels"
"""Folder of the wheels inside the zip."""

CHECKING = marked("Checking the bundle")
"""Name of the stage in which sums are compared."""

BLOCK = 1 << 20

DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)
"""What reading a file that is cut off, altered or encrypted raises."""

WHEEL_NAME = re.compile(r"[A-Za-z0-9._+]+(-[A-Za-z0-9._+]+){4,5}\.whl")
"""A file name and nothing else: a path could lead out of the folder."""

SUM = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Wheel:
    """A file of the bundle: its name, its sha256 in hexadecimal and its size in bytes."""

    file: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Bundle:
    """What a bundle says of itself.

    Parameters
    ----------
    path : Path
        Of the zip.
    version : str
        Of geofootprint.
    series : str
        Of Python, such as 3.11.
    platform : str
        As of `setup_python.platform_name`.
    wheels : tuple of Wheel
        All files.
    """

    path: Path
    version: str
    series: str
    platform: str
    wheels: tuple[Wheel, ...]

    @property
    def size(self) -> int:
        """Bytes of all wheels together."""
        return sum(wheel.size for wheel in self.wheels)

    def refuse_version(self, version: str) -> None:
        """Raise EngineError unless the bundle holds this version of geofootprint."""
        if self.version != version:
            raise EngineError(
                "{path} holds geofootprint {have}, and this plugin needs {wanted}; choose the bundle of that version.",
                path=self.path,
                have=self.version,
                wanted=version,
            )

    def refuse_platform(self, platform: str) -> None:
        """Raise EngineError unless the bundle is made for this system and processor."""
        if self.platform != platform:
            raise EngineError(
                "{path} is made for {have}, and this computer is {wanted}; choose the bundle made for that.",
                path=self.path,
                have=self.platform,
                wanted=platform,
            )

    @contextmanager
    def unpacked(self, folder: Path, listener: Listener) -> Iterator[Path]:
        """Give a folder with all wheels, each compared with its sum, that is removed in the end.

        Parameters
        ----------
        folder : Path
            Is made; marked as ours, so that it is removed later if this process is ended meanwhile.
        listener : Listener
            Hears the progress, and may cancel.

        Raises
        ------
        EngineError
            If a wheel is missing, damaged, or is not in the list.
        OSError
            If the folder cannot be written.
        """
        folder.mkdir()
        try:
            (folder / MARKER).touch()
            with _opened(self.path) as archive:
                self._refuse_others(archive)
                done = 0
                for wheel in self.wheels:
                    listener.line(f"{CHECKING}: {wheel.file}")
                    for step in self._extract(archive, wheel, folder):
                        if listener.is_cancelled():
                            raise EngineCancelled("Cancelled.")
                        done += step
                        listener.progress(CHECKING, done, self.size)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _refuse_others(self, archive: zipfile.ZipFile) -> None:
        listed = {MANIFEST, *(f"{WHEELS}/{wheel.file}" for wheel in self.wheels)}
        if set(archive.namelist()) != listed:
            raise damaged(self.path)

    def _extract(self, archive: zipfile.ZipFile, wheel: Wheel, folder: Path) -> Iterator[int]:
        """Write a wheel, yield the bytes of each step, and compare the sum."""
        found = hashlib.sha256()
        try:
            with self._source(archive, wheel) as source, (folder / wheel.file).open("wb") as target:
                while block := self._read(source):
                    found.update(block)
                    target.write(block)
                    yield len(block)
        except DAMAGE as error:
            raise damaged(self.path) from error
        if found.hexdigest() != wheel.sha256:
            raise damaged(self.path)

    def _source(self, archive: zipfile.ZipFile, wheel: Wheel) -> IO[bytes]:
        """Open a wheel; what goes wrong here is the bundle's own, not that of the folder it is unpacked to."""
        try:
            return archive.open(f"{WHEELS}/{wheel.file}")
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def _read(self, source: IO[bytes]) -> bytes:
        try:
            return source.read(BLOCK)
        except OSError as error:
            raise _unreadable(self.path, error) from error


def damaged(path: Path) -> EngineError:
    """Return the error that a bundle did not arrive whole."""
    return EngineError("{path} is damaged or is no bundle; download or copy it again.", path=path)


def _unreadable(path: Path, error: OSError) -> EngineError:
    return EngineError("{path} cannot be read: {why}.", path=path, why=error.strerror or error)


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError as error:
        raise EngineError("No bundle is at {path}; choose the file again.", path=path) from error
    except OSError as error:
        raise _unreadable(path, error) from error
    except zipfile.BadZipFile as error:
        raise damaged(path) from error
    with archive:
        yield archive


def open_bundle(path: Path) -> Bundle:
    """Read what a bundle says of itself; its wheels are not compared yet.

    Raises
    ------
    EngineError
        If it is none, or of a later kind.
    """
    with _opened(path) as archive:
        try:
            content = json.loads(archive.read(MANIFEST))
        except OSError as error:
            raise _unreadable(path, error) from error
        except (KeyError, ValueError, *DAMAGE) as error:
            raise damaged(path) from error
    if isinstance(content, dict) and content.get("format") not in (None, FORMAT):
        raise EngineError("{path} is of a later kind than this plugin reads; update the plugin.", path=path)
    try:
        return _bundle_of(path, content)
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(path) from error


def _bundle_of(path: Path, content: Any) -> Bundle:
    wheels = tuple(Wheel(one["file"], one["sha256"], int(one["size"])) for one in content["wheels"])
    if content["format"] != FORMAT or not all(WHEEL_NAME.fullmatch(one.file) for one in wheels):
        raise ValueError("not a manifest")
    if not all(SUM.fullmatch(one.sha256) for one in wheels):
        raise ValueError("not a sum")
    return Bundle(path, str(content["version"]), str(content["python"]), str(content["platform"]), wheels)
