# make train    trains and evaluates on the built-in walkers
# make test     lints and runs the fast tests; make test-slow runs the long ones too
# make docs     makes the site of the documentation
#
# All set everything up first, in $(VENV), and build the operator library where its sources are newer (make build).
# PIP_FLAGS is passed to pip, for an index of your own for example, and PYTEST_FLAGS to pytest. Tests of one file stay in
# one process, as they share what is compiled for them; the files go in order, so that no long one is left for the end.
# A torch >= 2.10 that $(PYTHON) has already is used as it is; otherwise the one in constraints.txt is installed.

PYTHON ?= python3
VENV ?= .venv
PIP_FLAGS ?=
PYTEST_FLAGS ?= -n 2 --dist loadfile --no-loadscope-reorder

BIN := $(VENV)/bin
READY := $(VENV)/.ready
BUILT := strf_cuda/native_build.json
SOURCES := CMakeLists.txt setup.py $(wildcard cmake/* csrc/*.* csrc/*/*.* python/*)

.PHONY: train test test-slow docs lint setup build clean

train: $(BUILT)
	$(BIN)/python -m strf_cuda.train

test: lint $(BUILT)
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

test-slow: lint $(BUILT)
	$(BIN)/python -m pytest $(PYTEST_FLAGS) -m "slow or not slow"

docs: $(READY)
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs build/docs
	@echo 'open build/docs/index.html in a browser'

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

setup: $(READY)

build: $(BUILT)

$(BUILT): $(SOURCES) | $(READY)
	PATH="$$PATH:$(abspath $(BIN))" $(BIN)/python setup.py --quiet build_native --inplace

$(READY): pyproject.toml constraints.txt tools/setup.sh tools/build_backend.py
	PYTHON="$(PYTHON)" VENV="$(VENV)" PIP_FLAGS="$(PIP_FLAGS)" sh tools/setup.sh
	touch $@

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache $(BUILT) strf_cuda/libstrf_cuda.so*
