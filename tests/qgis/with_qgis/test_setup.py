"""The set-up in the Desktop: window, settings page and first-run message, with a real environment and a real pip."""

from __future__ import annotations

import ensurepip
import glob
import sys
from dataclasses import replace
from pathlib import Path, PurePath
from unittest.mock import Mock

import pytest
from qgis.core import QgsSettings
from qgis.gui import QgsMessageBar
from qgis.PyQt import sip
from qgis.PyQt.QtWidgets import QMessageBox, QPushButton, QWidget

sys.path.append(str(Path(__file__).parents[1]))
from fake_wheels import make_bundle, make_engine_wheels, make_index, stalling

KEYS = ("geofootprint/python", "geofootprint/index", "geofootprint/bundle")


def pip_wheel():
    """Return pip's wheel, which Debian keeps elsewhere than others."""
    places = (Path(ensurepip.__file__).parent / "_bundled", Path("/usr/share/python-wheels"))
    return Path(next(path for place in places for path in sorted(glob.glob(f"{place}/pip-*.whl"))))


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    return [*make_engine_wheels(tmp_path_factory.mktemp("wheels"), "0.1.0"), pip_wheel()]


@pytest.fixture
def bundle(wheels, tmp_path):
    from geofootprint_qgis.core.setup_python import this_platform

    series = f"{sys.version_info.major}.{sys.version_info.minor}"
    return make_bundle(tmp_path / "geofootprint-bundle.zip", wheels, "0.1.0", series, this_platform())


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Make a home folder without an engine, and clear the settings."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("GEOFOOTPRINT_PYTHON")
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    yield tmp_path / "home"
    for key in KEYS:
        QgsSettings().remove(key)


@pytest.fixture
def page(provider, home, qtbot):
    from geofootprint_qgis.gui.options import OptionsFactory

    page = OptionsFactory().createWidget(None)
    qtbot.addWidget(page)
    yield page
    if page.dialog is not None:
        page.dialog.stop()


@pytest.fixture
def dialog(page):
    page.set_up()
    return page.dialog


@pytest.fixture(autouse=True)
def no_threads_are_left(qgis_app):
    yield
    from geofootprint_qgis.gui.setup_worker import RUNNING, finish_all

    finish_all()
    qgis_app.processEvents()
    assert not RUNNING


@pytest.fixture
def bare_python(provider, monkeypatch):
    """Let Pythons seem to have no ensurepip and no pip, which spares the time to unpack it."""
    from geofootprint_qgis.core import setup_engine

    choose = setup_engine.choose_interpreter
    monkeypatch.setattr(
        setup_engine, "choose_interpreter", lambda *found: replace(choose(*found), has_ensurepip=False, pip=())
    )


def wait_until_done(qtbot, dialog):
    qtbot.waitUntil(lambda: not dialog.is_running, timeout=60_000)


def take_bundle(dialog, bundle):
    dialog.sources.from_bundle.setChecked(True)
    dialog.sources.bundle.setFilePath(str(bundle))


def take_index(dialog, address):
    dialog.sources.other_index.setChecked(True)
    dialog.sources.index.setText(address)


def test_set_up_check_and_remove(page, dialog, bundle, home, qtbot, monkeypatch):
    from geofootprint_qgis.algorithms.base import current_engine

    assert page.state.text() == "No engine is set up yet: press Set up."
    assert (page.setup_button.text(), page.remove_button.isEnabled()) == ("Set up...", False)
    moves, stages = [], []
    dialog.bar.valueChanged.connect(moves.append)
    take_bundle(dialog, bundle)
    dialog.start_button.click()
    dialog._worker.moved.connect(lambda stage, part: stages.append(stage))
    assert dialog.cancel_button.isVisible()
    assert not dialog.sources.isEnabled()
    wait_until_done(qtbot, dialog)
    assert "geofootprint 0.1.0 works" in dialog.answer.text()
    assert moves[-1] == 1000
    assert moves == sorted(moves)
    assert {"Checking the bundle", "Making the environment", "Installing packages"} <= set(stages)
    assert "Successfully installed" in dialog.log.toPlainText()
    dialog.close()

    venv = home / ".geofootprint" / "venv"
    assert QgsSettings().value("geofootprint/bundle") == str(bundle)
    assert current_engine().origin == str(venv)
    assert str(venv) in page.state.text()
    assert "geofootprint 0.1.0 from bundle" in page.state.text()
    assert page.setup_button.text() == "Repair..."
    page.button.click()
    assert "geofootprint 0.1.0 works" in page.answer.text()
    assert "fake-model" in page.answer.text()

    monkeypatch.setattr(QMessageBox, "question", lambda *arguments: QMessageBox.StandardButton.No)
    page.remove_button.click()
    assert venv.exists()
    monkeypatch.setattr(QMessageBox, "question", lambda *arguments: QMessageBox.StandardButton.Yes)
    page.remove_button.click()
    assert not venv.exists()
    assert "is removed" in page.answer.text()
    assert page.setup_button.text() == "Set up..."


def test_an_engine_without_a_model_does_not_pass_the_check(page, tmp_path):
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho \'{"geofootprint": "0.1.0", "protocol": 1, "python": "3.11.2", "model": null}\'\n')
    python.chmod(0o755)
    page.python.setFilePath(str(python))
    page.button.click()
    assert page.answer.text().startswith(f"The model that belongs to geofootprint is missing in {python}. Choose a Python")


@pytest.mark.parametrize(
    ("version", "ready", "button"), [("0.0.1", True, "Update"), ("9", True, "Repair"), ("0.0.1", False, "Repair")]
)
def test_the_window_reads_as_the_button_that_opened_it(page, home, version, ready, button):
    from geofootprint_qgis.core.setup_marker import Marker, write_marker

    page.set_up()
    assert (page.dialog.windowTitle(), page.dialog.start_button.text()) == ("Set up geofootprint's engine", "Set up")
    page.dialog.close()
    venv = home / ".geofootprint" / "venv"
    venv.mkdir(parents=True)
    write_marker(venv, Marker(ready, version, python="", python_version="3", source="PyPI"))
    page.show_state()
    page.set_up()
    assert page.setup_button.text() == f"{button}..."
    assert page.dialog.windowTitle() == f"{button} geofootprint's engine"
    assert page.dialog.start_button.text() == button
    page.dialog.advanced.folder.setFilePath(str(home / "other"))
    assert page.dialog.start_button.text() == "Set up"


@pytest.mark.parametrize(("source", "name"), [("bundle", "from_bundle"), ("index", "other_index"), ("PyPI", "internet")])
def test_a_repair_takes_the_engine_from_where_it_came(page, home, source, name):
    from geofootprint_qgis.core.setup_marker import Marker, write_marker

    venv = home / ".geofootprint" / "venv"
    venv.mkdir(parents=True)
    write_marker(venv, Marker(True, "0.1.0", python="", python_version="3", source=source))
    QgsSettings().setValue("geofootprint/bundle", "/media/stick/bundle.zip")
    page.set_up()
    assert getattr(page.dialog.sources, name).isChecked()
    assert page.dialog.sources.bundle.filePath() == "/media/stick/bundle.zip"


def test_another_folder_becomes_the_setting(page, dialog, bundle, home, tmp_path, qtbot, monkeypatch):
    other = tmp_path / "Höfe" / "engine"
    take_bundle(dialog, bundle)
    dialog.advanced.folder.setFilePath(str(other))
    dialog.advanced.python.setEditText(sys.executable)
    dialog.start_button.click()
    wait_until_done(qtbot, dialog)
    assert "works" in dialog.answer.text()
    assert QgsSettings().value("geofootprint/python") == page.python.filePath() == str(other)
    monkeypatch.setattr(QMessageBox, "question", lambda *arguments: QMessageBox.StandardButton.Yes)
    page.remove_button.click()
    assert not other.exists()
    assert page.python.filePath() == ""


@pytest.fixture
def private(home):
    """Make a private environment that only looks as if it had been set up, and return its folder."""
    from geofootprint_qgis.core.setup_marker import Marker, write_marker

    folder = home / ".geofootprint" / "venv"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").touch()
    write_marker(folder, Marker(True, "0.1.0", "/usr/bin/python3", "3.11.2", "PyPI"))
    return folder


@pytest.fixture
def yes(monkeypatch):
    """Answer all questions with Yes, and return what was asked."""
    asked = []

    def answer(parent, title, question):
        asked.append(question)
        return QMessageBox.StandardButton.Yes

    monkeypatch.setattr(QMessageBox, "question", answer)
    return asked


@pytest.fixture
def conda(tmp_path):
    """Make an environment that somebody else made, and return its Python."""
    python = tmp_path / "conda" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    return str(python)


def test_removing_the_private_engine_keeps_the_path_to_another_one(private, conda, page, yes):
    QgsSettings().setValue("geofootprint/python", conda)
    page.python.setFilePath(conda)
    page.remove_button.click()
    assert not private.exists()
    assert QgsSettings().value("geofootprint/python") == page.python.filePath() == conda


def test_removing_the_engine_clears_the_path_that_leads_into_it(private, page, yes):
    python = str(private / "bin" / "python")
    QgsSettings().setValue("geofootprint/python", python)
    page.python.setFilePath(python)
    page.remove_button.click()
    assert not private.exists()
    assert page.python.filePath() == ""
    assert not QgsSettings().contains("geofootprint/python")


