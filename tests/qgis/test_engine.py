"""How the plugin finds and checks the engine; needs no QGIS."""

from __future__ import annotations

import ast
import os
import sys
import time
from pathlib import Path

import pytest
from geofootprint_qgis.core.engine import (
    IN_ENVIRONMENT,
    IN_SETTINGS,
    Engine,
    NotSetUp,
    find_engine,
    is_newer,
    plugin_version,
    python_in,
    setup_button,
)
from geofootprint_qgis.core.runner import BrokenEngine, EngineCancelled, EngineError, Listener
from geofootprint_qgis.core.setup_marker import Marker, write_marker

from geofootprint import __version__


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

    def make(body, origin="the test", path=tmp_path / "python"):
        asked = f"import os, sys\nif '-c' in sys.argv: os.execv({sys.executable!r}, [{sys.executable!r}, *sys.argv[1:]])"
        path.write_text(f"#!{sys.executable}\n{asked}\n{body}\n", encoding="utf-8")
        path.chmod(0o755)
        return Engine(str(path), origin)

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


def mark(folder, *, ready):
    write_marker(folder, Marker(ready=ready, version="1", python="/usr/bin/python3", python_version="3", source="PyPI"))


def test_an_interrupted_set_up_is_no_engine(python, tmp_path):
    python(".geofootprint/venv")
    mark(tmp_path / ".geofootprint" / "venv", ready=False)
    with pytest.raises(EngineError, match=r"did not come to its end\. Press Repair in Settings"):
        find_engine(None, {}, tmp_path)
    mark(tmp_path / ".geofootprint" / "venv", ready=True)
    assert find_engine(None, {}, tmp_path).origin == str(tmp_path / ".geofootprint" / "venv")


def test_an_engine_whose_python_was_taken_away(python, tmp_path):
    path = python(".geofootprint/venv")
    mark(tmp_path / ".geofootprint" / "venv", ready=True)
    path.unlink()
    with pytest.raises(EngineError, match=r"has lost its Python, /usr/bin/python3\. Press Repair in Settings"):
        find_engine(None, {}, tmp_path)


@pytest.mark.parametrize(
    ("version", "other", "newer"),
    [("0.2.0", "0.1.9", True), ("0.10", "0.9", True), ("0.1.0", "0.1", False), ("0.1", "0.2", False), ("1rc1", "0", True)],
)
def test_versions_are_compared_by_their_numbers(version, other, newer):
    assert is_newer(version, other) is newer


def test_the_plugin_knows_its_version():
    assert plugin_version() == __version__


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
        ("sys.exit('out of paper')", r"does not answer as geofootprint does \(out of paper\)\. "),
        ("exit('/x/python: No module named geofootprint_cli')", r"python has no geofootprint\. "),
        ("exit(\"ModuleNotFoundError: No module named 'geofootprint'\")", r"python has no geofootprint\. "),
        (
            "exit(\"Error: ModuleNotFoundError: No module named 'rasterio._io'. This is a defect of geofootprint; run again\")",
            r"python lacks rasterio, which geofootprint needs\. ",
        ),
        (
            "exit('Error: ImportError: libGL.so.1: no such file. This is a defect of geofootprint; run again with -v')",
            r"cannot load what geofootprint needs \(libGL.so.1: no such file\)\. ",
        ),
        ("print('{\"protocol\": 7}')", "newer than this plugin .protocol 7 instead of 1.; update the plugin"),
        ("print('{\"protocol\": 0}')", r"older than this plugin .protocol 0 instead of 1.\. "),
        ("print('[]')", "does not answer"),
    ],
)
def test_others_are_refused_in_a_sentence(answering, body, sentence):
    with pytest.raises(EngineError, match=sentence):
        answering(body).check()


BROKEN = "exit('/x/python: No module named geofootprint_cli')"


