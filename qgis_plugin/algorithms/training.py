"""What the algorithms share that only an engine with PyTorch can run."""

from __future__ import annotations

from typing import ClassVar

from ..core.runner import EngineError
from .base import EngineAlgorithm, current_engine


class TrainingAlgorithm(EngineAlgorithm):
    """An algorithm that is refused, when it is opened and not before, where the engine has no PyTorch."""

    GROUP = "training"

    _can_train: ClassVar[dict[str, bool]] = {}

    def require_engine(self) -> None:
        python = current_engine().python
        if not self._can_train.get(python):  # not remembered: that may be mended while QGIS runs
            self._can_train[python] = bool(current_engine().check().get("can_train"))
        if not self._can_train[python]:
            raise EngineError(
                "The engine {python} has no PyTorch, which training needs; install it with "
                '"{python}" -m pip install "geofootprint[train]".',
                python=python,
            )
