# The whole developer interface: `make help`.
.DEFAULT_GOAL := help
SHELL := /bin/bash
BIN := .venv/bin
REPORTS := build/reports
TEST_WORKERS ?= 2
SEEDS ?= 0 500
CLIENT_JOBS ?= 1
# An environment may forbid it; then each of the hundred interpreters that tests start compiles torch and all else anew.
export PYTHONDONTWRITEBYTECODE :=

# A worker that dies ends the run, which names the test: with another in its place the run may wait for ever (pytest-xdist #1378).
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests -q -n $(TEST_WORKERS) --dist loadscope --no-loadscope-reorder \
	--max-worker-restart 0

.PHONY: help setup setup-runtime demo test test-matrix test-services search-resume lint bench bench-trainer bench-parity clients

help: ## what there is
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## .venv with everything to develop (quick when nothing changed)
	@tools/setup.sh dev

setup-runtime: ## .venv with what a user needs to train
	@tools/setup.sh runtime

demo: setup-runtime ## train the digits without a cluster, lose a pod half way, recover
	@$(BIN)/thunderhead run -f examples/digits/job.yaml --fresh --kill-pod 1@50%

test: setup ## everything that needs no cluster
	@mkdir -p $(REPORTS)
	$(PYTEST) -m "not matrix and not services" --junitxml=$(REPORTS)/test.xml

test-matrix: setup ## all of what make test tries a fixed part of (minutes): crash points, faults, seeds
	@mkdir -p $(REPORTS)
	$(PYTEST) -m matrix --junitxml=$(REPORTS)/test-matrix.xml

test-services: setup ## loggers with wandb (offline) and mlflow themselves, fetched into build/services
	@[ -d build/services/mlflow ] || $(BIN)/uv pip install --quiet --python $(BIN)/python --target build/services wandb mlflow-skinny sqlalchemy alembic
	OMP_NUM_THREADS=1 PYTHONPATH=build/services $(BIN)/python -m pytest -q tests/services -m services

search-resume: setup ## files written in random hooks of random runs, and who goes on from them (SEEDS="0 500")
	OMP_NUM_THREADS=1 PYTHONPATH=tests/thunderhead $(BIN)/python -m resume_search $(SEEDS)

lint: setup ## ruff, mypy --strict, import contracts, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m thunderhead_api.schema --check

bench: ## side-by-side benchmarks that need no cluster, results in bench/results
bench: bench-parity bench-trainer

bench-trainer: ## the trainer's figures beside a raw loop, Lightning and Fabric (BENCH_ARGS="--quick")
	@tools/setup.sh bench
	OMP_NUM_THREADS=1 $(BIN)/python -m bench $(BENCH_ARGS)

bench-parity: ## what differs from Lightning, over a matrix of options; fails where nobody meant it
	@tools/setup.sh bench
	OMP_NUM_THREADS=1 $(BIN)/python -m bench.parity

clients: ## libraries built on Lightning, their documented use and own tests, with Lightning and with us (minutes each; CLIENTS="darts pina" for some)
	@tools/setup.sh dev
	$(BIN)/python -m bench.clients --jobs $(CLIENT_JOBS) $(CLIENTS)

-include e2e/cluster.mk
