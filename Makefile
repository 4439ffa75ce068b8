# Everything from nothing: Python >= 3.11 and make are enough.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test test-fast check docs format clean

help:  ## Say what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

INSTALL := $(BIN)/pip install --disable-pip-version-check --editable

$(VENV):
	$(PYTHON) -m venv $@

$(VENV)/.installed: pyproject.toml | $(VENV)
	$(INSTALL) '.[audit]'
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)
	$(INSTALL) '.[dev]'
	touch $(VENV)/.installed $@

demo: $(VENV)/.installed  ## Audit a model that only seems to have forgotten, and one that never knew
	$(BIN)/auditor demo

test: $(VENV)/.installed-dev  ## Run all tests
	$(BIN)/pytest -n 2 --dist worksteal

test-fast: $(VENV)/.installed-dev  ## Run the tests that take seconds
	$(BIN)/pytest -n 2 --dist worksteal -m "not slow"

check: $(VENV)/.installed-dev  ## Lint, format check, arrows between packages, spelling, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/mypy

docs: $(VENV)/.installed-dev  ## Build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

format: $(VENV)/.installed-dev  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove the environment and caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache site