def test_the_page_asks_no_more_of_paths_than_old_pythons_have(private, page, monkeypatch):
    with monkeypatch.context() as old:
        old.delattr(PurePath, "is_relative_to")  # new in Python 3.9
        page.show_state()
    assert "geofootprint 0.1.0 from PyPI" in page.state.text()


@pytest.fixture
def with_pytorch(private):
    """Make a private environment into which somebody has installed PyTorch, and return its folder."""
    (private / "lib" / "python3.11" / "site-packages" / "torch").mkdir(parents=True)
    return private


def test_repairing_asks_before_pytorch_is_lost(with_pytorch, page, dialog, monkeypatch):
    asked = []
    monkeypatch.setattr(
        QMessageBox, "question", lambda *arguments: asked.append(arguments[-1]) or QMessageBox.StandardButton.No
    )
    assert page.setup_button.text() == "Repair..."
    dialog.start_button.click()
    assert not dialog.is_running
    (question,) = asked
    assert "has PyTorch" in question
    assert f'"{with_pytorch / "bin" / "python"}" -m pip install "geofootprint[train]"' in question


def test_repairing_an_engine_with_pytorch_goes_on_after_yes(with_pytorch, dialog, bundle, yes, qtbot):
    take_bundle(dialog, bundle.with_name("gone.zip"))
    dialog.start_button.click()
    wait_until_done(qtbot, dialog)
    assert len(yes) == 1
    assert "No bundle is at" in dialog.answer.text()


def test_repairing_an_engine_without_pytorch_asks_nothing(private, dialog, bundle, yes, qtbot):
    take_bundle(dialog, bundle.with_name("gone.zip"))
    dialog.start_button.click()
    wait_until_done(qtbot, dialog)
    assert yes == []


def test_what_somebody_else_made_is_not_asked_about(with_pytorch, provider):
    from geofootprint_qgis.core.setup_marker import MARKER
    from geofootprint_qgis.gui.pytorch import would_lose_pytorch

    assert would_lose_pytorch(with_pytorch)
    (with_pytorch / MARKER).unlink()
    assert not would_lose_pytorch(with_pytorch)


def test_removing_tells_that_pytorch_is_lost(with_pytorch, page, yes):
    page.remove_button.click()
    (question,) = yes
    assert question.startswith(f"Remove the engine in {with_pytorch}?")
    assert "Its PyTorch" in question


def test_cancel_leaves_everything_as_it_was(dialog, wheels, home, tmp_path, qtbot):
    with stalling(make_index(tmp_path / "index", wheels)) as (address, stalled):
        take_index(dialog, address)
        dialog.start_button.click()
        qtbot.waitUntil(stalled.is_set, timeout=60_000)
        dialog.cancel_button.click()
        qtbot.waitUntil(lambda: not dialog.is_running, timeout=5000)
    assert dialog.answer.text() == "Cancelled; everything is as it was before."
    assert not (home / ".geofootprint" / "venv").exists()
    assert dialog.start_button.isEnabled()


def test_closing_while_it_runs_asks_and_stops(dialog, wheels, home, tmp_path, qtbot, monkeypatch, bare_python):
    answers = [QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes]
    monkeypatch.setattr(QMessageBox, "question", lambda *arguments: answers.pop(0))
    with stalling(make_index(tmp_path / "index", wheels)) as (address, stalled):
        take_index(dialog, address)
        dialog.start_button.click()
        qtbot.waitUntil(stalled.is_set, timeout=60_000)
        dialog.close()
        assert (dialog.isVisible(), dialog.is_running) == (True, True)
        dialog.close()
        assert (dialog.isVisible(), dialog.is_running) == (False, False)
    assert not (home / ".geofootprint" / "venv").exists()


def test_a_failure_is_told_in_a_sentence_and_can_be_tried_again(dialog, bundle, qtbot):
    take_bundle(dialog, bundle.with_name("gone.zip"))
    dialog.start_button.click()
    wait_until_done(qtbot, dialog)
    assert "No bundle is at" in dialog.answer.text()
    bundle.write_bytes(bundle.read_bytes()[:1000])
    take_bundle(dialog, bundle)
    dialog.start_button.click()
    wait_until_done(qtbot, dialog)
    assert "is damaged" in dialog.answer.text()
    assert dialog.start_button.isEnabled()


def test_what_should_not_happen_is_told_too(dialog, monkeypatch, qtbot):
    def fail(*arguments, **keywords):
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr("geofootprint_qgis.gui.setup_dialog.set_up", fail)
    dialog.start_button.click()
    wait_until_done(qtbot, dialog)
    assert "ZeroDivisionError" in dialog.answer.text()


