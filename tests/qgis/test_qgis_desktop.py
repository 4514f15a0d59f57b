"""The script that runs QGIS Desktop leaves nothing running; needs no QGIS."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from project_scripts import import_script


@pytest.fixture(scope="module")
def script():
    return import_script("qgis_desktop")


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks at processes as Linux shows them")
def test_what_takes_too_long_is_ended_with_its_children(script, tmp_path, capsys):
    # As xvfb-run does: the program that counts is a child, and a signal to its parent does not reach it.
    shell = f"sleep 60 & echo $! > {tmp_path}/child; wait"
    start = time.monotonic()
    script.run_to_its_end(["sh", "-c", shell], os.environ, 0.5)
    assert time.monotonic() - start < 10
    assert "sh did not end within 0.5 s" in capsys.readouterr().out
    assert not is_running(int((tmp_path / "child").read_text()))


def test_a_program_that_ends_is_waited_for(script, tmp_path, capsys):
    script.run_to_its_end(["sh", "-c", f"sleep 0.2; touch {tmp_path}/done"], os.environ)
    assert (tmp_path / "done").exists()
    assert capsys.readouterr().out == ""
