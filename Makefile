# `make demo` and `make test` set everything up themselves.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test test-fast test-long lint docs docs-serve bench clean

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "sweeper needs Python 3.11 or newer; PYTHON=... make setup names another"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup  ## the quickstart sweep, its report and its verdicts
	$(BIN)/sweeper run quickstart
	$(BIN)/sweeper report quickstart

test: setup  ## everything but the long tests; 20 minutes on two cores
	$(BIN)/python -m pytest -m 'not long and not true_size' -n auto --dist loadgroup --durations=30

test-fast: setup  ## without processes, Ray and browsers
	$(BIN)/python -m pytest -n auto --dist loadfile

test-long: setup  ## everything, with the tests that smaller ones of `make test` sample
	$(BIN)/python -m pytest -m 'not true_size' -n auto --dist loadgroup --durations=30

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: setup  ## the documentation site, in site/; a broken link or anchor is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs-serve: setup  ## the same at http://127.0.0.1:8000, rebuilt when a file changes
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --livereload

bench: setup  ## all benchmarks, their results and their table; an hour and a quarter on two quiet cores
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf .venv storage site .pytest_cache .mypy_cache .ruff_cache .hypothesis
