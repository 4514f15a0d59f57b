"""The page Settings > Options > geofootprint: the engine, whether it works, and what to do if it does not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qgis.core import QgsSettings
from qgis.gui import QgsFileWidget, QgsOptionsPageWidget, QgsOptionsWidgetFactory
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtGui import QIcon
from qgis.PyQt.QtWidgets import (
    QApplication,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QMessageBox,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ..algorithms.base import ICON
from ..core.engine import SETTING, VARIABLE, Engine, find_engine, is_newer, plugin_version, setup_button
from ..core.runner import EngineError, missing_model
from ..core.setup_engine import managed_folder, remove
from ..core.setup_marker import read_marker
from ..translation import said, tr
from .answer import Answer
from .pytorch import would_lose_pytorch
from .setup_dialog import SetupDialog

EXPLANATION = (
    "geofootprint finds buildings with an engine in a Python of its own, apart from that of QGIS. Set up installs it "
    "in a folder below your home folder."
)
OTHER = (
    "Where geofootprint is installed already, choose its Python or the folder of its environment here; it goes before "
    "the engine that was set up."
)


class OptionsFactory(QgsOptionsWidgetFactory):
    """Makes the page whenever the Options dialog is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.setTitle("geofootprint")

    def icon(self) -> QIcon:
        return QIcon(ICON)

    def createWidget(self, parent: QWidget | None) -> OptionsPage:
        return OptionsPage(parent)


