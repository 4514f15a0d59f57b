"""What QGIS loads: registers the algorithms, and in the Desktop the menu, the toolbar and the settings page."""

from __future__ import annotations

from typing import Any

from qgis.core import QgsApplication
from qgis.PyQt.QtCore import QCoreApplication

from .provider import GeofootprintProvider
from .translation import install_translator


class GeofootprintPlugin:
    """The plugin's life between loading and unloading.

    Parameters
    ----------
    iface : QgisInterface or None
        None in `qgis_process`, which calls `initProcessing` alone.
    """

    def __init__(self, iface: Any) -> None:
        self._iface = iface
        self._provider: GeofootprintProvider | None = None
        self._options: Any = None
        self._actions: Any = None
        self._translator = install_translator()
        self._guide: Any = None

    def initProcessing(self) -> None:
        """Register the algorithms."""
        # QGIS owns the provider from here on, but Python must keep it alive too.
        self._provider = GeofootprintProvider()
        QgsApplication.processingRegistry().addProvider(self._provider)

    def initGui(self) -> None:
        """Register what only the Desktop has."""
        from .gui.actions import Actions
        from .gui.options import OptionsFactory
        from .gui.setup_guide import SetupGuide

        self.initProcessing()
        self._options = OptionsFactory()
        self._iface.registerOptionsWidgetFactory(self._options)
        self._guide = SetupGuide(self._iface)
        self._actions = Actions(self._iface, self._guide.open)

    def unload(self) -> None:
        """Take everything away again."""
        if self._actions is not None:
            self._actions.remove()
            self._actions = None
        if self._provider is not None:
            QgsApplication.processingRegistry().removeProvider(self._provider)
            self._provider = None
        if self._guide is not None:
            self._guide.end()
            self._guide = None
        if self._options is not None:
            self._iface.unregisterOptionsWidgetFactory(self._options)
            self._options = None
        if self._translator is not None:
            QCoreApplication.removeTranslator(self._translator)
            self._translator = None
