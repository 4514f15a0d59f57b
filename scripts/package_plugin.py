"""Build the zip of the QGIS plugin: the same bytes from the same files, wherever and whenever it is made."""

from __future__ import annotations

import argparse
import configparser
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "qgis_plugin"

FOLDER = "geofootprint_qgis"
"""Name inside the zip, by which QGIS and Python know the plugin; `geofootprint` would hide the library."""

SUFFIXES = {".md", ".py", ".qm", ".qml", ".svg", ".txt"}


def plugin_files() -> list[Path]:
    """Return what belongs into the zip, in a fixed order."""
    files = (path for path in SOURCE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return sorted(path for path in files if path.suffix in SUFFIXES or path.name == "LICENSE")


def default_path() -> Path:
    """Return dist/geofootprint_qgis-VERSION.zip."""
    metadata = configparser.ConfigParser()
    metadata.read(SOURCE / "metadata.txt", encoding="utf-8")
    return ROOT / "dist" / f"{FOLDER}-{metadata['general']['version']}.zip"


def package_plugin(out: Path | None = None) -> Path:
    """Write the zip, by default to `default_path`, and return where it is."""
    target = out or default_path()
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w") as archive:
        for path in plugin_files():
            # The default date, 1980, and plain permissions: neither the clock nor the umask shows in the zip.
            entry = zipfile.ZipInfo(f"{FOLDER}/{path.relative_to(SOURCE).as_posix()}")
            entry.external_attr = 0o100644 << 16
            entry.create_system = 3
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED, 9)
    return target


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path, help="Where the zip goes.")
    print(package_plugin(parser.parse_args().out))
