"""Parameters of the algorithms against options of the commands: none is forgotten, and the defaults are the library's."""

from __future__ import annotations

import json
import subprocess

import pytest
from conftest import ENGINE

ARGUMENTS = {
    "--bounds": "EXTENT",
    "--footprints": "FOOTPRINTS",
    "--out": "OUTPUT",
}
"""Options that an algorithm gives from a parameter with a name or a kind of its own."""

NOT_OFFERED = {
    ("*", "--json"): "the protocol carries the result",
    ("segment", "--dry-run"): "the size is told by QGIS, and Cancel works at once",
    ("evaluate", "--fail-under"): "scores are outputs, which a model can compare",
}
"""Options of commands that no algorithm has, and why."""

NO_OPTION = {
    "BANDS": "part of the image's path",
    "CHECKPOINT": "an argument of the command",
    "DATASET": "an argument of the command",
    "EXTENT": "--bounds",
    "FOOTPRINTS": "an argument, or --footprints",
    "IMAGE": "an argument, or --image",
    "IMAGES": "an argument of the command",
    "INIT_FROM_DEFAULT": "--init-from default",
    "INPUT": "an argument of the command",
    "MORE": "arguments of the command",
    "OUTPUT": "--out",
    "PREDICTED": "an argument of the command",
    "TRUTH": "an argument of the command",
}
"""Parameters that are not plain options of their command."""

NO_ALGORITHM = {"info": "what the settings page shows"}
"""Commands that no algorithm runs, and why."""

DUMP = """
import ast, importlib.util, json, click
from geofootprint_cli.main import COMMANDS, main

def defaults(module, function):
    # Read and not imported: that of training takes seconds.
    tree = ast.parse(open(importlib.util.find_spec(module).origin, encoding="utf-8").read())
    (found,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function)
    known = {}
    for argument, value in zip(found.args.kwonlyargs, found.args.kw_defaults):
        if value is not None:
            try:
                known["--" + argument.arg.replace("_", "-")] = ast.literal_eval(value)
            except ValueError:
                pass
    return known

functions = {
    "segment": "segment.segment", "predict": "predict.predict", "vectorize": "vectorize.vectorize",
    "regularize": "clean.regularize", "evaluate": "evaluate.evaluate", "tile": "tiling.tile", "demo": "demo.demo",
    "rasterize-labels": "labels.rasterize_labels", "train": "learning.trainer.train", "export": "learning.export.export",
}
context = click.Context(main)
answer = {}
for name in COMMANDS:
    options = [p for p in main.get_command(context, name).params if isinstance(p, click.Option)]
    module, _, function = functions.get(name, "").rpartition(".")
    answer[name] = {
        "options": [max(option.opts, key=len) for option in options],
        "defaults": defaults(f"geofootprint.{module}", function) if function else {},
    }
print(json.dumps(answer))
"""


@pytest.fixture(scope="module")
def commands():
    done = subprocess.run([ENGINE, "-c", DUMP], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.fixture
def algorithms(provider):
    return {algorithm.COMMAND: algorithm for algorithm in provider.algorithms()}


def test_every_command_has_its_algorithm(commands, algorithms):
    assert set(commands) - set(NO_ALGORITHM) == set(algorithms)


def test_every_option_has_its_parameter(commands, algorithms):
    for command, algorithm in algorithms.items():
        names = {parameter.name() for parameter in algorithm.parameterDefinitions()}
        for option in commands[command]["options"]:
            if (command, option) in NOT_OFFERED or ("*", option) in NOT_OFFERED:
                continue
            assert ARGUMENTS.get(option, option[2:].upper().replace("-", "_")) in names, (command, option)


def test_every_parameter_has_its_option(commands, algorithms):
    for command, algorithm in algorithms.items():
        for parameter in algorithm.parameterDefinitions():
            option = "--" + parameter.name().lower().replace("_", "-")
            assert parameter.name() in NO_OPTION or option in commands[command]["options"], (command, parameter.name())


def test_defaults_are_the_library_s(commands, algorithms):
    compared = 0
    for command, algorithm in algorithms.items():
        for parameter in algorithm.parameterDefinitions():
            default = commands[command]["defaults"].get("--" + parameter.name().lower().replace("_", "-"))
            if parameter.defaultValue() is None or parameter.isDestination() or parameter.name() in NO_OPTION:
                continue
            compared += 1
            if parameter.name() == "SPLIT":
                assert [float(part) for part in parameter.defaultValue().split(",")] == default
            else:
                assert parameter.defaultValue() == default, (command, parameter.name())
    assert compared > 20


def test_what_is_stated_here_exists(commands):
    for command, option in NOT_OFFERED:
        assert command == "*" or option in commands[command]["options"]
    assert set(NO_ALGORITHM) <= set(commands)
