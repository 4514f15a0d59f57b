"""The rules of who imports whom, read from the source: data flows one way, and only `learning` knows torch."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = sorted((ROOT / "geofootprint").rglob("*.py"))

FORBIDDEN = {
    "predict": {"geofootprint.learning", "geofootprint.vectorize", "geofootprint.evaluate"},
    "vectorize": {"geofootprint.predict", "geofootprint.learning", "geofootprint.evaluate"},
    "evaluate": {"geofootprint.vectorize", "geofootprint.predict", "geofootprint.learning", "geofootprint.segment"},
    "labels": {"geofootprint.tiling", "geofootprint.learning"},
}
"""Module to what it must not reach, directly or through others."""


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


GRAPH = {module_name(path): set(imports(path)) for path in LIBRARY}


def reached_from(module: str) -> set[str]:
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        for target in GRAPH.get(name, set()):
            if target in GRAPH and target not in seen:
                seen.add(target)
                waiting.append(target)
    return seen - {"geofootprint"}


@pytest.mark.parametrize("path", LIBRARY, ids=module_name)
def test_library_knows_neither_click_nor_qgis_nor_the_command(path: Path) -> None:
    if path.name == "__main__.py":
        return
    tops = {name.split(".")[0] for name in imports(path)}
    assert not tops & {"click", "qgis", "geofootprint_cli", "cli"}


@pytest.mark.parametrize("path", [path for path in LIBRARY if "learning" not in path.parts], ids=module_name)
def test_only_learning_imports_torch(path: Path) -> None:
    tops = {name.split(".")[0] for name in imports(path)}
    assert not tops & {"torch", "lightning_fabric", "segmentation_models_pytorch", "torchvision", "onnx", "tensorboardX", "PIL"}
    if path.name != "__init__.py":
        assert not any(name.startswith("geofootprint.learning") for name in imports(path))


@pytest.mark.parametrize("module", FORBIDDEN)
def test_data_flows_one_way(module: str) -> None:
    reached = reached_from(f"geofootprint.{module}")
    assert not {name for name in reached if any(name.startswith(no) for no in FORBIDDEN[module])}


def test_no_cycles() -> None:
    assert not [module for module in GRAPH if module in reached_from(module)]


@pytest.mark.parametrize("path", sorted((ROOT / "qgis_plugin").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_plugin_uses_the_standard_library_and_qgis_alone(path: Path) -> None:
    import sys

    tops = {name.split(".")[0] for name in imports(path)}
    assert tops <= {"qgis", "processing", *sys.stdlib_module_names}
