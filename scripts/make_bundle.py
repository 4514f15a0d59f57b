"""Make the bundle by which the QGIS plugin sets its engine up without a network.

The zip holds geofootprint's wheel, those of all it needs for running models (no torch) and pip's, for the platform
and the Python that this runs on, and a list of them with their sha256.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from email.parser import Parser
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

sys.path.insert(0, str(ROOT))
# What script and plugin have to agree on is spelt in the plugin. By name, and no import statement: it is none of the
# packages whose types are checked.
bundle = import_module("qgis_plugin.core.bundle")
PLATFORM: str = import_module("qgis_plugin.core.setup_python").this_platform()


def series() -> str:
    """Return the part of Python's version that wheels are made for, such as 3.11."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def collect_wheels(folder: Path, options: Sequence[str] = ()) -> None:
    """Build geofootprint's wheel and download those of what it needs, and pip's.

    Parameters
    ----------
    folder : Path
        Where they are put.
    options : sequence of str
        More options for `pip wheel`, such as ``--index-url``.
    """
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(folder)]
    subprocess.run([*command, "--no-deps", str(ROOT)], check=True)
    (own,) = folder.glob("geofootprint-*.whl")
    subprocess.run([*command, "--only-binary", ":all:", *options, str(own), "pip"], check=True)


def version_of(wheel: Path) -> str:
    """Return the version that a wheel's metadata tells."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return str(Parser().parsestr(archive.read(name).decode("utf-8"))["Version"])


def write_bundle(wheels: Sequence[Path], out: Path) -> Path:
    """Write the zip, or into a folder under its usual name; an old one stays until the new one is whole.

    Parameters
    ----------
    wheels : sequence of Path
        All wheels, geofootprint's among them.
    out : Path
        The zip, or a folder.

    Returns
    -------
    Path
        Of the zip.
    """
    (own,) = [wheel for wheel in wheels if wheel.name.startswith("geofootprint-")]
    version = version_of(own)
    target = out / f"geofootprint-bundle-{version}-py{series()}-{PLATFORM}.zip" if out.is_dir() else out
    listed = [
        {"file": wheel.name, "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(), "size": wheel.stat().st_size}
        for wheel in sorted(wheels)
    ]
    manifest = {"format": bundle.FORMAT, "version": version, "python": series(), "platform": PLATFORM, "wheels": listed}
    with tempfile.TemporaryDirectory(prefix=f".{target.stem}-", dir=target.parent) as folder:
        whole = Path(folder) / target.name
        # Stored: wheels are compressed already.
        with zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(bundle.MANIFEST, json.dumps(manifest, indent=1))
            for wheel in sorted(wheels):
                archive.write(wheel, f"{bundle.WHEELS}/{wheel.name}")
        os.replace(whole, target)
    return target


def main() -> None:
    """Make the bundle and print where it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "dist", help="Zip, or folder that it goes into.")
    own, options = parser.parse_known_args()
    if own.out.suffix != ".zip":
        own.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="geofootprint-bundle-") as folder:
        collect_wheels(Path(folder), options)
        target = write_bundle(list(Path(folder).glob("*.whl")), own.out)
    print(f"{target}: {target.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
