"""The window that sets the engine up: where from, a bar, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from qgis.core import QgsSettings
from qgis.gui import QgsCollapsibleGroupBox, QgsFileWidget
from qgis.PyQt.QtCore import Qt, QTimer, pyqtSignal
from qgis.PyQt.QtGui import QFontDatabase, QIcon, QShowEvent
from qgis.PyQt.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QGridLayout,
    QGroupBox,
    QLabel,
    QLineEdit,
    QMessageBox,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)

from ..algorithms.base import ICON
from ..core.engine import REPAIR, SET_UP, SETTING, UPDATE, Engine, plugin_version, python_in, setup_button
from ..core.runner import BrokenEngine, EngineCancelled, EngineError, Listener, missing_model
from ..core.setup_engine import Source, default_folder, set_up
from ..core.setup_marker import read_marker
from ..core.setup_python import find_interpreters
from ..core.setup_search import find_installations
from ..core.texts import marked
from ..translation import said, tr
from .answer import Answer
from .pytorch import would_lose_pytorch
from .setup_worker import Worker

INDEX_SETTING = "geofootprint/index"
"""Key of QGIS's settings that holds the address of the package index; without a password."""

EXPLANATION = (
    "geofootprint finds buildings with an engine in a Python of its own, so that nothing in QGIS is changed. It is "
    "installed once: about 350 MB to download and 1 GB on the disk."
)


BUNDLE_SETTING = "geofootprint/bundle"
"""Key of QGIS's settings that holds the path of the bundle that was taken last."""

PURPOSES = {
    SET_UP: (marked("Set up geofootprint's engine"), marked("Set up")),
    UPDATE: (marked("Update geofootprint's engine"), marked("Update")),
    REPAIR: (marked("Repair geofootprint's engine"), marked("Repair")),
}
"""Title and button of the window, by what the button of the settings page reads."""


