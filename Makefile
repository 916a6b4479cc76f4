# Fengsui. `make` alone explains itself.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
BIN := .venv/bin
ROW ?=
SEED ?= 7
CYCLES ?= 0

.DEFAULT_GOAL := help
.PHONY: help setup environment run test lint types bench ledger ledger-full docs lock

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

setup: environment ## make the environment in .venv with everything for running, testing and measuring
	@$(PYTHON) deploy/environment.py dev

environment:
	@test -n "$(PYTHON)" || { echo "fengsui: no python3 found; Debian, Ubuntu: apt-get install python3 python3-venv" >&2; exit 1; }

run: environment ## start everything on this machine: broker, core, console, one gateway with simulated sensors
	@$(PYTHON) deploy/environment.py run
	@exec $(BIN)/fengsui run

test: setup ## every test this machine can run; what it cannot is listed at the end
	$(BIN)/pytest $(ARGS)

lint: setup ## style, format, and which room may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

types: setup ## mypy --strict over everything, tests included
	$(BIN)/mypy

bench: setup ## measure this machine: bench/out/latest.json and a page with plots
	$(BIN)/python -m bench $(ARGS)

ledger: setup ## every row of the loss ledger, few cycles; or one: make ledger ROW=R3 SEED=7 CYCLES=3
	@$(BIN)/python -m tests.ledger $(if $(ROW),--row $(ROW),--all) --seed $(SEED) --cycles $(CYCLES) $(ARGS)

ledger-full: setup ## every row with its full count (hours)
	@$(BIN)/python -m tests.ledger --full --seed $(SEED)

docs: setup ## rewrite docs/reference.md from the program itself
	$(BIN)/python docs/reference.py

LOCK := $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links

lock: setup ## renew the hash locks from pyproject.toml; add ARGS=--upgrade for newer versions
	$(LOCK) $(ARGS) --extra all --extra build --output-file requirements/run.txt
	$(LOCK) $(ARGS) --extra all --extra dev --constraint requirements/run.txt --output-file requirements/dev.txt
	@! grep -iE '://|--(extra-)?index|find-links' requirements/*.txt || { echo "fengsui: a lock names a host" >&2; exit 1; }
