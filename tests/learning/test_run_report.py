from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs geofootprint[train]")

from geofootprint.config import PRESETS
from geofootprint.learning.run_folder import RunFolder
from geofootprint.learning.run_report import SHOWN, write_run_report
from geofootprint.learning.schedule import Counters
from geofootprint.learning.validation import Score

BEST = Score(0.755, 0.86, 0.758, 0.604, 0.32, boundary_iou=0.44, object_precision=0.5, object_recall=0.73, object_f1=0.593)


def page_of(folder: RunFolder, epochs: int, best: int) -> str:
    (folder.path / "samples").mkdir(parents=True)
    for epoch in range(1, epochs + 1):
        folder.append("losses.csv", {"step": 20 * epoch, "bce": 0.5})
        folder.append("scores.csv", {"epoch": epoch, "step": 20 * epoch, "seconds": 60.0 * epoch, "object_f1": 0.5, "iou": 0.7})
    cv2.imwrite(str(folder.sample(best)), np.full((20, 30, 3), 80, np.uint8))
    config = replace(PRESETS["footprint"], minutes=30.0)
    counters = Counters(step=20 * epochs, epoch=epochs, elapsed=1800, best_epoch=best)
    write_run_report(folder, config, BEST, counters, ended="Its <30> minutes are over.")
    return folder.report.read_text(encoding="utf-8")


def test_all_of_a_run_on_one_page(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "my run")
    folder.path.mkdir()
    folder.append("events.csv", {"step": 7, "epoch": 0, "seconds": 1.0, "event": "step skipped", "text": "Left out."})
    page = page_of(folder, 3, 2)
    for text in (
        "Its &lt;30&gt; minutes are over.", "0.593", "0.755", "0.440", "2 of 3", "2 (best)", "Left out.",
        "preset: 0.0", "geofootprint export ", "geofootprint segment ortho.tif",
    ):
        assert text in page, text
    assert len(re.findall(r'src="data:image/', page)) == len(re.findall("<img", page)) == 2
    assert "http" not in page


def test_of_many_validations_some_and_the_best(tmp_path: Path) -> None:
    page = page_of(RunFolder(tmp_path / "run"), 90, 47)
    rows = re.findall(r'<th scope="row">(\d+[^<]*)</th>', page)
    assert rows[0] == "1"
    assert rows[-1] == "90"
    assert "47 (best)" in rows
    assert len(rows) <= SHOWN + 1