class OptionsPage(QgsOptionsPageWidget):
    """What the engine is, buttons to check, set up, repair, update and remove it, and a path to another one."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.dialog: SetupDialog | None = None
        self.state = QLabel()
        self.state.setWordWrap(True)
        self.state.setTextFormat(Qt.TextFormat.PlainText)
        self.state.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setup_button = QPushButton()
        self.setup_button.clicked.connect(self.set_up)
        self.button = QPushButton(tr("Check"))
        self.button.clicked.connect(self.check)
        self.remove_button = QPushButton(tr("Remove"))
        self.remove_button.clicked.connect(self.remove)
        self.answer = Answer()
        self.python = QgsFileWidget()
        self.python.setDialogTitle(tr("Python that has geofootprint"))
        self.python.setFilePath(QgsSettings().value(SETTING, "", type=str))
        self.python.fileChanged.connect(self.show_state)
        self._lay_out()
        self.show_state()

    def _lay_out(self) -> None:
        explanation, other = QLabel(tr(EXPLANATION)), QLabel(tr(OTHER))
        for label in (explanation, other):
            label.setWordWrap(True)
        buttons = QHBoxLayout()
        for button in (self.setup_button, self.button, self.remove_button):
            buttons.addWidget(button)
        buttons.addStretch(1)
        engine = QGroupBox(tr("Engine"))
        inside = QVBoxLayout(engine)
        inside.addWidget(self.state)
        inside.addLayout(buttons)
        inside.addWidget(self.answer)
        elsewhere = QGroupBox(tr("Another engine"))
        form = QFormLayout(elsewhere)
        form.addRow(other)
        form.addRow(tr("Python"), self.python)
        column = QVBoxLayout(self)
        column.addWidget(explanation)
        column.addWidget(engine)
        column.addWidget(elsewhere)
        column.addStretch(1)

    def apply(self) -> None:
        """Keep the path; QGIS calls this when the dialog is accepted."""
        QgsSettings().setValue(SETTING, self.python.filePath().strip())

    def show_state(self) -> None:
        """Tell what is known of the engine without starting it, and offer what can be done."""
        folder = managed_folder(self.python.filePath())
        marker = read_marker(folder)
        self.remove_button.setEnabled(marker is not None)
        self.setup_button.setText(tr(setup_button(marker)))
        self.state.setText("\n".join(self._facts(folder)))

    def _facts(self, folder: Path) -> Iterator[str]:
        marker = read_marker(folder)
        try:
            engine = find_engine(self.python.filePath())
        except EngineError as error:
            is_first = marker is None and not self.python.filePath().strip() and not os.environ.get(VARIABLE)
            yield tr("No engine is set up yet: press Set up.") if is_first else said(error)
            return
        yield tr("Python: {python}").format(python=engine.python)
        if marker is not None and _leads_into(engine.python, folder):
            yield tr("Set up: geofootprint {version} from {source}, with Python {number} ({python})").format(
                version=marker.version, source=tr(marker.source), number=marker.python_version, python=marker.python
            )
        else:
            yield tr("Found by: {origin}").format(origin=tr(engine.origin))
        if os.environ.get(VARIABLE):
            yield tr("The environment variable {variable} is set and goes before everything here.").format(
                variable=VARIABLE
            )

    def check(self) -> None:
        """Start the engine and show what it answers."""
        with _waiting():
            try:
                engine = find_engine(self.python.filePath())
                self._show_answer(engine, engine.check())
            except EngineError as error:
                self.answer.say(Answer.BAD, said(error))
        self.show_state()

    def _show_answer(self, engine: Engine, answer: dict[str, Any]) -> None:
        if answer.get("model"):
            self.answer.say(Answer.GOOD, _describe(engine, answer))
        else:
            self.answer.say(Answer.BAD, said(missing_model(engine.python).advised(engine.remedy())))

    def set_up(self) -> None:
        """Open the window that sets up, repairs or updates."""
        self.answer.clear()
        if self.dialog is None:
            self.dialog = SetupDialog(self, managed_folder(self.python.filePath()))
            self.dialog.changed.connect(self._take_setting)
        self.dialog.open()

    def _take_setting(self) -> None:
        self.python.setFilePath(QgsSettings().value(SETTING, "", type=str))
        self.show_state()

    def remove(self) -> None:
        """Remove the environment that was set up, after a question."""
        folder = managed_folder(self.python.filePath())
        question = tr("Remove the engine in {folder}? It can be set up again at any time.").format(folder=folder)
        if would_lose_pytorch(folder):
            question += " " + tr("Its PyTorch, which training needs, is removed too and would have to be installed again.")
        if QMessageBox.question(self, "geofootprint", question) != QMessageBox.StandardButton.Yes:
            return
        with _waiting():
            try:
                remove(folder)
                self.answer.say(Answer.GOOD, tr("The engine in {folder} is removed.").format(folder=folder))
            except EngineError as error:
                self.answer.say(Answer.BAD, said(error))
        if not folder.exists():
            self._forget(folder)
        self.show_state()

    def _forget(self, folder: Path) -> None:
        """Clear the path, kept or not yet kept, where it leads into an environment that is gone, and nowhere else."""
        if _leads_into(QgsSettings().value(SETTING, "", type=str), folder):
            QgsSettings().remove(SETTING)
        if _leads_into(self.python.filePath(), folder):
            self.python.setFilePath("")


def _leads_into(setting: str, folder: Path) -> bool:
    """Say whether a path from the settings, which may be empty, is a folder or in it."""
    path = Path(setting.strip()).expanduser()
    return folder in (path, *path.parents)


def _describe(engine: Engine, answer: dict[str, Any]) -> str:
    lines = [
        tr("geofootprint {version} works.").format(version=answer.get("geofootprint")),
        tr("Python {number}: {python}").format(number=answer.get("python"), python=engine.python),
        tr("Model: {model}").format(model=answer["model"].get("name")),
        tr("Protocol: {protocol}").format(protocol=answer.get("protocol")),
    ]
    if is_newer(plugin_version(), str(answer.get("geofootprint", ""))):
        lines.append(tr("The plugin is newer ({version}): update the engine.").format(version=plugin_version()))
    return "\n".join(lines)


@contextmanager
def _waiting() -> Iterator[None]:
    QApplication.setOverrideCursor(Qt.CursorShape.WaitCursor)
    try:
        yield
    finally:
        QApplication.restoreOverrideCursor()
