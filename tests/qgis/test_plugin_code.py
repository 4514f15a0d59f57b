"""What the plugin's code may use: Python 3.9's standard library, QGIS, and enums that Qt 6 knows; needs no QGIS."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

PLUGIN = Path(__file__).resolve().parents[2] / "qgis_plugin"
MODULES = sorted(PLUGIN.rglob("*.py"))

NESTED_CLASSES = {"QgsProcessingContext.LayerDetails", "QgsVectorFileWriter.SaveVectorOptions"}
"""Members in upper case that are no enum's."""


@pytest.fixture(params=MODULES, ids=lambda path: path.relative_to(PLUGIN).as_posix())
def tree(request):
    return ast.parse(request.param.read_text(encoding="utf-8"), feature_version=(3, 9))


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module


def test_only_the_standard_library_and_qgis_are_imported(tree):
    for name in imported(tree):
        top = name.split(".")[0]
        # `processing` is QGIS's own plugin.
        assert top in sys.stdlib_module_names or top in {"qgis", "processing"}, name


def test_qt_comes_from_qgis(tree):
    assert not [name for name in imported(tree) if name.startswith(("PyQt", "PySide"))]


def unscoped_enums(tree):
    """Yield members such as Qgis.Warning, which Qt 6 only knows as Qgis.MessageLevel.Warning."""
    scopes = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and id(node) not in scopes:
            owner, member = node.value.id, node.attr
            if owner.startswith("Q") and member[:1].isupper() and f"{owner}.{member}" not in NESTED_CLASSES:
                yield f"{owner}.{member}"


def test_enums_are_fully_scoped(tree):
    assert list(unscoped_enums(tree)) == []


def test_an_unscoped_enum_would_be_found():
    code = "Qgis.Warning; Qt.CursorShape.WaitCursor; QgsProcessingContext.LayerDetails()"
    assert list(unscoped_enums(ast.parse(code))) == ["Qgis.Warning"]


def slices_of_parents(tree):
    """Yield the lines in which `Path.parents` is sliced, which raises TypeError before Python 3.10."""
    for node in ast.walk(tree):
        is_slice = isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice)
        if is_slice and isinstance(node.value, ast.Attribute) and node.value.attr == "parents":
            yield node.lineno


def test_parents_are_not_sliced(tree):
    assert list(slices_of_parents(tree)) == []


@pytest.mark.parametrize("gone", ["exec_", "QRegExp", "resources_rc"])
def test_what_qt_6_no_longer_has_is_not_used(gone):
    word = re.compile(rf"\b{gone}\b")
    assert not [path for path in MODULES if word.search(path.read_text(encoding="utf-8"))]
