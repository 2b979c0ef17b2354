# Everything starts here. A fresh machine needs Python 3.11 or newer, make and a package index for pip.
#
#   make demo              the main job on a sample study; ARGS=--once ends by itself, ARGS="--study DIR" takes yours
#   make serve             the hub with its local cell (docs/runbooks/start.md says what to configure first)
#   make test              checks, then all tests but the soak tests
#   make check             lint, format, types, layers
#   make bench             speed against Orthanc and deepbet, printed
#   make soak              the tests that run for long
#   make format            put the source into the house's format
#   make docs              write the generated tables of docs/ again

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.PHONY: demo serve test check bench soak format docs base dev clean

ARGS ?=
PYTHON ?= $(shell for name in python3 python3.11 python3.12 python3.13 python3.14; do \
	if command -v $$name >/dev/null && $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	then echo $$name; break; fi; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
PACKAGES := bithive models inference pipelines clinic cluster economy api
CODE := $(PACKAGES) tests benchmarks training examples

demo: base
	$(BIN)/bithive demo $(ARGS)

serve: base
	$(BIN)/bithive serve $(ARGS)

test: check
	$(BIN)/pytest -n 2 $(ARGS)

check: dev
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy

bench: dev
	$(BIN)/python -m benchmarks $(ARGS)

soak: dev
	$(BIN)/pytest -m soak $(ARGS)

format: dev
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

docs: dev
	$(BIN)/python -m tests.common.tables

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

base: .venv/base.stamp
dev: .venv/dev.stamp

.venv/pyvenv.cfg:
	@test -n "$(PYTHON)" || { echo "BitHive needs Python 3.11 or newer; none was found." >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/base.stamp: .venv/pyvenv.cfg requirements/base.txt requirements/lock.txt pyproject.toml
	@echo "Installing BitHive into .venv (about a minute, 2 GB)."
	$(PIP) install --quiet -r requirements/base.txt -c requirements/lock.txt
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.venv/dev.stamp: .venv/base.stamp requirements/dev.txt requirements/postgres.txt
	@echo "Installing what tests and checks need."
	$(PIP) install --quiet -r requirements/dev.txt -c requirements/lock.txt
	@touch $@
