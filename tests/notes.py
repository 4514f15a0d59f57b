"""A progress for tests of what a step tells its user."""

from __future__ import annotations


class Notes:
    """A progress that keeps its warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def update(self, stage: str, done: float, total: float) -> None:
        pass

    def warn(self, text: str) -> None:
        self.warnings.append(text)
