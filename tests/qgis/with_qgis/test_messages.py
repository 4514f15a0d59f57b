"""What the engine says, in QGIS's log and progress bar."""

from __future__ import annotations

import ast

import pytest
from conftest import ROOT


def stages_in(tree):
    """Yield the stages that a module of the library tells of; of one that goes on with a name, the beginning."""
    texts = {node.targets[0].id: node.value for node in ast.walk(tree) if is_text_with_a_name(node)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or len(node.args) < 2:
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        stage = node.args[1] if name == "track" else node.args[0] if name == "update" else None
        stage = texts.get(stage.id) if isinstance(stage, ast.Name) else stage
        if isinstance(stage, ast.JoinedStr):
            stage = stage.values[0]
        if isinstance(stage, ast.Constant):
            yield stage.value


def is_text_with_a_name(node):
    return (
        isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, (ast.Constant, ast.JoinedStr))
    )


def test_every_stage_of_the_library_has_a_name(provider):
    from geofootprint_qgis.algorithms.messages import OF_FILES, STAGES

    modules = (ROOT / "geofootprint").rglob("*.py")
    stages = {stage for path in modules for stage in stages_in(ast.parse(path.read_text(encoding="utf-8")))}
    assert stages == {*STAGES, *OF_FILES}


def test_the_stages_that_move_the_bar_are_the_library_s(provider):
    from geofootprint_qgis.algorithms.messages import STAGES

    for algorithm in provider.algorithms():
        shares = algorithm.STAGES
        assert {stage for stage, _, _ in shares} <= set(STAGES), algorithm.name()
        assert all(ends <= begins for (_, _, ends), (_, begins, _) in zip(shares, shares[1:])), algorithm.name()


@pytest.mark.parametrize(
    ("stage", "name"),
    [("measure", "Verlust"), ("Labels of höfe.tif", "Label von höfe.tif"), ("Tiles of a.tif", "Kacheln von a.tif")],
)
def test_stages_are_german_in_a_german_qgis(provider, stage, name):
    from geofootprint_qgis.algorithms.messages import stage_name
    from geofootprint_qgis.translation import install_translator
    from qgis.PyQt.QtCore import QCoreApplication

    translator = install_translator("de_AT")
    try:
        assert name in stage_name(stage)
    finally:
        QCoreApplication.removeTranslator(translator)


@pytest.fixture
def tell(provider, monkeypatch, feedback):
    """Return a function that has stages, in percent of the bar, hear of (second, stage, done) of 100."""
    from geofootprint_qgis.algorithms import messages

    def call(shares, *told):
        clock = iter([second for second, _, _ in told])
        monkeypatch.setattr(messages.time, "monotonic", lambda: next(clock))
        listener = messages.Messages(feedback, shares)
        for _, stage, done in told:
            listener.progress(stage, done, 100)
            yield feedback.progress()

    return lambda *arguments: list(call(*arguments))


def test_time_left_is_told_now_and_then(tell, feedback):
    stage = "predict"
    bar = tell([(stage, 0, 80)], (0, stage, 0), (4, stage, 1), (12, stage, 3), (20, stage, 4), (40, stage, 10))
    assert feedback.stages == [
        "Looking at the image ...", "Looking at the image: 3 % done, about 6 min left",
        "Looking at the image: 10 % done, about 6 min left",
    ]  # fmt: skip
    assert bar[-1] == pytest.approx(8)


def test_time_left_of_a_run_that_goes_on(tell, feedback):
    tell([], (0, "train", 80), (60, "train", 81))
    assert feedback.stages[1:] == ["Training: 81 % done, about 19 min left"]


def test_time_left_counts_what_comes_between(tell, feedback):
    tell(
        [("train", 0, 100)],
        (0, "train", 0), (60, "train", 10), (60, "validate", 10), (119, "validate", 100), (120, "train", 10),
        (180, "train", 20),
    )  # fmt: skip
    assert feedback.stages == [
        "Training ...", "Training: 10 % done, about 9 min left", "Validating ...", "Training ...",
        "Training: 20 % done, about 12 min left",
    ]  # fmt: skip


def test_a_stage_that_comes_again_is_timed_anew(tell, feedback):
    tell([], (0, "validate", 0), (60, "validate", 100), (600, "train", 0), (900, "validate", 0), (915, "validate", 50))
    assert feedback.stages[-1] == "Validating: 50 % done, about 15 s left"


def test_only_the_stages_of_the_algorithm_move_the_bar(tell):
    assert tell([("train", 0, 50)], (0, "train", 20), (1, "validate", 90), (2, "train", 30)) == [10, 10, 15]


def test_without_stages_each_moves_the_bar(tell):
    assert tell([], (0, "measure", 20), (1, "export", 50)) == [20, 50]
