"""Build the zip of the QGIS plugin: the same bytes from the same files, wherever and whenever it is made.

Translations are compiled on the way by Qt's lrelease.
"""

from __future__ import annotations

import argparse
import configparser
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "qgis_plugin"

FOLDER = "geofootprint_qgis"
"""Name inside the zip, by which QGIS and Python know the plugin; `geofootprint` would hide the library."""

SUFFIXES = {".md", ".py", ".qml", ".svg", ".txt"}

LRELEASE = (
    "/usr/lib/qt6/bin/lrelease", "/usr/lib/qt5/bin/lrelease", "lrelease", "lrelease-qt5", "lrelease-qt6", "pyside6-lrelease",
)
"""Names of the same program; Debian's /usr/bin/lrelease is a switch that fails without a default Qt."""

HINT = "lrelease not found; apt-get install qttools5-dev-tools, or pip install PySide6-Essentials"


def plugin_files() -> list[Path]:
    """Return what belongs into the zip, in a fixed order."""
    files = (path for path in SOURCE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return sorted(path for path in files if path.suffix in SUFFIXES or path.name == "LICENSE")


def default_path() -> Path:
    """Return dist/geofootprint_qgis-VERSION.zip."""
    metadata = configparser.ConfigParser()
    metadata.read(SOURCE / "metadata.txt", encoding="utf-8")
    return ROOT / "dist" / f"{FOLDER}-{metadata['general']['version']}.zip"


def find_lrelease() -> str | None:
    """Return the program that compiles translations, or None."""
    return next((found for found in map(shutil.which, LRELEASE) if found), None)


def compile_translations() -> dict[str, bytes]:
    """Return the compiled translations by their path in the plugin.

    Raises
    ------
    FileNotFoundError
        If there is no lrelease.
    """
    lrelease = find_lrelease()
    if lrelease is None:
        raise FileNotFoundError(HINT)
    compiled = {}
    with tempfile.TemporaryDirectory() as folder:
        for source in sorted((SOURCE / "i18n").glob("*.ts")):
            target = Path(folder) / f"{source.stem}.qm"
            subprocess.run([lrelease, "-silent", str(source), "-qm", str(target)], check=True)
            compiled[f"i18n/{target.name}"] = target.read_bytes()
    return compiled


def package_plugin(out: Path | None = None) -> Path:
    """Write the zip, by default to `default_path`, and return where it is."""
    target = out or default_path()
    contents = {path.relative_to(SOURCE).as_posix(): path.read_bytes() for path in plugin_files()}
    contents.update(compile_translations())
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w") as archive:
        for name in sorted(contents):
            # The default date, 1980, and plain permissions: neither the clock nor the umask shows in the zip.
            entry = zipfile.ZipInfo(f"{FOLDER}/{name}")
            entry.external_attr = 0o100644 << 16
            entry.create_system = 3
            archive.writestr(entry, contents[name], zipfile.ZIP_DEFLATED, 9)
    return target


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path, help="Where the zip goes.")
    try:
        print(package_plugin(parser.parse_args().out))
    except FileNotFoundError as error:
        sys.exit(str(error))
