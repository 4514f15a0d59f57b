"""Bring the plugin's translations into step with its texts: new texts are added, texts that are gone are taken out.

    python scripts/translate_plugin.py            writes qgis_plugin/i18n/geofootprint_de.ts
    python scripts/translate_plugin.py --check    only says which texts have no translation

A text is the argument of `tr`, `marked` or an error in the plugin's code. Qt's own pylupdate5 takes the name of the class
for the context and does not follow texts that are constants of it, and these are most of ours.
"""

from __future__ import annotations

import argparse
import ast
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

PLUGIN = Path(__file__).resolve().parents[1] / "qgis_plugin"
CONTEXT = "Geofootprint"
LANGUAGES = ("de",)
MARKERS = {"tr", "marked", "EngineError", "EngineCancelled", "NotSetUp", "BrokenEngine", "NoAnswer"}


def ts_path(language: str) -> Path:
    """Return the file with the translations into a language."""
    return PLUGIN / "i18n" / f"geofootprint_{language}.ts"


def find_texts() -> list[str]:
    """Return the plugin's texts in the order in which the code has them, each once."""
    texts = (text for path in sorted(PLUGIN.rglob("*.py")) for text in texts_in(path.read_text(encoding="utf-8")))
    return list(dict.fromkeys(texts))


def texts_in(source: str) -> Iterator[str]:
    """Yield the texts in a module, also where the argument is the name of one of its constants.

    Raises
    ------
    ValueError
        If a marker's argument is an f-string, whose text nobody can look up.
    """
    tree = ast.parse(source)
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or _name(node.func) not in MARKERS or not node.args:
            continue
        argument = node.args[0]
        if isinstance(argument, ast.JoinedStr):
            raise ValueError(f"line {node.lineno}: an f-string cannot be translated; use str.format.")
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            yield argument.value
        elif isinstance(argument, ast.Name) and argument.id in constants:
            yield constants[argument.id]


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def read_translations(language: str) -> dict[str, str]:
    """Return text to translation, without those that are empty."""
    path = ts_path(language)
    if not path.exists():
        return {}
    messages = ET.parse(path).iter("message")
    pairs = ((message.findtext("source", ""), message.findtext("translation", "")) for message in messages)
    return {source: translation for source, translation in pairs if translation}


def write_translations(language: str, texts: list[str], translations: dict[str, str]) -> None:
    """Write a .ts file as Qt Linguist reads it; texts without translation are marked as unfinished."""
    root = ET.Element("TS", version="2.1", language=language, sourcelanguage="en")
    context = ET.SubElement(root, "context")
    ET.SubElement(context, "name").text = CONTEXT
    for text in texts:
        message = ET.SubElement(context, "message")
        ET.SubElement(message, "source").text = text
        translation = ET.SubElement(message, "translation")
        if text in translations:
            translation.text = translations[text]
        else:
            translation.set("type", "unfinished")
    ET.indent(root, " ")
    body = ET.tostring(root, encoding="unicode")
    path = ts_path(language)
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE TS>\n{body}\n', encoding="utf-8")


def main() -> int:
    """Write the files, or check them; return 1 if a text has no translation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="Write nothing.")
    check = parser.parse_args().check
    texts, missing = find_texts(), 0
    for language in LANGUAGES:
        translations = read_translations(language)
        if not check:
            write_translations(language, texts, translations)
        for text in texts:
            if text not in translations:
                missing += 1
                print(f"{language}: {text}")
    return int(missing > 0)


if __name__ == "__main__":
    sys.exit(main())
