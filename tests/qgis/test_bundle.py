"""The offline bundle: what the script writes, and what the plugin refuses to read."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import zipfile
from unittest.mock import Mock

import pytest
from fake_wheels import make_bundle, make_engine_wheels
from geofootprint_qgis.core.bundle import MANIFEST, open_bundle
from geofootprint_qgis.core.runner import EngineCancelled, EngineError, Listener
from geofootprint_qgis.core.setup_python import this_platform
from project_scripts import SCRIPTS, import_script


class Cancelling(Listener):
    def is_cancelled(self):
        return True


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    return make_engine_wheels(tmp_path_factory.mktemp("wheels"), "0.1.0")


@pytest.fixture
def path(wheels, tmp_path):
    return make_bundle(tmp_path / "bundle.zip", wheels, "0.1.0", "3.11", "linux-x86_64")


def rewrite(path, name, content):
    """Replace one file of a zip."""
    with zipfile.ZipFile(path) as archive:
        files = {one: archive.read(one) for one in archive.namelist()}
    files[name] = content
    with zipfile.ZipFile(path, "w") as archive:
        for one, text in files.items():
            archive.writestr(one, text)


def unpack(path, folder):
    with open_bundle(path).unpacked(folder, Listener()) as inside:
        return {one.name: one.read_bytes() for one in inside.glob("*.whl")}


def test_wheels_come_out_as_they_went_in_and_the_folder_goes(path, wheels, tmp_path):
    assert unpack(path, tmp_path / "out") == {wheel.name: wheel.read_bytes() for wheel in wheels}
    assert not (tmp_path / "out").exists()


def test_what_it_says_of_itself(path, wheels):
    bundle = open_bundle(path)
    assert (bundle.version, bundle.series, bundle.platform) == ("0.1.0", "3.11", "linux-x86_64")
    assert bundle.size == sum(wheel.stat().st_size for wheel in wheels)


def test_another_version_or_platform_is_refused_in_a_sentence(path):
    bundle = open_bundle(path)
    bundle.refuse_version("0.1.0")
    bundle.refuse_platform("linux-x86_64")
    with pytest.raises(EngineError, match=r"bundle.zip holds geofootprint 0.1.0, and this plugin needs 0.2.0"):
        bundle.refuse_version("0.2.0")
    with pytest.raises(EngineError, match=r"made for linux-x86_64, and this computer is windows-x86_64"):
        bundle.refuse_platform("windows-x86_64")


def test_an_altered_wheel_is_found_by_its_sum(path, wheels, tmp_path):
    rewrite(path, f"wheels/{wheels[0].name}", b"PK something else")
    with pytest.raises(EngineError, match=r"is damaged or is no bundle"):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_bundle_that_was_cut_off(path):
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(EngineError, match=r"is damaged"):
        open_bundle(path)


@pytest.mark.parametrize("step", ["ZipFile.open", "ZipExtFile.read"])
def test_a_medium_that_is_gone_meanwhile_is_the_bundles_fault(path, tmp_path, monkeypatch, step):
    def fail(*arguments):
        raise OSError(errno.EIO, "Input/output error")

    bundle = open_bundle(path)
    monkeypatch.setattr(f"zipfile.{step}", fail)
    for read in (lambda: bundle.unpacked(tmp_path / "out", Listener()).__enter__(), lambda: open_bundle(path)):
        with pytest.raises(EngineError, match=r"bundle.zip cannot be read: Input/output error"):
            read()


def test_flipped_bytes(path, tmp_path):
    content = bytearray(path.read_bytes())
    middle = content.index(b"wheels/") + 400
    content[middle : middle + 8] = b"\0" * 8
    path.write_bytes(content)
    with pytest.raises(EngineError, match=r"is damaged"):
        unpack(path, tmp_path / "out")


@pytest.mark.parametrize("name", ["wheels/more-1-py3-none-any.whl", "../evil.whl", "script.py"])
def test_a_file_that_is_not_listed(path, tmp_path, name):
    rewrite(path, name, b"")
    with pytest.raises(EngineError, match=r"is damaged"):
        unpack(path, tmp_path / "out")


@pytest.mark.parametrize("name", ["../../evil-1-py3-none-any.whl", "/etc/evil-1-py3-none-any.whl", "a\\b-1-py3-none-any.whl"])
def test_a_name_that_leads_out_of_the_folder(path, name):
    wheels = [{"file": name, "sha256": "0" * 64, "size": 1}]
    rewrite(path, MANIFEST, json.dumps({"format": 1, "version": "1", "python": "3.11", "platform": "x", "wheels": wheels}))
    with pytest.raises(EngineError, match=r"is damaged"):
        open_bundle(path)


@pytest.mark.parametrize("manifest", ["", "[]", "{}", '{"format": 1}', '{"format": 1, "wheels": [{}]}'])
def test_a_manifest_that_is_none(path, manifest):
    rewrite(path, MANIFEST, manifest)
    with pytest.raises(EngineError, match=r"is damaged"):
        open_bundle(path)


def test_a_later_kind(path):
    rewrite(path, MANIFEST, '{"format": 2}')
    with pytest.raises(EngineError, match=r"later kind than this plugin reads; update the plugin"):
        open_bundle(path)


def test_no_file_a_folder_and_another_file(tmp_path):
    with pytest.raises(EngineError, match=r"No bundle is at"):
        open_bundle(tmp_path / "gone.zip")
    with pytest.raises(EngineError, match=r"cannot be read"):
        open_bundle(tmp_path)
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(EngineError, match=r"is no bundle"):
        open_bundle(tmp_path / "text.zip")


def test_cancelling_leaves_nothing(path, tmp_path):
    bundle = open_bundle(path)
    with pytest.raises(EngineCancelled), bundle.unpacked(tmp_path / "out", Cancelling()):
        pytest.fail("it went on")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def script():
    return import_script("make_bundle")


def test_the_script_writes_what_the_plugin_reads(script, wheels, tmp_path):
    bundle = open_bundle(script.write_bundle(wheels, tmp_path))
    series = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert bundle.path.name == f"geofootprint-bundle-0.1.0-py{series}-{this_platform()}.zip"
    assert (bundle.version, bundle.series, bundle.platform) == ("0.1.0", series, this_platform())
    assert set(unpack(bundle.path, tmp_path / "out")) == {wheel.name for wheel in wheels}
    assert list(tmp_path.iterdir()) == [bundle.path]


def test_the_script_keeps_the_old_bundle_until_the_new_one_is_whole(script, wheels, tmp_path, monkeypatch):
    path = tmp_path / "bundle.zip"
    path.write_text("old")
    monkeypatch.setattr(zipfile.ZipFile, "write", Mock(side_effect=OSError("full")))
    with pytest.raises(OSError, match="full"):
        script.write_bundle(wheels, path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_script_runs_by_itself():
    done = subprocess.run(
        [sys.executable, SCRIPTS / "make_bundle.py", "--help"], cwd="/", capture_output=True, text=True, check=True
    )
    assert "Make the bundle by which the QGIS plugin" in done.stdout
