# Everything is a target of a few lines; `make help` lists them.
SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

UV_VERSION := 0.13.9
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/export-operator
# uv as it is on the PATH, or one of our own in the cache.
UV := $(or $(shell command -v uv 2>/dev/null),$(CACHE)/uv-$(UV_VERSION)/bin/uv)
RUN := "$(UV)" run --frozen --no-sync
PYTEST := $(RUN) pytest

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: .venv ## Export 100,000 users on a real cluster, checked to the byte
	@$(RUN) python -m tests.demo

.PHONY: demo-down
demo-down: .venv ## Remove what the demo installed; the cluster stays
	@$(RUN) python -m tests.demo down

.PHONY: test
test: .venv ## Unit, contract, integration, end to end: every test there is but those of `make chaos`
	@$(RUN) python -m tests.together \
	  "unit: pytest tests/unit tests/contract" \
	  "cluster: sh -c 'python -m tests.cluster up && exec python -m tests.cluster images'"
	@$(PYTEST) tests/integration/operator
	@# Most of end to end is waiting: the other servers' tests have what it leaves of the processors.
	@$(RUN) python -m tests.together \
	  "integration: nice -n 10 pytest tests/integration --ignore tests/integration/operator" \
	  "e2e: pytest tests/e2e"

.PHONY: check
check: .venv ## Format, lint, types, layers, manifests: seconds, before each commit
	@$(RUN) ruff format --check .
	@$(RUN) ruff check .
	@$(RUN) mypy
	@$(RUN) lint-imports --no-logo
	@$(RUN) scripts/check-manifests

.PHONY: fix
fix: .venv ## Format, mend what can be mended, render what is made from other files
	@$(RUN) ruff format .
	@$(RUN) ruff check --fix .
	@$(RUN) scripts/render-manifests

.PHONY: unit
unit: .venv ## Pure logic and the contract; no servers
	@$(PYTEST) tests/unit tests/contract

.PHONY: integration
integration: .venv cluster-up ## Against a real PostgreSQL, S3 server and API server
	@$(PYTEST) tests/integration

.PHONY: e2e
e2e: .venv cluster-up ## On a real cluster, as tenants and platform teams use it
	@$(PYTEST) tests/e2e

# Releases beside the newest; each is built once, some minutes.
OLDER := 1.30 1.35

.PHONY: e2e-older
e2e-older: .venv ## Mode Declared, what the API server refuses, a request's life: on each older Kubernetes (OLDER=1.30)
	@for release in $(OLDER); do \
	  export CLUSTER=local KUBERNETES_VERSION=$$release; \
	  $(RUN) python -m tests.cluster up; \
	  $(PYTEST) tests/e2e -m older; \
	  $(RUN) python -m tests.cluster down; \
	done

.PHONY: bench
bench: .venv ## Measure beside psql, DuckDB and others: two to three hours (ROWS, REPEATS, SUITES, ONLY; python -m tests.bench --help)
	@UV="$(UV)" $(RUN) python -m tests.bench

.PHONY: load
load: .venv ## Many requests at once on a real API server: what they cost and that quotas hold (SUITES; --help)
	@UV="$(UV)" $(RUN) python -m tests.load

.PHONY: chaos
chaos: .venv ## Faults that take long, then random ones (CHAOS_MINUTES, CHAOS_SEED, CHAOS_ROUND)
	@$(PYTEST) tests/chaos

.PHONY: images
images: .venv ## Build both images (and those of the demo's services) and load them into the cluster
	@$(RUN) python -m tests.cluster images

.PHONY: chart
chart: .venv ## Lint the chart and print what it would install
	@$(RUN) scripts/check-manifests

.PHONY: cluster-up
cluster-up: .venv ## Find or make a Kubernetes cluster (CLUSTER=current|kind|local chooses)
	@$(RUN) python -m tests.cluster up

.PHONY: cluster-down
cluster-down: .venv ## Stop the cluster: nothing running, nothing mounted
	@$(RUN) python -m tests.cluster down

.PHONY: clean
clean: ## Forget the environment of this checkout (caches of downloads stay)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

NATIVE := $(wildcard exporter_image/native/*.toml exporter_image/native/*.py exporter_image/native/zig/*.zig)

# A stamp says that it is whole: the directory is there as soon as its making begins.
.PHONY: .venv
.venv: .venv/made ; @:

.venv/made: pyproject.toml uv.lock operator/pyproject.toml exporter_image/pyproject.toml exporter_image/contract/pyproject.toml $(NATIVE)
	@[ -x "$(UV)" ] || $(MAKE) uv
	@"$(UV)" sync --frozen --quiet
	@touch $@

# Not a target by its path, in which there may be a space.
.PHONY: uv
uv:
	@echo "uv is not on the PATH: installing $(UV_VERSION) into the cache"
	@python3 -m venv "$(CACHE)/uv-$(UV_VERSION)"
	@"$(CACHE)/uv-$(UV_VERSION)/bin/python" -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"
