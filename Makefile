# Two commands on a fresh machine with python3 (3.11 to 3.13), venv and make: `make quickstart` and `make test`.
FITS = import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12), (3, 13)))
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c "$(FITS)" 2>/dev/null && echo $$python && break; done)
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.installed
TWO = -n 2 --dist loadfile --no-loadscope-reorder  # a file's tests by one worker, which makes what they share once

.PHONY: help quickstart test test-all test-pythons lint docs notebooks report lock clean

help:  ## what each command does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

quickstart: $(READY)  ## simulate cells, train an encoder, benchmark its features, make a page of pictures
	@echo "== quickstart: simulate, train, extract, benchmark; the page lands in runs/quickstart"
	$(BIN)/python -m experiments.quickstart

test: $(READY) lint docs  ## style, pages, the fast tests (minutes)
	@echo "== tests; those marked slow run with make test-all"
	$(BIN)/python -m pytest $(TWO) --durations 10

test-all: $(READY) lint  ## every test, the slow ones too
	XLA_FLAGS=--xla_force_host_platform_device_count=8 $(BIN)/python -m pytest $(TWO) -m ""

lint: $(READY)  ## style, types, and that BENCHMARKS.md is what results/ says
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy hpax experiments
	$(BIN)/python -m hpax.report --check

docs: $(READY)  ## the pages of docs/ in build/docs, warnings as errors, and that the notebooks are those of the tutorials
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	$(BIN)/python docs/notebooks.py --check
	@echo "the pages: build/docs/index.html"

notebooks: $(READY)  ## the tutorials as notebooks, run, in docs/notebooks
	$(BIN)/python docs/notebooks.py

report: $(READY)  ## collect runs/ into results/ and render BENCHMARKS.md
	$(BIN)/python -m hpax.report runs

lock: $(READY)  ## resolve requirements.lock anew from setup.cfg, for all Pythons from 3.11
	$(BIN)/uv pip compile setup.cfg --all-extras --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --upgrade --quiet --output-file requirements.lock

test-pythons:  ## the fast tests on the oldest and the newest Python that hpax takes and that are here
	@for version in 3.11 3.13; do if command -v python$$version >/dev/null; then \
		$(MAKE) test PYTHON=python$$version VENV=.venv-$$version || exit 1; \
		else echo "python$$version is not here: not tried"; fi; done

clean:  ## remove the environment and caches; runs/ stays
	rm -rf $(VENV) .venv-3.* .pytest_cache .jax_cache .ruff_cache .mypy_cache .hypothesis *.egg-info build

$(READY): requirements.lock setup.cfg
	@echo "== environment: $(VENV) from requirements.lock (minutes, 1.8 GB)"
	@test -n "$(PYTHON)" && $(PYTHON) -c "$(FITS)" || { echo "hpax needs Python 3.11, 3.12 or 3.13, found none of them;" \
		"install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python && $(BIN)/python -c "import pip" || $(PYTHON) -m venv --clear $(VENV)
	@awk '/^[a-z]/ { uv = /^uv==/ } uv' requirements.lock > $(VENV)/uv.lock
	$(BIN)/python -m pip install --quiet --require-hashes -r $(VENV)/uv.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --compile-bytecode -r requirements.lock \
		|| $(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock  # from where pip is told to look
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
