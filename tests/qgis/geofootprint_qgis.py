"""Stands for the installed plugin: the folder `qgis_plugin` under the name by which QGIS knows it."""

from pathlib import Path

__path__ = [str(Path(__file__).resolve().parents[2] / "qgis_plugin")]
