"""Which Python the engine's environment is made with."""

from __future__ import annotations

import os
import sys
import time

import pytest
from geofootprint_qgis.core.runner import EngineCancelled, EngineError, Listener
from geofootprint_qgis.core.setup_python import (
    Interpreter,
    ask_interpreter,
    candidate_paths,
    choose_interpreter,
    find_interpreters,
    interpreter_at,
    platform_name,
)


def one(version, *, venv=True, virtualenv=False, bits=64):
    path = f"/usr/bin/python{version}"
    numbers = (*map(int, version.split(".")), 0)
    return Interpreter(path, numbers, bits, f"/usr/{version}", venv, venv, virtualenv, (23, 0, 1))


def test_a_python_that_runs_tells_what_it_is():
    found = ask_interpreter(sys.executable)
    assert found.version == tuple(sys.version_info[:3])
    assert found.prefix == sys.prefix
    assert found.is_suitable


def test_what_is_no_python_is_passed_over(tmp_path):
    liar = tmp_path / "python3"
    liar.write_text("#!/bin/sh\necho '[1]'\n")
    liar.chmod(0o755)
    (tmp_path / "text").write_text("")
    paths = [str(liar), str(tmp_path / "gone"), str(tmp_path / "text"), sys.executable, sys.executable]
    assert [found.prefix for found in find_interpreters(paths)] == [sys.prefix]


def test_a_python_that_hangs_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr("geofootprint_qgis.core.setup_python.PROBE_SECONDS", 0.2)
    hanging = tmp_path / "python3"
    hanging.write_text("#!/bin/sh\nexec sleep 30\n")
    hanging.chmod(0o755)
    assert ask_interpreter(str(hanging)) is None


def test_looking_can_be_cancelled():
    listener = Listener()
    listener.is_cancelled = lambda: True
    with pytest.raises(EngineCancelled):
        list(find_interpreters([sys.executable], listener))


def test_the_first_that_will_do_is_taken_and_no_more_are_started():
    def found():
        yield one("3.9")
        yield one("3.12", bits=32)
        yield one("3.11")
        pytest.fail("it went on")

    assert choose_interpreter(found()).version[:2] == (3, 11)


def test_one_too_new_for_some_wheels_comes_last():
    assert choose_interpreter([one("3.15"), one("3.10")]).series == "3.10"
    assert choose_interpreter([one("3.15"), one("3.9")]).series == "3.15"


def test_a_bundle_decides():
    assert choose_interpreter([one("3.11"), one("3.15")], "3.15").series == "3.15"
    with pytest.raises(EngineError, match=r"bundle is for Python 3.12, and this computer has 3.10, 3.11"):
        choose_interpreter([one("3.11"), one("3.10")], "3.12")


def test_virtualenv_stands_in_for_venv():
    assert choose_interpreter([one("3.11", venv=False), one("3.12", venv=False, virtualenv=True)]).series == "3.12"


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ([one("3.11", venv=False)], r"sudo apt install python3-venv"),
        ([one("3.9")], r"needs Python 3.10 or newer, and this computer has 3.9; install one"),
        ([], r"needs Python 3.10 or newer, and none was found"),
    ],
)
def test_nothing_suitable_says_what_to_install(found, sentence):
    with pytest.raises(EngineError, match=sentence):
        choose_interpreter(found)


def test_a_chosen_file_that_is_no_python(tmp_path):
    with pytest.raises(EngineError, match=r"is not a Python that starts; choose another one"):
        interpreter_at(str(tmp_path / "gone"))


def test_path_and_environments_are_searched(tmp_path, monkeypatch):
    for name in ("bin/python3.12", "bin/python3.15", "bin/python3", "conda/bin/python"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text("")
        path.chmod(0o755)
    environ = {"PATH": str(tmp_path / "bin"), "CONDA_PREFIX": str(tmp_path / "conda")}
    found = [path for path in candidate_paths(environ) if path.startswith(str(tmp_path))]
    assert [os.path.relpath(path, tmp_path) for path in found] == [
        "bin/python3", "bin/python3.12", "bin/python3.15", "conda/bin/python",
    ]  # fmt: skip


def test_qgis_itself_is_no_python(tmp_path, monkeypatch):
    inside = tmp_path / "python.exe"
    inside.touch()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "qgis-bin.exe"))
    monkeypatch.setattr(sys, "exec_prefix", str(tmp_path))
    assert next(candidate_paths({"PATH": ""})) == str(inside)


def test_platforms_have_one_name():
    assert platform_name("Windows", "AMD64") == "windows-x86_64"
    assert platform_name("Darwin", "arm64") == "darwin-aarch64"


def test_the_probe_is_asked_without_the_users_own_modules(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert ask_interpreter(sys.executable) is not None


@pytest.mark.skipif(os.name == "nt", reason="a script cannot stand for python.exe")
def test_cancelling_does_not_wait_for_a_python_that_hangs(tmp_path):
    class Cancelling(Listener):
        asked = 0

        def is_cancelled(self):
            self.asked += 1
            return self.asked > 3

    hanging = tmp_path / "python3"
    hanging.write_text("#!/bin/sh\nsleep 60\n")
    hanging.chmod(0o755)
    start = time.monotonic()
    with pytest.raises(EngineCancelled):
        list(find_interpreters([str(hanging)], Cancelling()))
    assert time.monotonic() - start < 5
