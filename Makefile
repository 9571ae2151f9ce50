# Courier. `make run` starts it; `make test` checks all of it; `make` lists the rest.

# The first Python that will do. Asked for only where .venv has to be made.
SUITS := import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(shell for p in python3 python3.12 python3.13 python3.11; do \
	$$p -c '$(SUITS)' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
RUNTIME := .venv/.requirements
DEVELOPMENT := .venv/.requirements-dev
GATED := gateway/*,accounts/*
SOAK := $(BIN)/python -m pytest --quiet --capture=no --timeout 7200 -m promise
PYTEST := $(BIN)/python -m pytest --quiet --numprocesses 3

.DEFAULT_GOAL := help
.PHONY: help run setup test check lint types layers migrations format bench conformance soak faults requirements image

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(RUNTIME) ## start Courier in the foreground; Ctrl-C stops it
	@exec $(BIN)/python manage.py up

setup: $(DEVELOPMENT) ## make .venv with all that developing and testing needs

test: check ## all of it: check, the tests on SQLite, and on PostgreSQL and Redis where they are
	@rm -f .coverage .coverage.*
	$(PYTEST) -m "not fault" --ignore tests/e2e --cov --cov-report=
	$(BIN)/coverage report --fail-under=85
	$(BIN)/coverage report --fail-under=90 --include='$(GATED)'
	$(BIN)/python -m tests.services -- $(PYTEST) -m "not fault" --ignore tests/e2e -p tests.database_only
	$(PYTEST) -m "not fault" --numprocesses 4 --dist loadscope --no-loadscope-reorder tests/e2e

check: lint types layers migrations ## all that needs no test run: format, lint, types, layers, migrations

lint: $(DEVELOPMENT) ## ruff: style and mistakes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEVELOPMENT) ## mypy, strict
	$(BIN)/mypy .

layers: $(DEVELOPMENT) ## import-linter: imports point down
	$(BIN)/lint-imports

migrations: $(DEVELOPMENT) ## every change of a model has its migration
	$(BIN)/python manage.py makemigrations --check --dry-run

format: $(DEVELOPMENT) ## put the code into its form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(DEVELOPMENT) ## measure this gateway beside others; see bench/README.md
	$(MAKE) -C bench
	$(BIN)/python bench/measure.py run
	$(BIN)/python bench/measure.py report
	$(BIN)/python bench/accounting.py

conformance: $(DEVELOPMENT) ## real clients and real upstreams, an hour; writes docs/compatibility.md
	$(BIN)/python -m tests.conformance --write

soak: $(DEVELOPMENT) ## every promise with all its trials, an hour or two; see bench/README.md
	COURIER_SOAK=1 $(SOAK)
	COURIER_SOAK=1 $(BIN)/python -m tests.services -- $(SOAK) -m "promise and not e2e"

faults: $(DEVELOPMENT) ## every fault and promise, hours; writes docs/faults.md
	$(BIN)/python -m tests.faults

requirements: $(DEVELOPMENT) ## pin requirements*.in anew, with hashes
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --universal --no-strip-extras --python-version 3.11 --generate-hashes --no-emit-index-url -o requirements.txt requirements.in
	$(BIN)/uv pip compile --universal --no-strip-extras --python-version 3.11 --generate-hashes --no-emit-index-url -o requirements-dev.txt requirements-dev.in

image: ## build the container image
	docker build --file docker/Dockerfile --tag courier:latest .

$(BIN)/python:
	@[ -n "$(PYTHON)" ] || { echo "Courier needs Python 3.11, 3.12 or 3.13, with venv."; exit 1; }
	$(PYTHON) -m venv .venv

$(RUNTIME): requirements.txt | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

$(DEVELOPMENT): requirements-dev.txt $(RUNTIME)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@
