"""What a wheel holds, what the environments list, and that the command starts fast."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]

CONDA_NAMES = {
    "lightning-fabric": "pytorch-lightning",  # conda-forge has it within that alone
    "opencv-python-headless": "opencv",
    "tensorboardX": "tensorboardx",
    "torch": "pytorch",
    "dask[distributed]": "dask",
}
"""PyPI names whose conda-forge package is called otherwise."""

CONDA_ONLY = {"python", "pip", "qgis", "distributed"}


def pyproject() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return project


def test_listed_packages_are_the_folders() -> None:
    files = [file.relative_to(ROOT) for top in ("geofootprint", "cli") for file in (ROOT / top).rglob("__init__.py")]
    folders = {".".join(["geofootprint_cli" if part == "cli" else part for part in file.parent.parts]) for file in files}
    assert set(pyproject()["tool"]["setuptools"]["packages"]) == folders


def requirement(line: str) -> tuple[str, str]:
    line = line.split(";")[0].strip()
    name, version = re.fullmatch(r"([A-Za-z0-9_.\-\[\]]+)\s*(.*)", line).groups()  # type: ignore[union-attr]
    return CONDA_NAMES.get(name, name), version


def test_environment_lists_what_pyproject_does() -> None:
    project = pyproject()["project"]
    extras = project["optional-dependencies"]
    wanted = dict(requirement(line) for line in [*project["dependencies"], *extras["train"], *extras["scale"]])
    lines = re.findall(r"^  - (\S+)$", (ROOT / "environment.yml").read_text(encoding="utf-8").split("dependencies:")[1], re.M)
    listed = dict(requirement(line) for line in lines)
    assert {name: listed[name] for name in listed if name not in CONDA_ONLY} == wanted


@pytest.mark.slow
def test_wheel_holds_command_types_and_default_model(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)], check=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "geofootprint/py.typed", "geofootprint_cli/py.typed", "geofootprint_cli/segment.py",
        "geofootprint/weights/default.onnx", "geofootprint/learning/networks/unet.py",
    } <= names
    assert {name.split("/")[0] for name in names if "dist-info" not in name} == {"geofootprint", "geofootprint_cli"}


def test_help_is_fast_and_needs_no_heavy_package() -> None:
    heavy = "torch", "rasterio", "geopandas", "cv2", "openvino", "onnxruntime", "numpy"
    code = (
        "import sys; from geofootprint_cli.main import main\n"
        "try: main(['--help'])\n"
        f"finally: print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "segment" in done.stdout


def test_help_answers_within_the_promised_time() -> None:
    # Processor time of the child, not the wall clock: the machine may be busy.
    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    command = [sys.executable, "-m", "geofootprint_cli", "--help"]
    seconds = []
    for _ in range(3):
        before = used()
        subprocess.run(command, capture_output=True, check=True)
        seconds.append(used() - before)
    assert min(seconds) < 0.3


def test_no_command_help_imports_torch() -> None:
    code = (
        "import sys\nfrom geofootprint_cli.main import COMMANDS, main\n"
        "for name in COMMANDS:\n"
        "    try: main([name, '--help'])\n"
        "    except SystemExit: pass\n"
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "False"
    assert done.stdout.count("Example: geofootprint") == len(done.stdout.split("Usage: ")) - 1
