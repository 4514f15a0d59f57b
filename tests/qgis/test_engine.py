"""How the plugin finds and checks the engine; needs no QGIS."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from geofootprint_qgis.core.engine import Engine, find_engine, python_in
from geofootprint_qgis.core.runner import EngineError


@pytest.fixture
def python(tmp_path):
    """Return a function that makes a file that looks like an interpreter."""

    def make(folder):
        path = python_in(tmp_path / folder)
        path.parent.mkdir(parents=True)
        path.touch()
        return path

    return make


@pytest.fixture
def answering(tmp_path):
    """Return a function that makes an interpreter which runs the given script instead."""
    if os.name == "nt":
        pytest.skip("a script cannot stand for python.exe")

    def make(body):
        path = tmp_path / "python"
        path.write_text(f"#!{sys.executable}\n{body}\n", encoding="utf-8")
        path.chmod(0o755)
        return Engine(str(path), "the test")

    return make


def test_the_variable_goes_before_the_setting_and_that_before_the_private_environment(python, tmp_path):
    first, second = python("first"), python("second")
    private = python(".geofootprint/venv")
    variable = {"GEOFOOTPRINT_PYTHON": str(first)}
    assert find_engine(str(second), variable, tmp_path).python == str(first)
    assert find_engine(str(second), {}, tmp_path).python == str(second)
    assert find_engine("", {"GEOFOOTPRINT_PYTHON": " "}, tmp_path).python == str(private)
    assert find_engine(None, {}, tmp_path).origin == str(tmp_path / ".geofootprint" / "venv")


def test_the_folder_of_an_environment_is_enough(python, tmp_path):
    path = python("venv")
    assert find_engine(str(tmp_path / "venv"), {}, tmp_path).python == str(path)


def test_a_link_is_not_followed(python, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(python("venv"))
    assert find_engine(str(link), {}, tmp_path).python == str(link)


def test_nothing_set(tmp_path):
    with pytest.raises(EngineError, match=r"Settings > Options > geofootprint.*GEOFOOTPRINT_PYTHON"):
        find_engine(None, {}, tmp_path)


def test_a_wrong_variable_is_not_passed_over(python, tmp_path):
    setting = python("good")
    wrong = tmp_path / "gone" / "python"
    with pytest.raises(EngineError, match=r"No Python is at .*gone.*GEOFOOTPRINT_PYTHON says"):
        find_engine(str(setting), {"GEOFOOTPRINT_PYTHON": str(wrong)}, tmp_path)


def test_the_real_engine_answers():
    answer = Engine(sys.executable, "the test").check()
    assert answer["protocol"] == 1
    assert answer["geofootprint"]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("print('Python 2')", "does not answer as geofootprint does"),
        ("import sys; sys.exit('ImportError: libGL.so.1')", "does not answer .*libGL"),
        ("exit('/x/python: No module named geofootprint_cli')", "-m pip install geofootprint"),
        ("print('{\"protocol\": 7}')", "speaks version 7"),
        ("print('[]')", "does not answer"),
    ],
)
def test_others_are_refused_in_a_sentence(answering, body, sentence):
    with pytest.raises(EngineError, match=sentence):
        answering(body).check()


def test_a_file_that_cannot_be_started(tmp_path):
    path = tmp_path / "python"
    path.write_text("no program")
    with pytest.raises(EngineError, match="cannot be started"):
        Engine(str(path), "the test").check()


def test_an_engine_that_does_not_answer(answering, monkeypatch):
    monkeypatch.setattr("geofootprint_qgis.core.engine.CHECK_SECONDS", 0.5)
    with pytest.raises(EngineError, match=r"no answer for 0.5 seconds"):
        answering("import time; time.sleep(60)").check()


def test_the_core_imports_nothing_but_the_standard_library():
    core = Path(__file__).resolve().parents[2] / "qgis_plugin" / "core"
    for path in core.glob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            words = line.split()
            if words[:1] in (["import"], ["from"]) and not words[1].startswith("."):
                assert words[1].split(".")[0] in sys.stdlib_module_names, line
