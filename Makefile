# `make demo` and `make test` set everything up themselves.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test test-fast lint bench clean

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "sweeper needs Python 3.11 or newer; PYTHON=... make setup names another"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup  ## the quickstart sweep, its report and its verdicts
	$(BIN)/sweeper run quickstart
	$(BIN)/sweeper report quickstart

test: setup  ## everything; half an hour on two cores
	$(BIN)/python -m pytest -m 'not ray and not true_size' -n auto --dist loadfile
	$(BIN)/python -m pytest -m ray  # one at a time: two Ray instances on a host get in each other's way

test-fast: setup  ## without processes, Ray and browsers
	$(BIN)/python -m pytest -n auto --dist loadfile

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: setup  ## all benchmarks, their results and their table; an hour and a quarter on two quiet cores
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf .venv storage .pytest_cache .mypy_cache .ruff_cache .hypothesis
