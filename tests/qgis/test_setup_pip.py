"""Fetching pip from an index that asks for a password, answers nonsense, or gives what is damaged."""

from __future__ import annotations

import base64
import ensurepip
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest
from fake_wheels import make_index, serving
from geofootprint_qgis.core import setup_engine
from geofootprint_qgis.core.runner import EngineError, Listener
from geofootprint_qgis.core.setup_engine import Source
from geofootprint_qgis.core.setup_pip import fetch_pip

PIP = next((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
EXPECTED = f"Basic {base64.b64encode(b'me:secret').decode()}"


class Locked(SimpleHTTPRequestHandler):
    """Gives nothing without name and password."""

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        if self.headers.get("Authorization") == EXPECTED:
            super().do_GET()
        else:
            self.send_error(401)


class Nonsense(Locked):
    """Answers what is no HTTP."""

    def do_GET(self):
        self.wfile.write(b"SSH-2.0-OpenSSH\r\n")


@pytest.fixture
def index(tmp_path):
    return make_index(tmp_path / "simple", [PIP])


def with_password(address):
    return address.replace("//", "//me:secret@")


def test_name_and_password_of_the_address_open_the_index(index, tmp_path):
    with serving(index, Locked) as address:
        wheel = fetch_pip(with_password(address), "", tmp_path, Listener())
        assert wheel.read_bytes() == PIP.read_bytes()
        with pytest.raises(EngineError, match=r"cannot be fetched .*Unauthorized"):
            fetch_pip(address, "", tmp_path, Listener())


def test_a_server_that_speaks_something_else(index, tmp_path):
    with serving(index, Nonsense) as address, pytest.raises(EngineError, match=r"pip cannot be fetched from"):
        fetch_pip(address, "", tmp_path, Listener())


def test_what_is_damaged_is_told_without_the_password(index, tmp_path):
    (index / "pip" / PIP.name).write_bytes(b"PK")
    with serving(index, Locked) as address, pytest.raises(EngineError, match=r"is damaged") as caught:
        fetch_pip(with_password(address), "", tmp_path, Listener())
    assert "secret" not in str(caught.value)


def test_passwords_are_no_arguments_of_pip(tmp_path):
    source = Source(index="https://me:secret@mirror/simple", proxy="http://me:secret@proxy:3128")
    plan = setup_engine.Plan(tmp_path, "0.1.0", source, None)
    assert not [argument for argument in setup_engine._pip_arguments(plan, None) if "secret" in argument]
    environ = setup_engine._pip_environment("python", source)
    assert (environ["PIP_INDEX_URL"], environ["PIP_PROXY"]) == (source.index, source.proxy)
