"""Leads to the set-up of the engine: an action in the plugin's menu, and a word when there is no engine yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qgis.core import Qgis
from qgis.PyQt import sip
from qgis.PyQt.QtGui import QIcon
from qgis.PyQt.QtWidgets import QAction, QPushButton, QWidget

from ..algorithms.base import ICON, current_engine
from ..core.engine import NotSetUp
from ..core.runner import EngineError
from ..translation import said, tr
from .setup_dialog import SetupDialog
from .setup_worker import finish_all

MENU = "geofootprint"
"""Name of the plugin's menu below Raster."""


def has_engine(iface: Any, offer: Callable[[], None]) -> bool:
    """Say whether there is an engine; if not, offer its set-up where that helps, and say what is wrong otherwise.

    Parameters
    ----------
    iface : QgisInterface
        Of the Desktop.
    offer : callable
        Offers the set-up.
    """
    try:
        current_engine()
    except NotSetUp:
        offer()
        return False
    except EngineError as error:
        iface.messageBar().pushMessage("geofootprint", said(error), Qgis.MessageLevel.Warning, 0)
        return False
    return True


class SetupGuide:
    """The action and the message.

    Parameters
    ----------
    iface : QgisInterface
        Of the Desktop.
    """

    def __init__(self, iface: Any) -> None:
        self._iface = iface
        self._message: Any = None
        self.dialog: SetupDialog | None = None
        self.action = QAction(QIcon(ICON), tr("Set Up Engine..."))
        self.action.triggered.connect(self.open)
        iface.addPluginToRasterMenu(MENU, self.action)
        iface.initializationCompleted.connect(self.remind)
        window = self._window()
        if window is not None and window.isVisible():  # the plugin was installed or switched on in a running QGIS
            self.remind()

    def _window(self) -> QWidget | None:
        window = self._iface.mainWindow()
        return window if isinstance(window, QWidget) else None

    def remind(self) -> None:
        """Say that there is no engine, or what is wrong with it; say nothing where there is one."""
        has_engine(self._iface, self._offer)

    def _offer(self) -> None:
        """Show a message with a button that leads to the set-up."""
        bar = self._iface.messageBar()
        self._message = bar.createMessage("geofootprint", tr("Its engine has to be set up once."))
        button = QPushButton(tr("Set Up Engine..."))
        button.clicked.connect(self.open)
        self._message.layout().addWidget(button)
        bar.pushWidget(self._message, Qgis.MessageLevel.Info)

    def open(self) -> None:
        """Show the window, the same one if it is open already."""
        if self.dialog is None:
            self.dialog = SetupDialog(self._window())
            self.dialog.changed.connect(self._forget_message)
        self.dialog.show()
        self.dialog.raise_()
        self.dialog.activateWindow()

    def _forget_message(self) -> None:
        if self._message is not None and not sip.isdeleted(self._message):  # the bar deletes it when the user closes it
            self._iface.messageBar().popWidget(self._message)
        self._message = None

    def end(self) -> None:
        """Take everything away again."""
        self._iface.initializationCompleted.disconnect(self.remind)
        self._iface.removePluginRasterMenu(MENU, self.action)
        self._forget_message()
        finish_all()
        if self.dialog is not None:
            self.dialog.hide()
            self.dialog.deleteLater()
            self.dialog = None