class SetupDialog(QDialog):
    """Makes or renews the private environment, or takes one that is there already.

    Parameters
    ----------
    parent : QWidget, optional
        Window that it belongs to.
    folder : Path, optional
        Of the environment that is made; by default the private one.
    """

    changed = pyqtSignal()
    """The engine is another one now."""

    def __init__(self, parent: QWidget | None = None, folder: Path | None = None) -> None:
        super().__init__(parent)
        self.setWindowIcon(QIcon(ICON))
        self._worker: Worker | None = None
        self._existing = ""
        marker = read_marker(folder or default_folder())
        self.sources = _Sources(marker.source if marker is not None else "")
        self.advanced = _Advanced(folder or default_folder())
        self.advanced.folder.fileChanged.connect(self._show_purpose)
        self.stage = QLabel()
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)
        self.log = _Log()
        self.answer = Answer()
        self._lay_out()
        self._show_running(False)
        self._look_around()

    def _lay_out(self) -> None:
        explanation = QLabel(tr(EXPLANATION))
        explanation.setWordWrap(True)
        self.buttons = QDialogButtonBox()
        self.start_button: QPushButton = self.buttons.addButton("", QDialogButtonBox.ButtonRole.ActionRole)
        self.cancel_button: QPushButton = self.buttons.addButton(
            tr("Cancel"), QDialogButtonBox.ButtonRole.ActionRole
        )
        self.close_button: QPushButton = self.buttons.addButton(tr("Close"), QDialogButtonBox.ButtonRole.RejectRole)
        self.start_button.setDefault(True)
        self.advanced.collapsedStateChanged.connect(lambda _: QTimer.singleShot(0, self._fit))
        self.start_button.clicked.connect(self.start)
        self.cancel_button.clicked.connect(self.cancel)
        self.close_button.clicked.connect(self.reject)
        column = QVBoxLayout(self)
        for widget in (explanation, self.sources, self.advanced, self.stage, self.bar, self.log, self.answer):
            column.addWidget(widget)
        column.addStretch(1)
        column.addWidget(self.buttons)
        self.setMinimumWidth(620)

    def showEvent(self, event: QShowEvent) -> None:
        """Say what the window will do; it may have been done since it was shown last."""
        self._show_purpose()
        super().showEvent(event)

    def _show_purpose(self) -> None:
        folder, _ = self.advanced.choice()
        title, button = PURPOSES[setup_button(read_marker(folder))]
        self.setWindowTitle(tr(title))
        self.start_button.setText(tr(button))

    def _look_around(self) -> None:
        """Search for Pythons and engines without keeping the window waiting."""
        search = Worker(_search)
        search.succeeded.connect(self._offer)
        self.destroyed.connect(search.stop)
        search.launch()

    def _offer(self, found: Any) -> None:
        installations, interpreters = found
        self.sources.offer(installations)
        self.advanced.offer(interpreters)

    @property
    def is_running(self) -> bool:
        """Whether a set-up is going on."""
        return self._worker is not None

    def start(self) -> None:
        """Begin what is chosen, after a question if something that the user installed would be lost."""
        self._existing = self.sources.existing()
        if not self._existing and not self._may_replace():
            return
        self.log.clear()
        self.log.hide()
        self.answer.clear()
        self.bar.setValue(0)
        try:
            work = self._work()
        except EngineError as error:
            self.answer.say(Answer.BAD, said(error))
            self._fit()
            return
        self._worker = Worker(work)
        self._worker.moved.connect(self._move)
        self._worker.said.connect(self._show_line)
        self._worker.succeeded.connect(self._succeed)
        self._worker.failed.connect(self._fail)
        self.destroyed.connect(self._worker.stop)
        self._show_running(True)
        self.stage.setText(f"{tr('Checking the engine')} ..." if self._existing else "")
        self._worker.launch()

    def _work(self) -> Callable[[Listener], Any]:
        """Return what is to be done.

        Raises
        ------
        EngineError
            If a field is empty that is needed for it.
        """
        if self._existing:
            return partial(_check, self._existing)
        source = self.sources.source(self.advanced.proxy.text().strip())
        self.sources.remember()
        return partial(_set_up, source, self.advanced.choice())

    def _may_replace(self) -> bool:
        folder, _ = self.advanced.choice()
        if not would_lose_pytorch(folder):
            return True
        question = tr(
            "The engine in {folder} has PyTorch, which training needs. The new engine comes without it; install it again "
            'afterwards with "{python}" -m pip install "geofootprint[train]". Go on?'
        ).format(folder=folder, python=python_in(folder))
        return QMessageBox.question(self, self.windowTitle(), question) == QMessageBox.StandardButton.Yes

    def cancel(self) -> None:
        """Stop what is going on; an engine that was there before stays."""
        if self._worker is not None:
            self.stage.setText(tr("Cancelling"))
            self.cancel_button.setEnabled(False)
            self._worker.stop()

    def _move(self, stage: str, part: float) -> None:
        if self.cancel_button.isEnabled():
            self.stage.setText(f"{tr(stage)} ...")
        self.bar.setValue(max(self.bar.value(), round(1000 * part)))

    def _show_line(self, line: str) -> None:
        self.log.appendPlainText(line)
        if self.log.isHidden():
            self.log.show()
            self._fit()

    def _fit(self) -> None:
        """Grow to what the layout needs: Qt does not ask how high wrapped text is."""
        self.layout().activate()
        needed = max(self.layout().totalHeightForWidth(self.width()), self.layout().totalSizeHint().height())
        if needed > self.height():
            self.resize(self.width(), needed)

    def _succeed(self, answer: dict[str, Any]) -> None:
        if self._worker is None:  # it was done just before the window was closed
            return
        folder, _ = self.advanced.choice()
        chosen = self._existing or ("" if folder == default_folder() else str(folder))
        QgsSettings().setValue(SETTING, chosen)
        self._end()
        self.bar.setValue(1000)
        self.answer.say(
            Answer.GOOD,
            tr("geofootprint {version} works (Python {python}, model {model}). You can close this window.").format(
                version=answer.get("geofootprint"),
                python=answer.get("python"),
                model=answer["model"].get("name"),
            ),
        )
        self._fit()
        self.close_button.setDefault(True)
        self.changed.emit()

    def _fail(self, error: EngineError) -> None:
        if self._worker is None:
            return
        self._end()
        if isinstance(error, EngineCancelled):
            self.answer.say(Answer.NOTE, tr("Cancelled; everything is as it was before."))
        else:
            self.answer.say(Answer.BAD, said(error))
        self._fit()

    def _end(self) -> None:
        self._worker = None
        self._show_running(False)

    def _show_running(self, running: bool) -> None:
        for widget in (self.sources, self.advanced, self.start_button, self.close_button):
            widget.setEnabled(not running)
        self.cancel_button.setEnabled(running)
        self.cancel_button.setVisible(running)
        self.close_button.setVisible(not running)
        for widget in (self.stage, self.bar):
            widget.setVisible(running)
        self._fit()

    def reject(self) -> None:
        """Close, after a question if something is going on; Qt calls this on Escape and on closing too."""
        if self.is_running and not self._may_stop():
            return
        self.stop()
        super().reject()

    def _may_stop(self) -> bool:
        answer = QMessageBox.question(
            self, self.windowTitle(), tr("The engine is being set up. Stop it and close the window?")
        )
        return answer == QMessageBox.StandardButton.Yes

    def stop(self) -> None:
        """End what is going on and wait for it; nothing more is said of it."""
        worker = self._worker
        if worker is not None:
            self._end()
            worker.finish()