def test_an_engine_that_is_there_is_offered_and_taken(provider, home, qtbot):
    from geofootprint_qgis.gui.setup_dialog import SetupDialog

    venv = home / "venvs" / "geo"
    (venv / "bin").mkdir(parents=True)
    (venv / "lib" / "python3.11" / "site-packages" / "geofootprint-0.1.0.dist-info").mkdir(parents=True)
    python = venv / "bin" / "python"
    python.write_text('#!/bin/sh\necho \'{"geofootprint": "0.1.0", "protocol": 1, "model": {"name": "fake-model"}}\'\n')
    python.chmod(0o755)
    dialog = SetupDialog()
    qtbot.addWidget(dialog)
    dialog.show()
    qtbot.waitUntil(dialog.sources.installed.isVisible, timeout=60_000)
    dialog.sources.installed.setChecked(True)
    dialog.start_button.click()
    wait_until_done(qtbot, dialog)
    assert "geofootprint 0.1.0 works" in dialog.answer.text()
    assert QgsSettings().value("geofootprint/python") == str(python)


@pytest.mark.parametrize(
    ("take", "sentence"),
    [(take_bundle, "No bundle file is chosen; choose it"), (take_index, "The package index has no address; write it")],
)
def test_an_empty_field_is_refused_at_once(dialog, take, sentence):
    take(dialog, " ")
    dialog.start_button.click()
    assert not dialog.is_running
    assert dialog.answer.text().startswith(sentence)
    assert dialog.start_button.isEnabled()


def test_the_index_is_remembered_but_no_password(dialog):
    take_index(dialog, "https://mirror.example.org/simple")
    dialog.sources.remember()
    assert QgsSettings().value("geofootprint/index") == "https://mirror.example.org/simple"
    take_index(dialog, "https://me:secret@mirror.example.org/simple")
    dialog.sources.remember()
    assert QgsSettings().value("geofootprint/index") == ""


def test_qgis_proxy_is_taken_over(page):
    from geofootprint_qgis.gui.setup_dialog import SetupDialog

    values = {"proxyEnabled": True, "proxyType": "HttpProxy", "proxyHost": "proxy.example.org", "proxyPort": "3128"}
    for key, value in values.items():
        QgsSettings().setValue(f"proxy/{key}", value)
    try:
        assert SetupDialog().advanced.proxy.text() == "http://proxy.example.org:3128"
    finally:
        QgsSettings().remove("proxy")


@pytest.fixture
def guide(provider, home, qtbot):
    from geofootprint_qgis.gui.setup_guide import SetupGuide

    window = QWidget()
    qtbot.addWidget(window)
    guide = SetupGuide(Mock(**{"mainWindow.return_value": window, "messageBar.return_value": QgsMessageBar(window)}))
    yield guide
    guide.end()


@pytest.fixture
def bar(guide):
    return guide._iface.messageBar()


def test_without_an_engine_a_message_offers_the_set_up(guide, bar):
    guide.remind()
    assert bar.currentItem().text() == "Its engine has to be set up once."
    bar.currentItem().findChild(QPushButton).click()
    assert guide.dialog.isVisible()
    guide.dialog.changed.emit()
    assert bar.currentItem() is None


def test_the_message_may_be_closed_before_the_set_up_and_before_unloading(guide, bar, qtbot):
    guide.remind()
    guide.open()
    message = bar.currentItem()
    bar.popWidget()  # what the message's cross does
    qtbot.waitUntil(lambda: sip.isdeleted(message))
    guide.dialog.changed.emit()


def test_a_wrong_variable_is_told_without_a_button_that_would_not_mend_it(guide, bar, monkeypatch):
    monkeypatch.setenv("GEOFOOTPRINT_PYTHON", "/gone/python")
    guide.remind()
    assert "No Python is at /gone/python" in bar.currentItem().text()
    assert "Set Up Engine..." not in [button.text() for button in bar.currentItem().findChildren(QPushButton)]


def test_with_an_engine_there_is_no_message(guide, bar, monkeypatch):
    monkeypatch.setenv("GEOFOOTPRINT_PYTHON", sys.executable)
    guide.remind()
    assert bar.currentItem() is None


def test_the_menu_opens_one_window(guide):
    guide._iface.addPluginToRasterMenu.assert_called_once_with("geofootprint", guide.action)
    guide.action.trigger()
    first = guide.dialog
    guide.action.trigger()
    assert guide.dialog is first


def test_unloading_ends_what_is_going_on(provider, home, wheels, tmp_path, qtbot, bare_python):
    from geofootprint_qgis.gui.setup_guide import SetupGuide

    guide = SetupGuide(Mock())
    guide.open()
    with stalling(make_index(tmp_path / "index", wheels)) as (address, stalled):
        take_index(guide.dialog, address)
        guide.dialog.start_button.click()
        qtbot.waitUntil(stalled.is_set, timeout=60_000)
        guide.end()
    assert not (home / ".geofootprint" / "venv").exists()
    guide._iface.removePluginRasterMenu.assert_called_once()
