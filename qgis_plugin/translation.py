"""The plugin's texts in the language of QGIS.

The English text is the key. `i18n/geofootprint_LANGUAGE.ts` holds the translations; `scripts/translate_plugin.py` keeps
them in step with the texts in the code, and `scripts/package_plugin.py` compiles them.
"""

from __future__ import annotations

from pathlib import Path

from qgis.core import QgsApplication
from qgis.PyQt.QtCore import QCoreApplication, QTranslator

from .core.runner import EngineError

CONTEXT = "Geofootprint"
FOLDER = Path(__file__).parent / "i18n"


def tr(text: str) -> str:
    """Return a text in the language of QGIS."""
    return QCoreApplication.translate(CONTEXT, text)


def said(error: EngineError) -> str:
    """Return what an error says in the language of QGIS; a sentence of the engine's own stays as it is."""
    translated = tr(error.template)
    problem = translated.format(**error.values) if error.values else translated
    return f"{problem} {said(error.remedy)}" if error.remedy is not None else problem


def install_translator(locale: str | None = None) -> QTranslator | None:
    """Make Qt know the plugin's texts in a language.

    Parameters
    ----------
    locale : str, optional
        Such as "de_AT"; that of QGIS by default.

    Returns
    -------
    QTranslator or None
        To be kept as long as it shall work; None for a language that there is no translation for.
    """
    language = (locale or QgsApplication.locale()).partition("_")[0]
    path = FOLDER / f"geofootprint_{language}.qm"
    translator = QTranslator()
    if not path.is_file() or not translator.load(str(path)):
        return None
    QCoreApplication.installTranslator(translator)
    return translator
