"""Sentences for what pip could not do; the lines are pip's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from geofootprint_qgis.core.setup_failure import explain_pip

RETRYING = "WARNING: Retrying (Retry(total=1, connect=None, read=None, redirect=None, status=None)) after connection broken by "
NOT_FOUND = "ERROR: No matching distribution found for geofootprint==0.1.0"


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (
            [f"{RETRYING}'NewConnectionError('<pip._vendor.urllib3.connection.HTTPSConnection object at 0x7f>: Failed to "
             "establish a new connection: [Errno -3] Temporary failure in name resolution')': /simple/geofootprint/", NOT_FOUND],
            "mirror.lan cannot be reached: check the network",
        ),
        (
            [f"{RETRYING}'ProxyError('Cannot connect to proxy.', NewConnectionError('<pip._vendor.urllib3.connection."
             "HTTPSConnection object at 0x7f>: Failed to establish a new connection: [Errno 111] Connection refused'))'",
             NOT_FOUND],
            "The proxy does not answer, or refuses: correct it under Proxy",
        ),
        (
            [f"{RETRYING}'SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: "
             "self-signed certificate in certificate chain (_ssl.c:1006)'))'", NOT_FOUND],
            "The certificate of mirror.lan is not trusted",
        ),
        (
            ["WARNING: The repository located at mirror.lan is not a trusted or secure host and is being ignored.", NOT_FOUND],
            "mirror.lan is not encrypted",
        ),
        (
            ["ERROR: Could not find a version that satisfies the requirement geofootprint==0.1.0 (from versions: 0.0.9)",
             NOT_FOUND],
            "mirror.lan has no geofootprint 0.1.0 for Python 3.11",
        ),
        (
            ["ERROR: Could not find a version that satisfies the requirement openvino>=2024.4 (from geofootprint) (from "
             "versions: none)", "ERROR: No matching distribution found for openvino>=2024.4"],
            "Not all that geofootprint needs is there for Python 3.11 on this computer (No matching distribution found for openv",
        ),
        (
            ["ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"],
            "The disk of /home/me/venv is full: geofootprint needs 1.5 GB there",
        ),
        (
            ["ERROR: Could not install packages due to an OSError: [Errno 13] Permission denied: '/home/me/venv/lib'"],
            "/home/me/venv cannot be written: choose another folder",
        ),
        (
            ["ERROR: HTTP error 401 while getting https://mirror.lan/simple", "401 Client Error: Unauthorized for url: https://x"],
            "mirror.lan asks for a name and a password",
        ),
        (
            ["ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE."],
            "A package arrived damaged from mirror.lan",
        ),
        (["Looking", "ERROR: Something new.", ""], "pip could not install geofootprint (Something new); the lines above"),
        ([], "pip could not install geofootprint (-)"),
    ],
)  # fmt: skip
def test_what_pip_wrote_becomes_a_sentence(lines, sentence):
    error = explain_pip(lines, folder=Path("/home/me/venv"), index="mirror.lan", version="0.1.0", series="3.11", needed="1.5 GB")
    assert str(error).startswith(sentence)
    assert str(error) == error.template.format(**error.values)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("WARNING: NewConnectionError", "PyPI, or the index that pip is set to, cannot be reached: check the network"),
        (NOT_FOUND, "PyPI, or the index that pip is set to, has no geofootprint 0.1.0 for Python 3.11: install"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", "A package arrived damaged from PyPI"),
    ],
)
def test_no_address_is_blamed_where_none_was_given(line, sentence):
    error = explain_pip([line], folder=Path("/venv"), index="", version="0.1.0", series="3.11", needed="1.5 GB")
    assert str(error).startswith(sentence)
    assert "address" not in str(error)
