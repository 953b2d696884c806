# One command each; every target makes .venv and installs what it needs, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CLAIMS := $(filter-out claims,$(sort $(basename $(notdir $(wildcard tests/verify/*.py)))))

.PHONY: help quickstart test test-quick lint format types benchmark verify clean

help:
	@echo "make quickstart   the whole chain on one task, from nothing to an alarm you can watch"
	@echo "make test         every test (minutes)"
	@echo "make test-quick   the tests that take no time, of every room (a minute and a half on two cores)"
	@echo "make lint types   style, import contracts, strict types"
	@echo "make format       rewrite files in the house style"
	@echo "make benchmark    speed, as ratios in one interleaved run"
	@echo "make verify WHAT=...   the claims that take longer than a test: $(CLAIMS)"
	@echo "make clean        remove .venv and caches; runs/ and datasets/ stay"

$(BIN)/workbench: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else "Python 3.11, 3.12 or 3.13 is needed, this is %d.%d; try: make PYTHON=python3.11" % v)'
	@echo "installing the workbench and its libraries into $(VENV), once: 3 GB (7 GB where torch comes with CUDA), some minutes"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

$(VENV)/dev: $(BIN)/workbench
	@echo "installing what tests and style checks need into $(VENV), once: 0.2 GB"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

quickstart: $(BIN)/workbench
	$(BIN)/workbench quickstart

test: $(VENV)/dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -q

test-quick: $(VENV)/dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -q -m "not slow"

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

format: $(VENV)/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/dev
	$(BIN)/mypy

benchmark: $(VENV)/dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.stepping
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.workers
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.store
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.rendering
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.policies
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.scores
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.synthesize
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.guards

verify: $(VENV)/dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.verify.$(WHAT) $(ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
