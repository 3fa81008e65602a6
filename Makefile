# Every command a developer needs. `make` alone lists them.
#
# Nothing has to be installed first but Python 3.11 or newer and Go: `make venv` brings the Python tools at the versions
# of the lock, and the servers are built from source once, into a cache outside the tree.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.DEFAULT_GOAL := help
.PHONY: help venv tools up status down demo test bench check format crds examples lock

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(INSTALLED) ## Make the virtual environment, or bring it up to date with the lock

$(INSTALLED): requirements-dev.lock
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found. Install Python 3.11 or newer, or name it: make PYTHON=/path/to/python3 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$$($(PYTHON) --version) is too old. Install Python 3.11 or newer, or name it: make PYTHON=/path/to/python3 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

tools: venv ## Build the local servers that are missing (once; up to 20 minutes on two cores)
	@$(BIN)/python -m dev tools

up: venv ## Start Kubernetes' API, Bacalhau, IPFS and S3 on this machine, in the background
	@$(BIN)/python -m dev up

status: venv ## Show what `make up` started
	@$(BIN)/python -m dev status

down: venv ## End what `make up` started
	@$(BIN)/python -m dev down

demo: venv ## Run the word-count example from nothing to its result, on servers of its own
	@$(BIN)/python -m dev demo

test: venv tools ## Run all tests
	$(BIN)/pytest

bench: venv tools ## Measure what the engine and the operator cost (about 20 minutes)
	$(BIN)/python -m benchmarks.engine
	$(BIN)/python -m benchmarks.overhead

check: venv ## Run the linters and the type checker
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m controller.api --check
	$(BIN)/python -m controller.api --check $(CHART_CRDS)

format: venv ## Format the code, and repair what the linter can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# Helm reads no files outside of a chart, so the chart has a copy.
CHART_CRDS := charts/bacalhau-dag-operator/files/crds

crds: venv ## Generate crds/, and the chart's copy, from the models in controller/api
	$(BIN)/python -m controller.api
	$(BIN)/python -m controller.api $(CHART_CRDS)

examples: venv ## Assemble the programs of the examples, and put them into the manifests
	$(BIN)/python -m dev.programs

LOCK := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 pyproject.toml

lock: venv ## Pin the dependencies that pyproject.toml asks for
	$(LOCK) -o requirements.lock
	$(LOCK) --group dev -o requirements-dev.lock
