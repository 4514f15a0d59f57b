"""Addresses with passwords: what is shown of them, and what is sent."""

from __future__ import annotations

import base64

import pytest
from geofootprint_qgis.core.index_address import same_server, split_credentials, without_password
from geofootprint_qgis.core.setup_engine import Source


@pytest.mark.parametrize("userinfo", ["me:secret@", "me:p@ss@", "me:pa/ss@", "me@", ""])
def test_nothing_of_a_password_is_shown(userinfo):
    assert without_password(f"https://{userinfo}mirror:8080/simple") == "https://mirror:8080/simple"
    assert Source(index=f"https://{userinfo}mirror/simple").label == "https://mirror/simple"


def test_an_address_without_scheme_hides_its_password_too():
    assert without_password("me:secret@mirror/simple") == "mirror/simple"
    assert without_password("") == ""


def test_a_password_becomes_a_header():
    bare, authorization = split_credentials("https://me:p%40s%2Fs@mirror/simple/")
    assert bare == "https://mirror/simple/"
    assert base64.b64decode(authorization.partition(" ")[2]) == b"me:p@s/s"
    assert split_credentials("file:///srv/simple/") == ("file:///srv/simple/", "")


@pytest.mark.parametrize("address", ["https://me:pa/ss@mirror/", "ftp://mirror/", "mirror", "https://[me:secret@x/"])
def test_what_is_no_address_is_refused_without_repeating_it(address):
    with pytest.raises(ValueError, match=r"^no address of a package index$"):
        split_credentials(address)


def test_a_server_is_known_by_scheme_host_and_port():
    assert same_server("https://mirror/simple/pip/", "https://mirror/files/pip.whl")
    assert not same_server("https://mirror/simple/pip/", "https://mirror:444/pip.whl")
    assert not same_server("https://mirror/simple/pip/", "http://mirror/pip.whl")
