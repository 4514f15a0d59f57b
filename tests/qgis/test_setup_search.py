"""Environments that have geofootprint already."""

from __future__ import annotations

import os

import pytest
from geofootprint_qgis.core.engine import python_in
from geofootprint_qgis.core.setup_search import find_installations


@pytest.fixture
def environment(tmp_path):
    """Return a function that makes what an environment with geofootprint looks like."""

    def make(name, version="0.1.0"):
        folder = tmp_path / name
        python = python_in(folder)
        python.parent.mkdir(parents=True)
        python.touch()
        packages = folder / ("Lib" if os.name == "nt" else "lib/python3.11") / "site-packages"
        (packages / f"geofootprint-{version}.dist-info").mkdir(parents=True)
        return folder

    return make


def test_the_environments_in_use_come_first(environment, tmp_path):
    usual = environment("home/miniforge3/envs/geo", "0.3.0")
    conda, venv = environment("conda", "0.2.0"), environment("venv")
    found = find_installations({"CONDA_PREFIX": str(conda), "VIRTUAL_ENV": str(venv)}, tmp_path / "home")
    assert [(one.python, one.version) for one in found] == [
        (str(python_in(venv)), "0.1.0"), (str(python_in(conda)), "0.2.0"), (str(python_in(usual)), "0.3.0"),
    ]  # fmt: skip
    assert found[0].label == f"geofootprint 0.1.0 ({python_in(venv)})"


def test_conda_wrote_down_where_it_made_them(environment, tmp_path):
    far = environment("far/away with space")
    notes = tmp_path / "home" / ".conda" / "environments.txt"
    notes.parent.mkdir(parents=True)
    notes.write_text(f"/gone/for/ever\n\n{far}\n{far}\n", encoding="utf-8")
    assert [one.python for one in find_installations({}, tmp_path / "home")] == [str(python_in(far))]


def test_environments_without_geofootprint_and_the_private_one_are_left_out(environment, tmp_path):
    environment(".geofootprint/venv")
    other = environment(".virtualenvs/other")
    (info,) = other.rglob("*.dist-info")
    info.rename(info.with_name("geofootprint_helper-1.dist-info"))
    assert find_installations({}, tmp_path) == []


def test_an_environment_without_its_python_is_left_out(environment, tmp_path):
    python_in(environment("venvs/broken")).unlink()
    assert find_installations({}, tmp_path) == []
