"""What all commands keep: options are the library function's keywords, and the edge gives sentences and exit codes."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import Result
from geofootprint_cli.main import COMMANDS, main

FUNCTIONS = {
    "demo": "geofootprint.demo:demo",
    "evaluate": "geofootprint.evaluate:evaluate",
    "export": "geofootprint.learning.export:export",
    "info": "geofootprint.info:info",
    "predict": "geofootprint.predict:predict",
    "rasterize-labels": "geofootprint.labels:rasterize_labels",
    "regularize": "geofootprint.clean:regularize",
    "segment": "geofootprint.segment:segment",
    "tile": "geofootprint.tiling:tile",
    "train": "geofootprint.learning.trainer:train",
    "vectorize": "geofootprint.vectorize:vectorize",
}
"""The one library function behind each command."""


def command(name: str) -> click.Command:
    found: click.Command | None = main.get_command(click.Context(main), name)
    assert found is not None
    return found


def test_every_command_is_listed_here() -> None:
    assert FUNCTIONS.keys() == COMMANDS.keys()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_options_are_keywords_of_the_function_and_leave_its_defaults(name: str) -> None:
    module, function = FUNCTIONS[name].split(":")
    parameters = inspect.signature(getattr(importlib.import_module(module), function)).parameters
    for option in command(name).params:
        if option.name in ("as_json", "dry_run", "fail_under"):
            continue
        assert option.name in parameters, f"{name} has an option {option.name} that its function lacks"
        if isinstance(option, click.Option) and not option.is_flag and not option.required:
            assert option.to_info_dict()["default"] is None, f"{name} --{option.name} repeats a default"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_help_ends_with_an_example(name: str, run: Callable[..., Result]) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0
    assert "Example: geofootprint" in result.output
    assert "--json" in result.output


def test_misspelt_command_names_the_near_one(run: Callable[..., Result]) -> None:
    result = run("segmnt")
    assert result.exit_code == 2
    assert "segment" in result.output


def test_json_progress_reports_a_usage_error_as_an_event(run: Callable[..., Result]) -> None:
    result = run("--progress", "json", "segment", "nothing.tif")
    events = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    assert [event["event"] for event in events] == ["start", "error"]
    assert events[-1]["code"] == result.exit_code == 2


def test_missing_input_is_one_sentence_and_exit_code_2(run: Callable[..., Result], tmp_path: Path) -> None:
    result = run("segment", tmp_path / "no.tif", "-o", tmp_path / "out.gpkg")
    assert result.exit_code == 2
    assert "no.tif does not exist" in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []
