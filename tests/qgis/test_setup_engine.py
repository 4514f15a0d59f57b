"""Setting the engine up: real environments, a real pip, and wheels of a geofootprint that only tells its version."""

from __future__ import annotations

import ensurepip
import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from fake_wheels import Proxy, make_bundle, make_engine_wheels, make_index, make_wheel, serving, stalling
from geofootprint_qgis.core import setup_engine, setup_folder
from geofootprint_qgis.core.engine import find_engine, python_in
from geofootprint_qgis.core.runner import EngineCancelled, EngineError, Listener
from geofootprint_qgis.core.setup_engine import Source, managed_folder, remove, set_up
from geofootprint_qgis.core.setup_folder import aside, locked, unpacking
from geofootprint_qgis.core.setup_marker import Marker, read_marker, write_marker
from geofootprint_qgis.core.setup_python import interpreter_at, this_platform

SERIES = f"{sys.version_info.major}.{sys.version_info.minor}"
PIP = next((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
NOWHERE = "http://127.0.0.1:9"
"""Port of the discard service, on which nothing answers."""


class Recorder(Listener):
    """Keeps what it hears, and cancels when an event is set."""

    def __init__(self, cancel=None):
        self.steps, self.lines = [], []
        self._cancel = cancel or threading.Event()

    def progress(self, stage, done, total):
        self.steps.append((stage, done / total))

    def line(self, text):
        self.lines.append(text)

    def is_cancelled(self):
        return self._cancel.is_set()

    @property
    def stages(self):
        return list(dict.fromkeys(stage for stage, _ in self.steps))


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """Return a function that makes the bundle of a version, once."""
    folder = tmp_path_factory.mktemp("bundles")
    made = {}

    def make(version="0.1.0", protocol=1, python=SERIES):
        key = (version, protocol, python)
        if key not in made:
            own = folder / f"{version}-{protocol}-{python}"
            own.mkdir()
            wheels = [*make_engine_wheels(own, version, protocol), PIP]
            made[key] = make_bundle(own / "bundle.zip", wheels, version, python, this_platform())
        return Source(bundle=made[key])

    return make


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """Return the folder of an index with geofootprint 0.1.0, what it needs, and pip."""
    folder = tmp_path_factory.mktemp("index")
    return make_index(folder / "simple", [*make_engine_wheels(folder, "0.1.0"), PIP])


@pytest.fixture
def folder(tmp_path):
    """Return where the environment comes to be: the place below home, with a space and an umlaut on the way."""
    return tmp_path / "Höfe neu" / ".geofootprint" / "venv"


@pytest.fixture
def bare_python(monkeypatch):
    """Let this Python seem to have neither ensurepip nor pip, as Debian's without python3-venv."""

    def bare(path, **changes):
        return replace(interpreter_at(path), has_ensurepip=False, pip=(), **changes)

    monkeypatch.setattr(setup_engine, "interpreter_at", bare)


@pytest.fixture
def own_pip(monkeypatch):
    """Let this Python seem to have no ensurepip, so that its own pip installs into the environment."""
    monkeypatch.setattr(
        setup_engine, "interpreter_at", lambda path: replace(interpreter_at(path), has_ensurepip=False)
    )


def start(source, folder, listener=None, version="0.1.0"):
    return set_up(version, source, listener or Recorder(), folder=folder, python=sys.executable)


def left_in(folder):
    return sorted(path.name for path in folder.parent.iterdir() if not path.name.endswith(".lock"))


def make_ours(folder, *, ready=True):
    folder.mkdir(parents=True)
    write_marker(folder, Marker(ready, "0.0.9", "python", "3.11", "PyPI"))
    (folder / "old").touch()


def test_from_a_bundle_then_an_update_then_removal(bundles, folder):
    listener = Recorder()
    assert start(bundles(), folder, listener)["geofootprint"] == "0.1.0"
    assert listener.stages == ["Looking for Python", "Checking the bundle", *setup_engine.STAGES[1:]]
    for stage in listener.stages:
        done = [part for name, part in listener.steps if name == stage]
        assert done == sorted(done)
        assert 0 <= done[0] <= done[-1] <= 1
    assert any(line.startswith("Successfully installed") for line in listener.lines)
    engine = find_engine("", {}, folder.parents[1])
    assert (engine.python, engine.check()["model"]["name"]) == (str(python_in(folder)), "fake-model")
    assert read_marker(folder).source == "bundle"

    assert start(bundles("0.2.0"), folder, version="0.2.0")["geofootprint"] == "0.2.0"
    assert engine.check()["geofootprint"] == "0.2.0"
    assert left_in(folder) == ["venv"]

    # A try that fails leaves the engine that works.
    with pytest.raises(EngineError, match=r"older than this plugin \(protocol 0 instead of 1\)"):
        start(bundles("0.3.0", protocol=0), folder, version="0.3.0")
    assert engine.check()["geofootprint"] == "0.2.0"
    assert left_in(folder) == ["venv"]

    remove(folder)
    assert left_in(folder) == []
    with pytest.raises(EngineError, match=r"none is set up yet"):
        find_engine("", {}, folder.parents[1])


def test_from_an_index_with_the_pip_that_comes_with_python(index, folder):
    listener = Recorder()
    with serving(index) as address:
        assert start(Source(index=address), folder, listener)["geofootprint"] == "0.1.0"
    assert listener.stages == list(setup_engine.STAGES)
    assert (read_marker(folder).source, read_marker(folder).ready) == ("index", True)


def test_from_an_index_with_a_pip_that_is_fetched(index, folder, bare_python):
    listener = Recorder()
    with serving(index) as address:
        assert start(Source(index=address), folder, listener)["geofootprint"] == "0.1.0"
    assert f"Downloading {PIP.name}" in listener.lines


def test_a_proxy_is_asked_for_pip_and_by_pip(index, folder, bare_python):
    with serving(index, Proxy) as address:
        source = Source(index="http://127.0.0.2:1", proxy=address)  # pip trusts no other address without TLS
        assert start(source, folder)["geofootprint"] == "0.1.0"


def test_the_users_settings_of_pip_do_not_lead_elsewhere(bundles, folder, monkeypatch, tmp_path):
    for name in ("PIP_TARGET", "PIP_PREFIX"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    monkeypatch.setenv("PIP_USER", "1")
    monkeypatch.setenv("PIP_INDEX_URL", NOWHERE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert start(bundles(), folder)["geofootprint"] == "0.1.0"
    assert not (tmp_path / "elsewhere").exists()


def test_an_index_that_cannot_be_reached_keeps_the_engine_that_was_there(folder, own_pip):
    make_ours(folder)
    with pytest.raises(EngineError, match=r"127.0.0.1:9/simple cannot be reached: check the network.*bundle file"):
        start(Source(index=f"http://me:secret@{NOWHERE[7:]}/simple"), folder)
    assert left_in(folder) == ["venv"]
    assert (folder / "old").exists()


def test_an_index_without_this_version(index, folder, bare_python):
    with serving(index) as address, pytest.raises(EngineError, match=rf"no geofootprint 0.4.0 for Python {SERIES}"):
        start(Source(index=address), folder, version="0.4.0")


def test_a_need_that_is_not_met(folder, tmp_path):
    wheels = [make_wheel(tmp_path, "geofootprint", "0.1.0", requires=["doesnotexist"]), PIP]
    bundle = make_bundle(tmp_path / "bundle.zip", wheels, "0.1.0", SERIES, this_platform())
    with pytest.raises(EngineError, match=r"Not all that geofootprint needs is there .*doesnotexist"):
        start(Source(bundle=bundle), folder)


def test_a_package_without_the_command(folder, tmp_path):
    bundle = make_bundle(
        tmp_path / "bundle.zip", [make_wheel(tmp_path, "geofootprint", "0.1.0"), PIP], "0.1.0", SERIES, this_platform()
    )
    with pytest.raises(EngineError, match=r"has no geofootprint"):
        start(Source(bundle=bundle), folder)
    assert left_in(folder) == []


def descendants():
    return psutil.Process().children(recursive=True)


def test_cancelling_ends_a_download_that_never_would_and_leaves_nothing(index, folder, own_pip):
    cancel, outcome = threading.Event(), []

    def run():
        try:
            start(Source(index=address), folder, Recorder(cancel))
        except EngineCancelled as error:
            outcome.append(error)

    with stalling(index) as (address, stalled):
        thread = threading.Thread(target=run)
        thread.start()
        assert stalled.wait(60)
        programs = descendants()
        assert programs
        cancel.set()
        _, alive = psutil.wait_procs(programs, timeout=10)
        assert not alive
        thread.join(30)
    assert outcome
    assert left_in(folder) == []


@pytest.mark.skipif(os.name == "nt", reason="kill -9 is POSIX")
def test_when_qgis_is_killed_pip_ends_too_and_the_next_try_begins_clean(index, folder, bundles, tmp_path, bare_python):
    script = tmp_path / "qgis.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import sys
            from pathlib import Path
            sys.path.insert(0, {str(Path(__file__).parent)!r})
            from dataclasses import replace
            from geofootprint_qgis.core import setup_engine, setup_folder
            from geofootprint_qgis.core.setup_engine import Source, set_up
            from geofootprint_qgis.core.runner import Listener
            ask = setup_engine.interpreter_at
            setup_engine.interpreter_at = lambda path: replace(ask(path), has_ensurepip=False)
            set_up("0.1.0", Source(index=sys.argv[1]), Listener(), folder=Path({str(folder)!r}), python=sys.executable)
            """
        ),
        encoding="utf-8",
    )
    make_ours(folder)
    with stalling(index) as (address, stalled):
        qgis = subprocess.Popen([sys.executable, str(script), address])
        try:
            assert stalled.wait(60)
            with pytest.raises(EngineError, match=r"Another window of QGIS is setting up"):
                start(bundles(), folder)
            pip = psutil.Process(qgis.pid).children(recursive=True)
        finally:
            qgis.send_signal(signal.SIGKILL)
            qgis.wait()
        _, alive = psutil.wait_procs(pip, timeout=5)
        assert pip
        assert not alive
    with pytest.raises(EngineError, match=r"did not come to its end\. Press Repair"):
        find_engine("", {}, folder.parents[1])
    # The engine of before waits aside, and is what a try that fails at once puts back.
    assert (aside(folder) / "old").exists()
    with pytest.raises(EngineError, match=r"pip cannot be fetched|cannot be reached"):
        start(Source(index=NOWHERE), folder)
    assert left_in(folder) == ["venv"]
    assert (folder / "old").exists()


def test_what_an_interrupted_unpacking_left_is_removed(folder):
    unpacking(folder).mkdir(parents=True)
    (unpacking(folder) / "geofootprint-setup.json").touch()
    remove(folder)
    assert left_in(folder) == []


@pytest.mark.parametrize("what", [start, lambda _, folder: remove(folder)])
def test_a_folder_that_is_not_ours_is_left_alone(bundles, folder, what):
    folder.mkdir(parents=True)
    (folder / "thesis.odt").touch()
    with pytest.raises(EngineError, match=r"was not made by this plugin and is left alone"):
        what(bundles(), folder)
    assert (folder / "thesis.odt").exists()


def test_the_folder_that_buttons_work_on_is_ours_or_the_private_one(folder, tmp_path, monkeypatch):
    make_ours(folder)
    private = tmp_path / "private"
    monkeypatch.setattr(setup_engine, "default_folder", lambda: private)
    for setting in (folder, python_in(folder), folder.parent):
        expected = private if setting == folder.parent else folder
        assert managed_folder(f" {setting} ") == expected
    assert managed_folder("") == private


def test_removing_what_is_not_there(tmp_path):
    remove(tmp_path / "gone" / "venv")
    assert not (tmp_path / "gone").exists()


def test_a_place_where_nothing_can_be_written(bundles, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(EngineError, match=r"cannot be written .*choose another folder"):
        start(bundles(), tmp_path / "file" / "venv")


def test_a_full_disk_is_told_beforehand(bundles, folder, monkeypatch):
    usage = type("Usage", (), {"free": 500_000_000})
    monkeypatch.setattr(setup_engine.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(EngineError, match=r"disk of .* is full: geofootprint needs \d+\.?\d* GB there"):
        start(bundles(), folder)


def test_a_bundle_of_another_python_or_version(bundles, folder):
    with pytest.raises(EngineError, match=rf"for Python 3.4, and this computer has {SERIES}"):
        start(bundles(python="3.4"), folder)
    with pytest.raises(EngineError, match=r"holds geofootprint 0.1.0, and this plugin needs 0.2.0"):
        start(bundles(), folder, version="0.2.0")
    assert not folder.parent.exists()


def test_two_at_once(bundles, folder):
    with locked(folder), pytest.raises(EngineError, match=r"Another window of QGIS is setting up"):
        start(bundles(), folder)


def test_a_file_system_without_locks_is_not_taken_for_another_window(folder, monkeypatch):
    def refuse(file):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(setup_folder, "_lock", refuse)
    with pytest.raises(EngineError, match=r"cannot be written \(No locks available\)"), locked(folder):
        pass
