# Ocelot: `make help` lists what there is. Needs Python 3.11+; gets uv by itself where it is missing.

SHELL := /bin/bash
.DEFAULT_GOAL := help

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/ocelot
UV := $(shell command -v uv 2>/dev/null || echo $(CACHE)/uv/bin/uv)
export UV_PROJECT_ENVIRONMENT ?= .venv
RUN := $(UV) run --frozen
BESIDE := $(RUN) --no-sync python scripts/beside.py

.PHONY: help setup dev sqs-worker dev-kube test test-unit test-devstack test-cli test-services test-faults test-members e2e e2e-here bench faults fuzz contract lint format env-example postman images clean

help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(CACHE)/uv/bin/uv:
	@echo "uv is not on the path: installing it into $(CACHE)/uv"
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Ocelot needs Python 3.11 or later"; exit 1; }
	@python3 -m venv $(CACHE)/uv && $(CACHE)/uv/bin/pip install --quiet --disable-pip-version-check uv

setup: $(UV) ## Install what Ocelot needs into .venv
	@$(UV) sync --frozen --quiet

dev: setup ## Run everything on this machine: MongoDB, SQS, OpenSearch, api, consumer, indexer
	@exec $(RUN) --no-sync python -m ocelot_devstack up

sqs-worker: setup ## Run one more consumer against a running `make dev`
	@exec $(RUN) --no-sync python -m ocelot_devstack worker consumer

dev-kube: setup ## Run a Kubernetes API server and the operator beside a running `make dev`
	@exec $(RUN) --no-sync python -m ocelot_devstack kube

test: setup ## Run all tests, on real backends
	@$(BESIDE) "$(MAKE) --keep-going test-cli test-unit test-devstack" "$(MAKE) --keep-going test-services test-faults"

test-unit: setup ## Run the tests that need no backend
	$(RUN) --no-sync pytest tests/unit

test-devstack: setup ## Run the tests of make dev and of the backends themselves
	$(RUN) --no-sync pytest tests/integration/devstack

test-faults: setup ## Run the quick part of the faults
	$(RUN) --no-sync pytest tests/faults

test-cli: setup ## Run the tests of the ocelot command, on real backends
	$(RUN) --no-sync pytest tests/integration/cli

test-services: setup ## Run the tests of the services together, on real backends
	$(RUN) --no-sync pytest tests/integration --ignore tests/integration/devstack --ignore tests/integration/cli

test-members: setup ## Run each member's unit tests with only that member's dependencies
	@scripts/test-members $(UV)

ROUNDS ?= 30
faults: setup ## Kill, stop and cut everything, full size: make faults ROUNDS=30, SEED=… repeats one
	OCELOT_FAULTS_ROUNDS=$(ROUNDS) OCELOT_FAULTS_SEED=$(SEED) $(RUN) --no-sync pytest tests/faults

bench: setup ## Measure each process beside its raw limit (quiet machine, two cores)
	$(RUN) --no-sync python tests/bench/run.py

MINUTES ?= 10
fuzz: setup ## Send random requests, then search for the most expensive one: make fuzz MINUTES=10 (each), SEED=… repeats them
	$(RUN) --no-sync python tests/fuzz/random_requests.py --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))
	$(RUN) --no-sync python tests/fuzz/expensive_requests.py --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

contract: setup ## Ask the api all that its OpenAPI document allows, and forbids: make contract MINUTES=10, SEED=…
	OCELOT_CONTRACT_MINUTES=$(MINUTES) OCELOT_CONTRACT_SEED=$(SEED) $(RUN) --no-sync pytest -s tests/integration/api/test_schemathesis.py

lint: setup ## Check style, spelling, types, layers and the lock
	$(RUN) --no-sync ruff check .
	$(RUN) --no-sync ruff format --check .
	git ls-files | xargs $(RUN) --no-sync codespell
	$(RUN) --no-sync mypy
	$(RUN) --no-sync lint-imports
	$(UV) lock --check

format: setup ## Bring the code into its style
	$(RUN) --no-sync ruff check --fix .
	$(RUN) --no-sync ruff format .

env-example: setup ## Write .env.example from the settings classes
	$(RUN) --no-sync python scripts/env_example.py

postman: setup ## Write docs/postman_collection.json from the OpenAPI document
	$(RUN) --no-sync python scripts/postman.py

e2e: setup ## Run the end-to-end tests on the current Kubernetes context (tests/e2e/README.md)
	$(RUN) --no-sync pytest -s $(or $(TESTS),tests/e2e)

e2e-here: setup ## Run them on this machine, as root: brings up a cluster and backends, and takes them down
	@TESTS="$(TESTS)" tests/e2e/here

IMAGE_TOOL ?= $(notdir $(firstword $(shell command -v docker podman buildah 2>/dev/null) docker))
BASE_IMAGE ?= docker.io/library/python:3.11-slim-bookworm
IMAGE ?= localhost/ocelot
TAG ?= $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' pyproject.toml)
MEMBERS ?= api consumer indexer jobs $(wildcard operator) cli
images: ## Build a container image per member: make images IMAGE_TOOL=podman BASE_IMAGE=… TAG=… MEMBERS="api cli"
	@IMAGE_TOOL="$(IMAGE_TOOL)" BASE_IMAGE="$(BASE_IMAGE)" IMAGE="$(IMAGE)" TAG="$(TAG)" MEMBERS="$(MEMBERS)" scripts/images

clean: ## Remove what was made here; the cache and .ocelot stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
