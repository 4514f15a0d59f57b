"""The plugin's runner against real child processes; needs no QGIS."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest
from geofootprint_qgis.core import runner
from geofootprint_qgis.core.runner import (
    EngineCancelled,
    EngineError,
    Listener,
    clean_environment,
    run_command,
)

posix_only = pytest.mark.skipif(os.name == "nt", reason="signals and process groups are POSIX")

EMIT = """
import json, os, subprocess, sys, time
def emit(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)
emit("start", protocol=1)
"""


class Recorder(Listener):
    """Keeps what it hears, and asks to stop some seconds after the first progress."""

    def __init__(self, cancel_after=None):
        self.heard = []
        self._cancel_after = cancel_after
        self._started = None

    def progress(self, stage, done, total):
        self._started = self._started or time.monotonic()
        self.heard.append((stage, done, total))

    def warn(self, text):
        self.heard.append(text)

    def line(self, text):
        self.heard.append(f"> {text}")

    def is_cancelled(self):
        return None not in (self._cancel_after, self._started) and (
            time.monotonic() - self._started >= self._cancel_after
        )


@pytest.fixture
def fake(tmp_path):
    """Return a function that makes a command out of the body of a script."""

    def make(body, start=EMIT):
        script = tmp_path / "engine.py"
        script.write_text(start + textwrap.dedent(body), encoding="utf-8")
        return [sys.executable, str(script)]

    return make


def wait_until_gone(pid, seconds):
    """Return how long a process lived on."""
    start = time.monotonic()
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() - start < seconds, f"process {pid} is still there after {seconds} s"
        time.sleep(0.02)
    return time.monotonic() - start


def test_events_reach_the_listener_and_the_result_is_returned(fake):
    recorder = Recorder()
    command = fake("""
        emit("progress", stage="probabilities", done=1, total=4)
        emit("warning", text="Ein Dach aus Föhrenholz.")
        print("noise of a library", file=sys.stderr, flush=True)
        time.sleep(0.3)
        emit("result", count=3, out="gebäude.gpkg")
    """)
    assert run_command(command, recorder) == {"count": 3, "out": "gebäude.gpkg"}
    assert sorted(map(str, recorder.heard)) == sorted(
        ["('probabilities', 1, 4)", "Ein Dach aus Föhrenholz.", "> noise of a library"]
    )


def test_noise_on_stdout_is_shown_and_not_taken_for_the_protocol(fake):
    recorder = Recorder()
    command = fake("""
        print("loading 100 %"); print('{"half": '); print("[1]"); print('{"no": "event"}')
        emit("result")
    """)
    assert run_command(command, recorder) == {}
    assert recorder.heard == ["> loading 100 %", '> {"half":', "> [1]", '> {"no": "event"}']


def test_a_line_of_200_kb_on_stderr_blocks_nothing(fake):
    recorder = Recorder()
    command = fake("""
        sys.stderr.write("x" * 200_000); sys.stderr.flush()
        emit("result", count=1)
    """)
    assert run_command(command, recorder) == {"count": 1}
    assert max(map(len, recorder.heard)) <= runner.LONGEST_SHOWN + 2


def test_a_result_of_200_kb_is_read_whole(fake):
    assert len(run_command(fake('emit("result", text="x" * 200_000)'), Listener())["text"]) == 200_000


def test_the_engine_s_own_sentence_is_the_error(fake):
    command = fake("""
        emit("error", code=2, text="ortho.tif has no CRS; assign one.")
        print("Error: the same for a terminal", file=sys.stderr)
        sys.exit(2)
    """)
    with pytest.raises(EngineError, match=r"^ortho.tif has no CRS; assign one.$"):
        run_command(command, Listener())


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("sys.exit('out of paper')", r"ended with exit code 1. Its last words: out of paper"),
        ("sys.exit(0)", r"ended without a result"),
        ("emit('result'); sys.exit(1)", r"ended with exit code 1\. Its last words: -$"),
        ("sys.exit('python: No module named geofootprint_cli')", r"has no geofootprint\.$"),
        (
            "emit('error', text=\"ModuleNotFoundError: No module named 'rasterio'. This is a defect of geofootprint\")",
            r"lacks rasterio, which geofootprint needs\.$",
        ),
        ("emit('start', protocol=2); time.sleep(60)", r"newer than this plugin \(protocol 2 instead of 1\)"),
    ],
)
def test_other_ends_are_explained(fake, body, sentence):
    with pytest.raises(EngineError, match=sentence):
        run_command(fake(body), Listener())


@posix_only
@pytest.mark.parametrize(
    ("name", "sentence"), [("SIGSEGV", "crashed .SIGSEGV"), ("SIGKILL", "memory was full")]
)
def test_a_crash_is_told(fake, name, sentence):
    command = fake(f"import signal; os.kill(os.getpid(), signal.{name})")
    with pytest.raises(EngineError, match=sentence):
        run_command(command, Listener())


def test_a_sentence_remembers_how_it_was_put_together(fake):
    with pytest.raises(EngineError) as caught:
        run_command(fake("sys.exit('out of {paper}')"), Listener())
    error = caught.value
    assert error.template == "The engine ended with exit code {code}. Its last words: {last}"
    assert error.values == {"code": 1, "last": "out of {paper}"}
    assert str(error) == "The engine ended with exit code 1. Its last words: out of {paper}"


def test_a_python_that_does_not_exist(tmp_path):
    with pytest.raises(EngineError, match="cannot be started"):
        run_command([str(tmp_path / "python")], Listener())


def test_cancel_lets_a_polite_child_clean_up(fake, tmp_path):
    left_over = tmp_path / "half-written"
    command = fake(f"""
        open({str(left_over)!r}, "w").close()
        emit("progress", stage="s", done=0, total=1)
        sys.stdin.read()
        os.remove({str(left_over)!r})
        sys.exit(130)
    """)
    start = time.monotonic()
    with pytest.raises(EngineCancelled):
        run_command(command, Recorder(cancel_after=0.1))
    assert time.monotonic() - start < 2
    assert not left_over.exists()


@posix_only
def test_cancel_ends_a_stuck_child_and_its_children(fake, tmp_path):
    pids = tmp_path / "pids"
    command = fake(f"""
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c",
            "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"])
        time.sleep(0.3)
        open({str(pids)!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")
        emit("progress", stage="s", done=0, total=1)
        time.sleep(60)
    """)
    start = time.monotonic()
    with pytest.raises(EngineCancelled):
        run_command(command, Recorder(cancel_after=0), patience=0.5)
    assert time.monotonic() - start < 5
    for pid in map(int, pids.read_text().split()):
        wait_until_gone(pid, 1)


def test_the_default_patience_ends_a_stuck_child_in_six_seconds():
    assert 2 * runner.PATIENCE <= 6


@posix_only
def test_a_grandchild_that_keeps_the_pipe_is_ended(fake, tmp_path):
    pid = tmp_path / "pid"
    command = fake(f"""
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        open({str(pid)!r}, "w").write(str(child.pid))
        emit("result", count=0)
    """)
    start = time.monotonic()
    assert run_command(command, Listener()) == {"count": 0}
    assert time.monotonic() - start < 5
    wait_until_gone(int(pid.read_text()), 1)


def test_an_exception_of_the_listener_ends_the_child(fake, tmp_path):
    class Broken(Listener):
        def progress(self, stage, done, total):
            raise ValueError(stage)

    command = fake("""
        emit("progress", stage=str(os.getpid()), done=0, total=1)
        sys.stdin.read()
    """)
    with pytest.raises(ValueError, match=r"\d") as caught:
        run_command(command, Broken())
    wait_until_gone(int(str(caught.value)), 1)


REAL_CONSOLE = """
import os, sys, time
from geofootprint_cli.console import Console
console = Console(style="json", watch_stdin=True)
console.update(str(os.getpid()), 0, 1)
"""

PARENT = """
import sys
from geofootprint_qgis.core.runner import Listener, run_command

class Show(Listener):
    def progress(self, stage, done, total):
        print(stage, flush=True)

run_command(sys.argv[1:], Show())
"""


@posix_only
@pytest.mark.parametrize(
    ("body", "seconds"),
    [("while True: console.update('s', 0, 1); time.sleep(0.05)", 3), ("time.sleep(60)", 8)],
    ids=["polite", "stuck"],
)
def test_a_killed_parent_leaves_no_orphan(fake, body, seconds):
    command = fake(body, start=REAL_CONSOLE)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, *command], stdout=subprocess.PIPE, env=environment
    ) as parent:
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        parent.send_signal(signal.SIGKILL)
    wait_until_gone(pid, seconds)


@posix_only
def test_what_c_libraries_print_does_not_tear_the_protocol(fake):
    recorder = Recorder()
    noise = "os.write(1, b'native noise\\n'); print('noise')"
    command = fake(noise + "; console.result({'count': 1}, '')", start=REAL_CONSOLE)
    assert run_command(command, recorder) == {"count": 1}
    assert {"> native noise", "> noise"} <= set(recorder.heard)


def test_the_real_command_reports_a_wrong_one_in_the_protocol():
    command = [sys.executable, "-m", "geofootprint_cli", "--progress", "json", "--watch-stdin", "sgment"]
    with pytest.raises(EngineError, match="Did you mean 'segment'"):
        run_command(command, Listener())


def test_the_environment_is_clean():
    given = {
        "PATH": "/usr/bin", "HOME": "/home/x", "GDAL_NUM_THREADS": "2", "GEOFOOTPRINT_PYTHON": "/p",
        "PROJ_LIB": "/qgis/proj", "PROJ_DATA": "/qgis/proj", "GDAL_DATA": "/qgis/gdal", "LD_LIBRARY_PATH": "/q",
        "PYTHONHOME": "/qgis/python", "PYTHONPATH": "/qgis/plugins", "VIRTUAL_ENV": "/venv",
        "QT_PLUGIN_PATH": "/qt", "QGIS_PREFIX_PATH": "/usr",
    }  # fmt: skip
    cleaned = clean_environment("/venv/bin/python", given)
    assert cleaned.pop("PATH").split(os.pathsep)[-2:] == [str(Path("/venv/bin")), "/usr/bin"]
    assert cleaned == {
        "HOME": "/home/x", "GDAL_NUM_THREADS": "2", "GEOFOOTPRINT_PYTHON": "/p", "PYTHONUTF8": "1",
        "PYTHONUNBUFFERED": "1", "PYTHONNOUSERSITE": "1", "PYTHONSAFEPATH": "1",
    }  # fmt: skip
