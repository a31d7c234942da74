# Every target makes the virtual environment it needs. Two are all a newcomer has to know: demo, test.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test fuzz crash check fmt docs clean

demo: $(READY)  ## the main job on built-in data, end to end, in under five minutes
	$(BIN)/mlmctl demo --run build/demo

test: $(READY)  ## every test, no network, on all cores
	$(BIN)/python -m pytest -n auto --dist worksteal

fuzz: $(READY)  ## ten minutes of files that nobody would write
	$(BIN)/python scripts/fuzz.py 600

crash: $(READY)  ## every crash point and power cut of tests/crash, of which `make test` tries a sample; an hour
	MLMCTL_CRASH=all $(BIN)/python -m pytest -n auto tests/crash

check: $(READY)  ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: $(READY)  ## put the source into the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)  ## docs/commands.md from the commands' own help
	$(BIN)/python scripts/command_reference.py > docs/commands.md

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(READY): pyproject.toml .ci/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint .ci/constraints.txt --editable '.[dev]'
	touch $@
