# Every target explains itself: the text after ## is what `make help` prints.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

# The first that runs and is new enough: version managers leave commands on the PATH that only print an error.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
  $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; done; true)
BIN := .venv/bin
# The workbench decides its own colours; tests must not depend on the caller's terminal.
CLEAN_ENV := env -u NO_COLOR -u COLORTERM OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false

.PHONY: help run test check format docs bench soak demo-models clean

help: ## Show this list
	@echo "knscope: a terminal workbench for knowledge neurons"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.venv/python-ok:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "knscope needs Python 3.11 or newer; name one with: make $(firstword $(MAKECMDGOALS)) PYTHON=/path/to/python3" >&2; exit 2; }
	@echo "making .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/installed: .venv/python-ok pyproject.toml constraints.txt
	@echo "installing knscope into .venv (a few minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable .
	@touch $@

.venv/installed-dev: .venv/installed
	@echo "installing the development tools into .venv"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable '.[dev]'
	@touch $@

run: .venv/installed ## Install, analyse the bundled facts with the bundled models, open the workbench
	@$(BIN)/knscope demo

test: check ## Format, lint, types, import contracts and the tests (about eight minutes)
	@echo "tests"
	@$(CLEAN_ENV) $(BIN)/python -m pytest -q -n 3 --dist loadfile
	@echo "all checks passed; next: make run, or make soak for the long tests"

check: .venv/installed-dev ## Format, lint, types and import contracts, without the tests
	@echo "format and lint"
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@echo "types"
	@$(BIN)/mypy
	@echo "import contracts"
	@$(BIN)/lint-imports

format: .venv/installed-dev ## Rewrite the code in the project's format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: .venv/installed ## Build the documentation as a site in build/docs
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable '.[docs]'
	@$(BIN)/python -m sphinx -q -E -W --keep-going -b html docs build/docs
	@echo "the site is built; open build/docs/index.html"

bench: .venv/installed-dev ## Measure against the peers and print the ratios (long; wants a quiet machine)
	@$(CLEAN_ENV) $(BIN)/python -m benchmarks

soak: .venv/installed-dev ## The long tests: kills, faults, simulations; real models where KNSCOPE_REAL_MODELS names a folder of them
	@$(CLEAN_ENV) $(BIN)/python -m pytest -q -m soak

demo-models: .venv/installed ## Train the bundled models again, from their seed
	@$(BIN)/python -m knscope.analysis.demo.training.train

clean: ## Remove .venv and every cache (the stored results stay)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
