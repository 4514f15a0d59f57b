"""The script that makes the plugin's zip."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from project_scripts import import_script

from geofootprint import __version__

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script():
    return import_script("package_plugin")


@pytest.fixture(scope="module")
def archive(script, tmp_path_factory):
    if script.find_lrelease() is None and os.environ.get("CI") != "true":
        pytest.skip(script.HINT)
    return package(tmp_path_factory.mktemp("zip") / "plugin.zip")


def package(out):
    command = [sys.executable, ROOT / "scripts" / "package_plugin.py", "-o", out]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


def test_everything_is_in_one_folder_with_its_licence(archive):
    names = zipfile.ZipFile(archive).namelist()
    assert {name.split("/")[0] for name in names} == {"geofootprint_qgis"}
    inside = {name.partition("/")[2] for name in names}
    assert {
        "LICENSE", "metadata.txt", "__init__.py", "plugin.py", "core/runner.py", "icons/geofootprint.svg",
        "styles/buildings.qml", "i18n/geofootprint_de.qm",
    } <= inside  # fmt: skip


def test_nothing_made_on_the_way_is_in_it(archive):
    for name in zipfile.ZipFile(archive).namelist():
        assert not name.endswith((".pyc", ".so", ".dll", ".exe", ".sh"))
        assert not any(part.startswith((".", "__pycache__")) for part in name.split("/"))


def test_every_source_file_is_in_it(archive):
    names = set(zipfile.ZipFile(archive).namelist())
    source = ROOT / "qgis_plugin"
    assert {f"geofootprint_qgis/{path.relative_to(source).as_posix()}" for path in source.rglob("*.py")} <= names


def test_it_is_the_same_every_time(archive, tmp_path):
    assert package(tmp_path / "again.zip").read_bytes() == archive.read_bytes()


def test_it_is_small(archive):
    assert archive.stat().st_size < 1_000_000


def test_its_name_carries_the_version(script):
    assert script.default_path().name == f"geofootprint_qgis-{__version__}.zip"


def test_without_lrelease_it_says_what_to_install(script, monkeypatch, tmp_path):
    monkeypatch.setattr(script, "LRELEASE", ("no-such-program",))
    with pytest.raises(FileNotFoundError, match="apt-get install qttools5-dev-tools"):
        script.package_plugin(tmp_path / "plugin.zip")
    assert not (tmp_path / "plugin.zip").exists()