@pytest.mark.parametrize(
    ("origin", "sentence"),
    [
        (IN_ENVIRONMENT, r"Let the environment variable GEOFOOTPRINT_PYTHON name a Python .* and start QGIS again\.$"),
        (IN_SETTINGS, r"Choose a Python .* in Settings > Options > geofootprint, or leave the field Python empty"),
        ("/home/me/.geofootprint/venv", r"/home/me/.geofootprint/venv was not made by this plugin: rename it, and press Set up"),
    ],
)
def test_an_engine_of_the_user_s_own_is_not_mended_by_a_button(answering, origin, sentence):
    with pytest.raises(EngineError, match=sentence) as caught:
        answering(BROKEN, origin).check()
    assert "Repair" not in str(caught.value)
    with pytest.raises(EngineError, match=sentence):
        answering(BROKEN, origin).run("info", listener=Listener())


@pytest.mark.parametrize("origin", [IN_SETTINGS, "the private folder"])
@pytest.mark.parametrize(
    ("version", "ready", "button"),
    [("0.0.1", True, "Update"), (__version__, True, "Repair"), ("0.0.1", False, "Repair"), ("9", True, "Repair")],
)
def test_an_engine_of_the_plugin_s_is_mended_by_the_button_that_is_there(
    python, answering, tmp_path, origin, version, ready, button
):
    path = python("venv")
    marker = Marker(ready=ready, version=version, python="", python_version="3", source="PyPI")
    write_marker(tmp_path / "venv", marker)
    with pytest.raises(EngineError, match=rf"has no geofootprint\. Press {button} in Settings > Options > geofootprint\.$"):
        answering(BROKEN, origin, path).check()
    assert setup_button(marker) == f"{button}..."


def test_a_wrong_path_in_the_settings_names_the_button_that_is_there(python, tmp_path):
    wrong = str(tmp_path / "gone" / "python")
    with pytest.raises(NotSetUp, match=r"No Python is at .*gone.*\. Press Set up in Settings"):
        find_engine(wrong, {}, tmp_path)
    python(".geofootprint/venv")
    mark(tmp_path / ".geofootprint" / "venv", ready=False)
    with pytest.raises(NotSetUp, match=r"No Python is at .*gone.*\. Press Repair in Settings"):
        find_engine(wrong, {}, tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="needs a program that is no Python")
@pytest.mark.parametrize("program", ["/bin/cat", "/bin/true"])
def test_a_program_that_is_no_python(program):
    engine = Engine(program, IN_ENVIRONMENT)
    sentence = f"^{program} is no Python, or one that does not start. Let the environment variable"
    with pytest.raises(EngineError, match=sentence):
        engine.check()
    with pytest.raises(EngineError, match=sentence):
        engine.run("info", listener=Listener())


def test_an_engine_without_its_model_is_broken(answering):
    missing = "The default model /x/default.onnx is missing; install geofootprint again."
    engine = answering(f"print('{{\"event\": \"error\", \"text\": \"{missing}\"}}'); sys.exit(2)", IN_SETTINGS)
    with pytest.raises(BrokenEngine, match=r"^The model that belongs to geofootprint is missing in .*python\. Choose a Python"):
        engine.run("segment", listener=Listener())


def test_a_failure_of_a_run_is_no_broken_engine(answering):
    begun = "print('{\"event\": \"start\", \"protocol\": 1}', flush=True)"
    engine = answering(f"{begun}; sys.exit('out of paper')", IN_SETTINGS)
    with pytest.raises(EngineError, match=r"ended with exit code 1\. Its last words: out of paper$"):
        engine.run("segment", listener=Listener())


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
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            for name in names:
                assert name.split(".")[0] in sys.stdlib_module_names, f"{path}: {name}"


def test_cancelling_does_not_wait_for_an_engine_that_hangs(answering):
    class Cancelling(Listener):
        asked = 0

        def is_cancelled(self):
            self.asked += 1
            return self.asked > 3

    start = time.monotonic()
    with pytest.raises(EngineCancelled):
        answering("import time; time.sleep(60)").check(Cancelling())
    assert time.monotonic() - start < 5
