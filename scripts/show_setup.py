"""Take pictures of the engine's set-up in a real QGIS: the window before, while and after, and the settings page.

Run alone it starts QGIS under Xvfb with the plugin and a home folder of its own, sets the engine up from a bundle
(`scripts/make_bundle.py`) and writes the pictures:

    python scripts/show_setup.py BUNDLE FOLDER

Inside a QGIS that runs already, call `show_setup`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE = 900
"""Seconds that a set-up may take on a busy machine."""


def show_setup(window: Any, bundle: Path, folder: Path) -> list[Path]:
    """Set the engine up from a bundle and take a picture of each step.

    Parameters
    ----------
    window : QWidget
        QGIS's main window.
    bundle : Path
        Of `scripts/make_bundle.py`, for the Python and platform here.
    folder : Path
        Where the pictures are put.

    Returns
    -------
    list of Path
        The pictures, in their order.
    """
    from geofootprint_qgis.gui.options import OptionsPage  # type: ignore[import-not-found]
    from geofootprint_qgis.gui.setup_dialog import SetupDialog  # type: ignore[import-not-found]
    from qgis.PyQt.QtWidgets import QDialog, QVBoxLayout  # type: ignore[import-not-found]

    taken: list[Path] = []

    def take(widget: Any, name: str) -> None:
        pump(0.5)
        taken.append(folder / f"setup_{len(taken) + 1}_{name}.png")
        widget.grab().save(str(taken[-1]))

    options = QDialog(window)
    page = OptionsPage(options)
    QVBoxLayout(options).addWidget(page)
    options.resize(760, 520)
    options.show()
    take(options, "settings_before")
    dialog = SetupDialog(window)
    dialog.show()
    pump(3)
    take(dialog, "before")
    dialog.sources.from_bundle.setChecked(True)
    dialog.sources.bundle.setFilePath(str(folder / "geofootprint-bundle-gone.zip"))
    dialog.start_button.click()
    wait(lambda: not dialog.is_running)
    take(dialog, "failed")
    dialog.sources.bundle.setFilePath(str(bundle))
    dialog.start_button.click()
    wait(lambda: dialog.bar.value() > 550 or not dialog.is_running)
    take(dialog, "running")
    wait(lambda: not dialog.is_running)
    take(dialog, "after")
    dialog.advanced.setCollapsed(False)
    take(dialog, "advanced")
    dialog.close()
    page.check()
    take(options, "settings_after")
    options.close()
    return taken


def pump(seconds: float) -> None:
    """Let Qt work for a while."""
    from qgis.PyQt.QtCore import QCoreApplication  # type: ignore[import-not-found]

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QCoreApplication.processEvents()
        time.sleep(0.02)


def wait(is_done: Callable[[], bool]) -> None:
    """Let Qt work until something is done.

    Raises
    ------
    TimeoutError
        If that takes too long.
    """
    end = time.monotonic() + PATIENCE
    while not is_done():
        if time.monotonic() > end:
            raise TimeoutError("the set-up takes too long")
        pump(0.1)


def start_desktop(bundle: Path, folder: Path) -> int:
    """Start QGIS under Xvfb and let it run this file, then return its exit code."""
    # Not at the top: QGIS runs this file without telling it its path.
    from package_plugin import package_plugin  # type: ignore[import-not-found]
    from test_qgis import SYSTEM_PATH  # type: ignore[import-not-found]

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="geofootprint-desktop-") as name:
        home = Path(name)
        plugins = home / "plugins"
        plugins.mkdir()
        archive = package_plugin(home / "plugin.zip")
        subprocess.run([sys.executable, "-m", "zipfile", "-e", str(archive), str(plugins)], check=True)
        settings = home / "profiles" / "default" / "QGIS" / "QGIS3.ini"
        settings.parent.mkdir(parents=True)
        settings.write_text("[PythonPlugins]\ngeofootprint_qgis=true\n", encoding="utf-8")
        environment = {
            "PATH": SYSTEM_PATH, "HOME": name, "XDG_RUNTIME_DIR": name, "QGIS_PLUGINPATH": str(plugins), "LANG": "C.UTF-8",
            "SETUP_BUNDLE": str(bundle.resolve()), "SETUP_PICTURES": str(folder.resolve()),
        }  # fmt: skip
        qgis = ["qgis.bin", "--nologo", "--noversioncheck", "--profiles-path", name, "--profile", "default"]
        qgis += ["--code", os.path.abspath(__file__)]
        command = ["xvfb-run", "-a", "-s", "-screen 0 1400x900x24", *qgis]
        return subprocess.run(command, env=environment, check=False, timeout=2 * PATIENCE).returncode


def inside_qgis() -> None:
    """Take the pictures once the main window is up, and end QGIS."""
    from qgis.PyQt.QtCore import QCoreApplication, QTimer
    from qgis.utils import iface  # type: ignore[import-not-found]

    def work() -> None:
        folder = Path(os.environ["SETUP_PICTURES"])
        try:
            pump(1)
            iface.mainWindow().grab().save(str(folder / "setup_0_first_run.png"))
            show_setup(iface.mainWindow(), Path(os.environ["SETUP_BUNDLE"]), folder)
        finally:
            QCoreApplication.quit()

    QTimer.singleShot(2000, work)


if "SETUP_PICTURES" in os.environ:
    inside_qgis()
elif __name__ == "__main__":
    sys.exit(start_desktop(Path(sys.argv[1]), Path(sys.argv[2])))