def _search(listener: Listener) -> Any:
    return find_installations(), list(find_interpreters(listener=listener))


def _check(python: str, listener: Listener) -> dict[str, Any]:
    try:
        answer = Engine(python, python).ask(listener)
        if not answer.get("model"):
            raise missing_model(python)
    except BrokenEngine as error:
        raise error.advised(EngineError("Choose another one in the list, or have one installed.")) from None
    return answer


def _set_up(source: Source, choice: tuple[Path, str], listener: Listener) -> dict[str, Any]:
    folder, python = choice
    return set_up(plugin_version(), source, listener, folder=folder, python=python)


class _Sources(QGroupBox):
    """Where the engine comes from.

    Parameters
    ----------
    before : str
        Where the engine that is there came from, as of `Source.kind`; nothing where there is none.
    """

    def __init__(self, before: str) -> None:
        super().__init__(tr("Take the engine from"))
        self.internet = QRadioButton(tr("the internet (PyPI, or the index that pip is set to)"))
        self.other_index = QRadioButton(tr("another package index"))
        self.index = QLineEdit(QgsSettings().value(INDEX_SETTING, "", type=str))
        self.index.setPlaceholderText("https://mirror.example.org/pypi/simple")
        self.from_bundle = QRadioButton(tr("a bundle file, without internet"))
        self.bundle = QgsFileWidget()
        self.bundle.setFilePath(QgsSettings().value(BUNDLE_SETTING, "", type=str))
        self.bundle.setDialogTitle(tr("Choose the bundle"))
        self.bundle.setFilter(tr("Bundles") + " (geofootprint-bundle-*.zip *.zip)")
        self.installed = QRadioButton(tr("this computer, where it is installed already"))
        self.installations = QComboBox()
        self.installations.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        usual = self.other_index if self.index.text() else self.internet
        {"bundle": self.from_bundle, "index": self.other_index}.get(before, usual).setChecked(True)
        grid = QGridLayout(self)
        grid.setColumnStretch(1, 1)
        grid.addWidget(self.internet, 0, 0, 1, 2)
        pairs = (
            (self.other_index, self.index),
            (self.from_bundle, self.bundle),
            (self.installed, self.installations),
        )
        for row, (button, widget) in enumerate(pairs, start=1):
            grid.addWidget(button, row, 0)
            grid.addWidget(widget, row, 1)
            button.toggled.connect(widget.setEnabled)
            widget.setEnabled(button.isChecked())
        self.offer([])

    def offer(self, installations: list[Any]) -> None:
        """List the engines that were found; without any the choice is not shown."""
        self.installations.clear()
        for one in installations:
            self.installations.addItem(one.label, one.python)
            self.installations.setItemData(self.installations.count() - 1, one.python, Qt.ItemDataRole.ToolTipRole)
        self.installed.setVisible(bool(installations))
        self.installations.setVisible(bool(installations))

    def existing(self) -> str:
        """Return the Python of the engine that was chosen from the list, or nothing."""
        return self.installations.currentData() or "" if self.installed.isChecked() else ""

    def source(self, proxy: str) -> Source:
        """Return what is chosen.

        Raises
        ------
        EngineError
            If the field that belongs to it is empty.
        """
        if self.from_bundle.isChecked():
            path = self.bundle.filePath().strip()
            if not path:
                raise EngineError("No bundle file is chosen; choose it, or take the engine from elsewhere.")
            return Source(bundle=Path(path).expanduser())
        if not self.other_index.isChecked():
            return Source(proxy=proxy)
        address = self.index.text().strip()
        if not address:
            raise EngineError("The package index has no address; write it into the field, or take the engine from elsewhere.")
        return Source(index=address, proxy=proxy)

    def remember(self) -> None:
        """Keep the bundle, or the address of the index unless it holds a password, for the next time."""
        address = self.index.text().strip() if self.other_index.isChecked() else ""
        QgsSettings().setValue(INDEX_SETTING, "" if "@" in address else address)
        if self.from_bundle.isChecked():
            QgsSettings().setValue(BUNDLE_SETTING, self.bundle.filePath().strip())


