"""Run the plugin's tests in real QGIS.

They run under the Python that QGIS was built for, in a virtual environment of their own (.venv-qgis), and start
geofootprint in the Python that runs this script, or in the one named by GEOFOOTPRINT_PYTHON. Arguments go to pytest.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".venv-qgis"
PACKAGES = ("pytest", "pytest-qgis", "pytest-qt")

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""With pyenv's folders in PATH QGIS takes pyenv's Python for its own and crashes."""

HINT = "QGIS not found; apt-get install --no-install-recommends qgis python3-qgis qgis-providers python3-venv"


def find_python() -> str | None:
    """Return the system's Python if it can import QGIS."""
    python = os.environ.get("QGIS_PYTHON", "/usr/bin/python3")
    try:
        done = subprocess.run([python, "-c", "import qgis.core"], env=clean(), capture_output=True, check=False)
    except OSError:
        return None
    return python if done.returncode == 0 else None


def clean() -> dict[str, str]:
    """Return the environment without what leads QGIS's Python astray."""
    foreign = ("PYTHON", "PYTEST", "PYENV", "QGIS_", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**kept, "PATH": SYSTEM_PATH, "QT_QPA_PLATFORM": "offscreen", "PYTHONDONTWRITEBYTECODE": "1"}


def make_environment(python: str) -> Path:
    """Make the virtual environment unless it is there, and return its Python."""
    own = ENVIRONMENT / "bin" / "python"
    ready = [str(own), "-c", "import pytest, pytest_qgis, pytestqt"]
    if own.exists() and subprocess.run(ready, env=clean(), capture_output=True, check=False).returncode == 0:
        return own
    # QGIS's modules are the system's: they are in no package index.
    subprocess.run(
        [python, "-m", "venv", "--clear", "--system-site-packages", str(ENVIRONMENT)], env=clean(), check=True
    )
    subprocess.run([str(own), "-m", "pip", "install", "--quiet", *PACKAGES], env=clean(), check=True)
    return own


def main() -> int:
    """Run the tests and return pytest's exit code, or 0 where QGIS is missing and need not be there."""
    python = find_python()
    if python is None:
        needed = os.environ.get("CI") == "true"
        print(f"{'failed' if needed else 'skipped'}: {HINT}")
        return int(needed)
    own = make_environment(python)
    with tempfile.TemporaryDirectory(prefix="geofootprint-qgis-") as folder:  # mode 700, as Qt wants it
        environment = {
            **clean(),
            "GEOFOOTPRINT_PYTHON": os.environ.get("GEOFOOTPRINT_PYTHON", sys.executable),
            "QGIS_CUSTOM_CONFIG_PATH": folder,
            "XDG_RUNTIME_DIR": folder,
        }
        tests = ROOT / "tests" / "qgis" / "with_qgis"
        command = [str(own), "-m", "pytest", "-c", str(tests / "pytest.ini"), str(tests), *sys.argv[1:]]
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
