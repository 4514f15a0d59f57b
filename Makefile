# make demo   set up what a user needs, and outline the buildings of a made-up orthophoto
# make test   set up what the tests need, and run all of them
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint types unit qgis install install-dev clean

demo: install
	$(BIN)/geofootprint demo -o geofootprint-demo

test: lint types unit qgis

lint: install-dev
	$(BIN)/ruff check .

types: install-dev
	$(BIN)/mypy

unit: install-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

qgis: install-dev
	$(BIN)/python scripts/test_qgis.py

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

$(VENV)/.installed: pyproject.toml | $(BIN)/pip
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/pip
	$(BIN)/python -m pip install --quiet --editable ".[train,test,dev]"
	touch $@ $(VENV)/.installed

$(BIN)/pip:
	scripts/make_venv.sh "$(PYTHON)" "$(VENV)"

clean:
	rm -rf $(VENV) .venv-qgis build dist *.egg-info
