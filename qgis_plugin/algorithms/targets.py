"""Where footprints are written: what was there before, whether all came in, and what is taken away after a failure."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from qgis.core import (
    QgsDataSourceUri,
    QgsProcessingOutputLayerDefinition,
    QgsProviderConnectionException,
    QgsProviderRegistry,
    QgsVectorFileWriter,
    QgsVectorLayer,
)

from ..core.runner import EngineError

NO_FILE = re.compile(r"\w{2,}:")
"""Beginning of an output in a database or the memory; a drive of Windows has one letter."""

SMALLEST = 2**19
"""Bytes that any output needs beside its features; an empty GeoPackage has a fifth of that."""


@dataclass(frozen=True)
class Target:
    """An output as it was before anything was written; only files are looked after, not databases on servers.

    Parameters
    ----------
    path : str
        Of the file, or something that is none, such as "memory:".
    table : str
        In a GeoPackage whose other tables stay, or "" where the file is the layer.
    appends : bool
        Whether the rows go into a layer that stays, and so does all that it holds.
    existed : bool
        Whether the file was there.
    rows : int
        Of the layer, or -1 where there was none.
    """

    path: str
    table: str
    appends: bool
    existed: bool
    rows: int

    def require_other(self, inputs: Iterable[str]) -> None:
        """Refuse to put the output in the place of a file that it is made from.

        Raises
        ------
        EngineError
        """
        if self.appends or self.table or not self.existed:
            return
        for path in inputs:
            if os.path.exists(path) and os.path.samefile(path, self.path):
                raise EngineError("{out} is itself read for the result; give the result another name.", out=self.path)

    def require_folder(self) -> None:
        """Refuse an output that cannot be written, before anything is computed for it.

        Raises
        ------
        EngineError
        """
        folder = os.path.dirname(os.path.abspath(self.path))
        if not os.path.splitext(self.path)[1] or NO_FILE.match(self.path):
            return
        if not os.path.isdir(folder):
            raise EngineError(
                "{out} cannot be written: there is no folder {folder}; make it first, or choose another one.",
                out=self.path,
                folder=folder,
            )
        if not os.access(folder, os.W_OK):
            raise EngineError(
                "{out} cannot be written: you may not write in the folder {folder}; choose another one.",
                out=self.path,
                folder=folder,
            )
        if self.path.lower().endswith(".dxf"):
            raise EngineError("{out} cannot be written: DXF has no columns; choose another format.", out=self.path)

    def require_room(self, size: int) -> None:
        """Refuse a full disk as long as an old output is still whole: QGIS's first step is to delete that.

        Raises
        ------
        EngineError
        """
        folder = os.path.dirname(os.path.abspath(self.path))
        is_file = bool(os.path.splitext(self.path)[1]) and os.path.isdir(folder)
        if is_file and shutil.disk_usage(folder).free < size + SMALLEST:
            raise EngineError(
                "The disk of {out} is full; make room for {megabytes} MB.",
                out=self.path,
                megabytes=max(1, round((size + SMALLEST) / 2**20)),
            )

    def has_lost(self, destination: str, count: int) -> bool:
        """Say whether features got lost when a file was closed, of which QGIS says nothing."""
        source = _source(self.path, self.table) if self.appends else destination
        if not os.path.isfile(_path_in(source)):
            return False
        return _rows_of(source) < (self.rows + count if self.appends else count)

    def take_away(self, destination: str = "") -> None:
        """Take away what there is of a failed output, and nothing that was there before.

        Parameters
        ----------
        destination : str
            What QGIS made of the output's name, if it came so far. It has then put a file in the place of an old one.
        """
        if self.appends:
            return
        if not self.table:
            if destination or not self.existed:
                _remove(destination or self.path)
        elif not self.existed:
            _remove(self.path)
        elif self.rows < 0:
            _drop(self.path, self.table)


def target_of(value: Any) -> Target:
    """Return the target that an output's value names.

    Parameters
    ----------
    value
        Of the parameter: a text, or a definition of what QGIS shall do with the layer.
    """
    appends = False
    if isinstance(value, QgsProcessingOutputLayerDefinition):
        appends, value = value.useRemapping(), value.sink.staticValue()
    text = value if isinstance(value, str) else ""
    path, table = text, ""
    if text.startswith("ogr:"):
        uri = QgsDataSourceUri(text[len("ogr:") :])
        path, table = uri.database(), uri.table()
    existed = os.path.isfile(path)
    return Target(path, table, appends, existed, _rows_of(_source(path, table)) if existed else -1)


def _rows_of(source: str) -> int:
    layer = QgsVectorLayer(source, "rows", "ogr")
    return int(layer.featureCount()) if layer.isValid() else -1


def _source(path: str, table: str) -> str:
    return f"{path}|layername={table}" if table else path


def _path_in(source: str) -> str:
    return str(QgsProviderRegistry.instance().decodeUri("ogr", source).get("path") or "")


def _remove(path: str) -> None:
    if path.lower().endswith(".shp"):
        QgsVectorFileWriter.deleteShapeFile(path)
    elif os.path.isfile(path):
        for one in (path, f"{path}-journal", f"{path}-wal", f"{path}-shm"):
            if os.path.exists(one):
                os.remove(one)


def _drop(path: str, table: str) -> None:
    connection = QgsProviderRegistry.instance().providerMetadata("ogr").createConnection(path, {})
    # A disk that is full may not even take this; the failure is told anyway.
    with suppress(QgsProviderConnectionException):
        if table in (one.tableName() for one in connection.tables()):
            connection.dropVectorTable("", table)
