# Everything a person does with this checkout. `make help` lists it.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
LOCKED := $(BIN)/python -m pip install --quiet --require-hashes --no-deps

.DEFAULT_GOAL := help
.PHONY: help setup demo up test check format bench lock clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

$(VENV)/run.stamp: locks/run.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(LOCKED) -r locks/build.txt
	$(LOCKED) -r locks/run.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp locks/dev.txt locks/gpu.txt
	$(LOCKED) -r locks/gpu.txt
	$(LOCKED) -r locks/dev.txt
	@touch $@

setup: $(VENV)/dev.stamp  ## install everything into .venv, from the locks

demo: $(VENV)/run.stamp  ## the RMA demo: pull models, start all, run it on real files, report, stop
	$(BIN)/partage demo

up: $(VENV)/run.stamp  ## start hub, documents and rag; Ctrl-C stops them
	$(BIN)/partage up

check: $(VENV)/dev.stamp  ## lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/basedpyright

test: check  ## check, then every test that can run here
	$(BIN)/python -m pytest $(PYTEST_OPTIONS)

format: $(VENV)/dev.stamp  ## let ruff mend what it can
	$(BIN)/ruff check --fix . || true
	$(BIN)/ruff format .

bench: $(VENV)/dev.stamp  ## the measured claims of the README, as ratios in one run
	$(BIN)/python -m bench

lock: $(VENV)/dev.stamp  ## resolve the dependencies again (needs uv)
	./locks/resolve

clean:  ## remove what make built
	rm -rf $(VENV) .pytest_cache .ruff_cache .coverage build dist
