# Two commands on a fresh machine: `make demo` and `make test`. Both build .venv by themselves.
# Another interpreter: `make PYTHON=python3.12 test` (after `make distclean` if .venv exists).

PYTHON ?= python3
WORKERS ?= 2

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.built
DOCS_STAMP := $(VENV)/.built-docs
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
# Shows what is fetched and installed, line by line, and leaves out the chatter.
QUIETLY := | awk '/^ *(Collecting|Downloading|Building|Installing|Successfully)/ {print "  " $$0; fflush()}'
SOURCES := probneuro tests docs $(wildcard examples benchmarks)

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# One thread a process: the work is spread over chains and test workers, and thread pools that
# fight over the same cores make both slower. Plots are drawn without a display.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1
export MPLBACKEND ?= Agg

.PHONY: help install demo test test-slow lint format docs bench clean distclean

help:  ## Show the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP)  ## Build the environment in .venv (the other targets do it when needed).

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "probneuro needs Python 3.11 or later; '$(PYTHON)' is: $$($(PYTHON) --version 2>&1 || true)."; \
	  echo "Name another interpreter, for example: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "'$(PYTHON)' has no venv module. Debian and Ubuntu keep it apart:"; \
	  echo "  sudo apt install python3-venv"; exit 1; }
	@test -x $(BIN)/pip || { echo "Making the environment in $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "Installing probneuro and its tools into $(VENV) (a few minutes the first time)"
	@set -o pipefail; $(PIP) install --progress-bar off -c constraints.txt -e '.[nwb,test]' $(QUIETLY)
	@touch $@

$(DOCS_STAMP): $(STAMP)
	@echo "Installing the documentation tools into $(VENV)"
	@set -o pipefail; $(PIP) install --progress-bar off -c constraints.txt -e '.[docs]' $(QUIETLY)
	@touch $@

demo: $(STAMP)  ## Compare three learning rules on the packaged recording, into out/demo.
	$(BIN)/probneuro compare example:v1_pair --rules static,additive,multiplicative --stop 90 --held-out 15 --chains 2 --warmup 200 --draws 200 --out out/demo --seed 1

test: lint  ## Lint, types, import rule, doctests, unit and statistical tests.
	$(BIN)/python -m pytest --doctest-modules -n $(WORKERS) probneuro tests docs/developer/skeletons

test-slow: $(STAMP)  ## Calibration, recovery and seed sweeps (long).
	$(BIN)/python -m pytest -m slow -n $(WORKERS) tests

lint: $(STAMP)  ## Lint, formatting, types and the import rule.
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(STAMP)  ## Sort imports, fix what ruff can fix, format.
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

docs: $(DOCS_STAMP)  ## Build the documentation into docs/_build/html; a warning is an error.
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

bench: $(STAMP)  ## Run the benchmarks.
	@for script in $(wildcard benchmarks/*.py); do echo "$$script"; $(BIN)/python "$$script"; done

clean:  ## Remove what builds and runs leave behind; keeps .venv.
	rm -rf build dist out docs/_build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find probneuro tests docs examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## Remove the environment as well.
	rm -rf $(VENV)
