# Every target is documented by its `##` comment; `make` prints them.
# Nothing needs to be installed beforehand but Python 3.11 and make: the rest is fetched by pin.

SHELL := /bin/sh
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

BIN := .venv/bin
CHARTPROOF := $(BIN)/chartproof
CHART := charts/llm-inference
PRESETS := $(wildcard values/*.yaml)
DEMO := values/llama-3.1-8b-g6e-serverless.yaml
WORKERS ?= 2
# Chosen here and not in pyproject.toml, so that a single test run by hand stays in one process.
PYTEST := $(BIN)/pytest --numprocesses $(WORKERS) --dist loadgroup --quiet

# A stamp is newer than what it was made from: warm runs skip the step.
INSTALLED := .venv/installed.stamp
RENDERING := .venv/rendering.stamp
ORACLES := .venv/oracles.stamp

.PHONY: help
help: ## Tell what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(INSTALLED) $(RENDERING) ## Make .venv with locked dependencies, and what rendering needs (helm, kubeconform)

$(INSTALLED): requirements/dev.txt requirements/runtime.in pyproject.toml ci/hatch_hooks.py
	"$$(ci/find-python)" -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(RENDERING): $(INSTALLED) ci/toolchain/programs.toml $(wildcard ci/toolchain/helm/go.* ci/toolchain/kubeconform/go.*)
	$(CHARTPROOF) toolchain build helm kubeconform
	@touch $@

# What tests compare with: Prometheus' own rule engine and KEDA's own formula code.
$(ORACLES): $(INSTALLED) ci/toolchain/programs.toml $(wildcard ci/toolchain/prometheus/go.* ci/toolchain/formula/*.*)
	$(CHARTPROOF) toolchain build promtool formula
	@touch $@

.PHONY: control-plane
control-plane: $(INSTALLED) ## Get the programs of the embedded cluster ahead of time (built once per machine)
	$(CHARTPROOF) toolchain build

.PHONY: check
check: setup lint types fast presets ## The fast part of the quality gate (warm: three minutes on two cores)

.PHONY: lint
lint: setup ## Style of Python and YAML
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --quiet --check .
	$(BIN)/yamllint --strict .

.PHONY: types
types: setup ## Types of Python
	$(BIN)/mypy

.PHONY: fast
fast: setup $(ORACLES) ## Tests that need neither a cluster nor much time
	$(PYTEST) -m "not cluster and not slow"

.PHONY: presets
presets: setup ## Lint the chart, and check every preset
	"$$($(CHARTPROOF) toolchain path helm)" lint --strict --quiet $(CHART)
	$(CHARTPROOF) check $(PRESETS)

.PHONY: test
test: check control-plane ## The whole quality gate, embedded cluster included (warm: about half an hour)
	$(PYTEST) -m "cluster or slow"

.PHONY: test-all
test-all: test ## The gate, and every preset through its whole life and at work under load (about two hours)
	$(CHARTPROOF) smoke $(PRESETS) --scenario life,scale-from-zero,burst,drain

.PHONY: kind-smoke
kind-smoke: $(INSTALLED) ## The live scenarios on a kind cluster with played engines (needs Docker and the network)
	$(BIN)/python -m ci.kind

.PHONY: demo
demo: $(INSTALLED) ## Autoscaling at work, 0 to 8 replicas and back: timeline, plots and page in build/demo (warm: 2 min)
	$(CHARTPROOF) smoke $(DEMO) --scenario burst --out build/demo

.PHONY: bench
bench: setup ## Time to render and check each preset, against one plain `helm template`
	$(BIN)/python -m benchmarks.check_presets $(PRESETS)

.PHONY: bench-live
bench-live: $(INSTALLED) ## Start and memory of the live cluster, against the control plane alone
	$(BIN)/python -m benchmarks.live_cluster

.PHONY: generate
generate: setup ## Make the committed generated files again
	$(BIN)/python -m ci.generate

.PHONY: schemas
schemas: setup ## Make schemas/ again from the pinned modules
	$(BIN)/python -m ci.generate.schemas

.PHONY: lock
lock: $(INSTALLED) ## Pin the newest versions that requirements/*.in and ci/toolchain/go allow
	$(BIN)/uv pip compile $(LOCKED) --output-file requirements/runtime.txt requirements/runtime.in
	$(BIN)/uv pip compile $(LOCKED) --output-file requirements/dev.txt requirements/dev.in
	$(BIN)/uv pip compile $(LOCKED) --output-file requirements/live.txt requirements/live.in
	$(BIN)/uv pip compile $(LOCKED) --output-file ci/toolchain/go/requirements.txt ci/toolchain/go/requirements.in
	$(BIN)/uv pip compile $(LOCKED) --output-file ci/toolchain/litellm/requirements.txt ci/toolchain/litellm/requirements.in
	$(BIN)/uv pip compile $(LOCKED) --output-file ci/toolchain/vllm-router/requirements.txt ci/toolchain/vllm-router/requirements.in
LOCKED := --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

.PHONY: clean
clean: ## Remove what make made here; built programs stay in the user's cache
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
