"""Answers with a sign before them."""

from __future__ import annotations

from qgis.core import QgsApplication
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QWidget


class Answer(QWidget):
    """A sentence with QGIS's sign for good or bad before it; hidden while there is none."""

    GOOD, BAD, NOTE = "/mIconSuccess.svg", "/mIconWarning.svg", "/mIconInfo.svg"

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._sign = QLabel()
        self._text = QLabel()
        self._text.setWordWrap(True)
        self._text.setTextFormat(Qt.TextFormat.PlainText)
        self._text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._text.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._sign, 0, Qt.AlignmentFlag.AlignTop)
        row.addWidget(self._text, 1)
        self.hide()

    def say(self, sign: str, text: str) -> None:
        """Show a sentence."""
        self._sign.setPixmap(QgsApplication.getThemeIcon(sign).pixmap(20, 20))
        self._text.setText(text)
        self.setVisible(bool(text))

    def clear(self) -> None:
        """Show nothing."""
        self.say(self.NOTE, "")

    def text(self) -> str:
        """Return what is shown."""
        return self._text.text()
