"""The page Settings > Options > geofootprint: which Python has the engine."""

from __future__ import annotations

from qgis.core import QgsSettings
from qgis.gui import QgsFileWidget, QgsOptionsPageWidget, QgsOptionsWidgetFactory
from qgis.PyQt.QtCore import QCoreApplication, Qt
from qgis.PyQt.QtGui import QIcon
from qgis.PyQt.QtWidgets import QApplication, QFormLayout, QLabel, QPushButton, QWidget

from ..algorithms.base import ICON
from ..core.engine import SETTING, find_engine
from ..core.runner import EngineError

EXPLANATION = (
    "geofootprint works in a Python of its own, apart from that of QGIS. Make a virtual environment, install "
    "geofootprint in it with pip, and give its Python here, or its folder. Where nothing is given, "
    "the environment ~/.geofootprint/venv is taken."
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
    """A path, a button that tries it, and what came of that."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        explanation = QLabel(self.tr(EXPLANATION))
        explanation.setWordWrap(True)
        self.python = QgsFileWidget()
        self.python.setDialogTitle(self.tr("Python that has geofootprint"))
        self.python.setFilePath(QgsSettings().value(SETTING, "", type=str))
        self.button = QPushButton(self.tr("Check"))
        self.button.clicked.connect(self.check)
        self.answer = QLabel()
        self.answer.setWordWrap(True)
        self.answer.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        layout = QFormLayout(self)
        layout.addRow(explanation)
        layout.addRow(self.tr("Python"), self.python)
        layout.addRow(self.button)
        layout.addRow(self.answer)

    def tr(self, text: str) -> str:
        return QCoreApplication.translate("Geofootprint", text)

    def apply(self) -> None:
        """Keep the path; QGIS calls this when the dialog is accepted."""
        QgsSettings().setValue(SETTING, self.python.filePath().strip())

    def check(self) -> None:
        """Start the engine and show what it answers."""
        QApplication.setOverrideCursor(Qt.CursorShape.WaitCursor)
        try:
            engine = find_engine(self.python.filePath())
            answer = engine.check()
            text = self.tr("geofootprint {} works.\n{}, found by {}.").format(
                answer.get("geofootprint"), engine.python, engine.origin
            )
        except EngineError as error:
            text = str(error)
        finally:
            QApplication.restoreOverrideCursor()
        self.answer.setText(text)
