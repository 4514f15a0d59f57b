from __future__ import annotations

import json
from collections.abc import Callable

from click.testing import Result

from geofootprint.info import info


def test_json(run: Callable[..., Result]) -> None:
    result = run("info", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == info()


def test_sentences(run: Callable[..., Result]) -> None:
    result = run("info")
    assert result.exit_code == 0
    assert "geofootprint " in result.stdout
    assert "GDAL" in result.stdout
    assert "can train: " in result.stdout
