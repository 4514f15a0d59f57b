"""Show the plugin in a real QGIS Desktop on a virtual screen, and save what is seen as pictures.

    python scripts/qgis_desktop.py -o shots [--language de] [--bundle geofootprint-bundle-....zip]

Installs the plugin's zip into a fresh profile, loads an orthophoto, and does by widgets what a user does by hand
(scripts/qgis_desktop_session.py). With a bundle (scripts/make_bundle.py) QGIS has no engine at first, and the user sets
it up. Needs QGIS, xvfb, and geofootprint in the Python that runs this, or in GEOFOOTPRINT_PYTHON. Exit code 1 if a step
does not come out as expected.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from package_plugin import FOLDER, package_plugin
from test_qgis import HINT, clean, find_python

SCRIPTS = Path(__file__).resolve().parent
SCREEN = "-screen 0 1280x800x24"
SECONDS = 1200
"""A set-up takes minutes on a busy machine."""


def make_profile(folder: Path, language: str) -> None:
    """Make a profile of QGIS in which the plugin is installed from its zip and enabled."""
    plugins = folder / "profiles" / "demo" / "python" / "plugins"
    plugins.mkdir(parents=True)
    with zipfile.ZipFile(package_plugin(folder / "plugin.zip")) as archive:
        archive.extractall(plugins)
    settings = folder / "profiles" / "demo" / "QGIS" / "QGIS3.ini"
    settings.parent.mkdir()
    settings.write_text(
        f"[PythonPlugins]\n{FOLDER}=true\nprocessing=true\n\n"
        f"[locale]\noverrideFlag=true\nuserLocale={language}\n\n"
        "[qgis]\ncheckVersion=false\nenableMacros=Never\n",
        encoding="utf-8",
    )


def run_to_its_end(command: Sequence[str], environment: Mapping[str, str], seconds: float = SECONDS) -> None:
    """Run a program, and end it with all that it has started when the time is over or this one is interrupted."""
    program = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        program.wait(seconds)
    except subprocess.TimeoutExpired:
        print(f"{command[0]} did not end within {seconds} s.")
    finally:
        # The screen and QGIS are children of xvfb-run, which does not end them when it is ended itself.
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(program.pid, number)
            with suppress(subprocess.TimeoutExpired):
                program.wait(10)


def main() -> int:
    """Run QGIS and return its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=Path("qgis-desktop"), help="Folder for the pictures.")
    parser.add_argument("--language", default="en", help="Of QGIS, for example de.")
    parser.add_argument("--bundle", type=Path, help="Set the engine up from this file first.")
    options = parser.parse_args()
    if find_python() is None:
        print(HINT)
        return 1
    options.out.mkdir(parents=True, exist_ok=True)
    verdict = options.out / "verdict.txt"
    verdict.unlink(missing_ok=True)
    engine = os.environ.get("GEOFOOTPRINT_PYTHON", sys.executable)
    with tempfile.TemporaryDirectory(prefix="geofootprint-desktop-") as name:
        folder = Path(name)
        make_profile(folder, options.language)
        environment = {
            **clean(),
            "GEOFOOTPRINT_SHOTS": str(options.out.resolve()),
            "GEOFOOTPRINT_SCENE": str(folder / "scene"),
            "HOME": name,
            "XDG_RUNTIME_DIR": name,
        }
        del environment["QT_QPA_PLATFORM"]
        environment.pop("GEOFOOTPRINT_PYTHON", None)
        if options.bundle is None:
            environment["GEOFOOTPRINT_PYTHON"] = engine
        else:
            environment["GEOFOOTPRINT_BUNDLE"] = str(options.bundle.resolve())
        demo = [engine, "-m", "geofootprint_cli", "-q", "demo", "-o", str(folder / "scene"), "--size", "1024"]
        subprocess.run(demo, env=environment, check=True)
        qgis = ["qgis.bin", "--nologo", "--noversioncheck", "--profiles-path", name, "--profile", "demo"]
        command = ["xvfb-run", "-a", "-s", SCREEN, *qgis, "--code", str(SCRIPTS / "qgis_desktop_session.py")]
        run_to_its_end(command, environment)
    text = verdict.read_text(encoding="utf-8") if verdict.exists() else "QGIS ended before the session did."
    print(text)
    return int(text.strip() != "good")


if __name__ == "__main__":
    sys.exit(main())
