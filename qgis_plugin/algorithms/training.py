"""What the algorithms share that only an engine with PyTorch can run."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from ..core.runner import EngineError
from ..core.setup_marker import MARKER
from .base import EngineAlgorithm, current_engine


class TrainingAlgorithm(EngineAlgorithm):
    """An algorithm that is refused, when it is opened and not before, where the engine has no PyTorch."""

    GROUP = "training"

    _able: ClassVar[set[tuple[str, int]]] = set()
    """Engines that have PyTorch, each with when it was made; one that has none may get it while QGIS runs."""

    def require_engine(self) -> None:
        engine = current_engine()
        known_as = engine.python, _made_at(engine.python)
        if known_as in self._able:
            return
        if not engine.check().get("can_train"):
            raise EngineError(
                "The engine {python} has no PyTorch, which training needs; install it with "
                '"{python}" -m pip install "geofootprint[train]".',
                python=engine.python,
            )
        self._able.add(known_as)


def _made_at(python: str) -> int:
    """Return the time at which the set-up made the environment of an interpreter, or 0 if somebody else did."""
    try:
        return (Path(python).parent.parent / MARKER).stat().st_mtime_ns
    except OSError:
        return 0
