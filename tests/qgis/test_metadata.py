"""The plugin's metadata by the rules of QGIS's official repository."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

from geofootprint import __version__

PLUGIN = Path(__file__).resolve().parents[2] / "qgis_plugin"


@pytest.fixture(scope="module")
def metadata():
    # QGIS and its repository read the file with interpolation: a bare % would break it.
    parser = configparser.ConfigParser()
    parser.read(PLUGIN / "metadata.txt", encoding="utf-8")
    return dict(parser["general"])


@pytest.mark.parametrize(
    "key",
    ["name", "description", "version", "qgisminimumversion", "author", "email", "about", "tracker", "repository", "homepage"],
)
def test_what_the_repository_requires_is_there(metadata, key):
    assert metadata[key].strip()


def test_versions(metadata):
    assert metadata["version"] == __version__
    assert metadata["qgisminimumversion"] == "3.22"
    assert metadata["qgismaximumversion"] == "4.99"  # or QGIS 4 does not list it
    assert "supportsqt6" not in metadata


def test_values_are_well_formed(metadata):
    assert re.fullmatch(r"[^@\s]+@[^@\s]+\.[a-z]+", metadata["email"])
    assert "/" not in metadata["author"]
    for key in ("homepage", "tracker", "repository"):
        assert metadata[key].startswith("https://")


def test_qgis_process_finds_the_algorithms(metadata):
    assert metadata["hasprocessingprovider"] == "yes"


def test_the_icon_exists(metadata):
    assert (PLUGIN / metadata["icon"]).is_file()


def test_the_licence_is_the_gpl():
    text = (PLUGIN / "LICENSE").read_text(encoding="utf-8")
    assert "GNU GENERAL PUBLIC LICENSE" in text
    assert "Version 2, June 1991" in text
