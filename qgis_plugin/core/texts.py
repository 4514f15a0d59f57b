"""Marks texts for translation where QGIS is not known."""

from __future__ import annotations


def marked(text: str) -> str:
    """Return a text as it is, and mark it for the script that collects those to translate; `translation.tr` shows it."""
    return text