class _Advanced(QgsCollapsibleGroupBox):
    """Proxy, Python and folder, which most people leave alone."""

    def __init__(self, folder: Path) -> None:
        super().__init__(tr("Advanced"))
        self.setCollapsed(True)
        self.proxy = QLineEdit(_proxy_of_qgis())
        self.proxy.setPlaceholderText(tr("as the system says, or http://proxy:3128"))
        self.python = QComboBox()
        self.python.setEditable(True)
        self.python.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.python.lineEdit().setPlaceholderText(tr("chosen automatically"))
        self.folder = QgsFileWidget()
        self.folder.setStorageMode(QgsFileWidget.StorageMode.GetDirectory)
        self.folder.setDialogTitle(tr("Folder of the environment"))
        self.folder.setFilePath(str(folder))
        form = QFormLayout(self)
        form.addRow(tr("Proxy"), self.proxy)
        form.addRow(tr("Python"), self.python)
        form.addRow(tr("Folder"), self.folder)

    def offer(self, interpreters: list[Any]) -> None:
        """List the Pythons that were found; nothing is chosen, which means the first that will do."""
        typed = self.python.currentText()
        self.python.clear()
        for one in interpreters:
            if one.is_suitable:
                self.python.addItem(one.label, one.path)
        self.python.setCurrentIndex(-1)
        self.python.setEditText(typed)

    def choice(self) -> tuple[Path, str]:
        """Return the folder and the Python, which is nothing where none is chosen."""
        text = self.python.currentText().strip()
        index = self.python.findText(text)
        python = self.python.itemData(index) if index >= 0 else text
        folder = self.folder.filePath().strip()
        return (Path(folder).expanduser() if folder else default_folder()), python


def _proxy_of_qgis() -> str:
    """Return the proxy of Settings > Options > Network, without its password."""
    settings = QgsSettings()
    host = settings.value("proxy/proxyHost", "", type=str)
    kind = settings.value("proxy/proxyType", "", type=str)
    if not settings.value("proxy/proxyEnabled", False, type=bool) or not host or not kind.startswith("Http"):
        return ""
    port = settings.value("proxy/proxyPort", "", type=str)
    return f"http://{host}:{port}" if port else f"http://{host}"


class _Log(QPlainTextEdit):
    """Lines of the programs that are run; hidden until there are some."""

    def __init__(self) -> None:
        super().__init__()
        self.setReadOnly(True)
        self.setMaximumBlockCount(5000)
        self.setLineWrapMode(QPlainTextEdit.LineWrapMode.WidgetWidth)
        self.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.setMinimumHeight(150)
        self.hide()
