from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs geofootprint[train]")
proto = pytest.importorskip("tensorboardX.proto.event_pb2", reason="needs geofootprint[train]")

from geofootprint.learning.tensorboard import TensorBoard  # noqa: E402


def read(folder: Path) -> list[Any]:
    """Return the events of the newest file: each has its length before it, and check sums around."""
    data, events, start = max(folder.iterdir()).read_bytes(), [], 0
    while start < len(data):
        length = int.from_bytes(data[start : start + 8], "little")
        events.append(proto.Event.FromString(data[start + 12 : start + 12 + length]))
        start += 16 + length
    return events


def test_curves_by_group_and_name(tmp_path: Path) -> None:
    with TensorBoard(tmp_path / "board", 0) as board:
        board.add("loss", {"bce": 0.5, "dice": 0.25}, 20)
        board.tell("The discriminator has won.", 30)
        board.flush()
    values = [(event.step, value.tag, value.simple_value) for event in read(tmp_path / "board") for value in event.summary.value]
    assert values[:2] == [(20, "loss/bce", 0.5), (20, "loss/dice", 0.25)]
    assert values[2][:2] == (30, "events/text_summary")


def test_what_was_lost_is_not_shown(tmp_path: Path) -> None:
    with TensorBoard(tmp_path, 40) as board:
        board.add("score", {"iou": 0.5}, 60)
    assert any(event.step == 40 and event.session_log.status == proto.SessionLog.START for event in read(tmp_path))


def test_nothing_to_say_leaves_nothing(tmp_path: Path) -> None:
    with TensorBoard(tmp_path / "board", 0) as board:
        board.flush()
    assert not (tmp_path / "board").exists()
