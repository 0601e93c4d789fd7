# make train    trains and evaluates on the built-in walkers
# make test     lints and runs the fast tests; make test-slow runs the long ones too
#
# Both set everything up first, in $(VENV). PIP_FLAGS is passed to pip, for an index of your own for example.
# A torch >= 2.10 that $(PYTHON) has already is used as it is; otherwise the one in constraints.txt is installed.

PYTHON ?= python3
VENV ?= .venv
PIP_FLAGS ?=

BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: train test test-slow lint setup clean

train: $(READY)
	$(BIN)/python -m strf_cuda.train

test: lint
	$(BIN)/python -m pytest

test-slow: lint
	$(BIN)/python -m pytest -m "slow or not slow"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

setup: $(READY)

$(READY): pyproject.toml setup.py constraints.txt tools/setup.sh
	PYTHON="$(PYTHON)" VENV="$(VENV)" PIP_FLAGS="$(PIP_FLAGS)" sh tools/setup.sh
	touch $@

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache
