# Every command of the project. The first run sets the machine up, once, in the user's cache (tools/setup).
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo dev test soak bench lint fmt lock setup servers clean-state

PYTHON := .venv/bin/python
BENCH ?= ranking stops starts faults ocpp_rpc ocpp_durable ocpp_herd ocpp_memory ocpp_malformed
SEEDS ?= 20
STOPS ?= 40
INTERLEAVINGS ?= 100000
export PYTHONPATH := $(CURDIR)

help: ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: servers ## A fleet's morning on the full stack (KEEP=1 stays up; CHAOS=1 strikes; ARGS="--seed 3")
	@bin/backstop demo $(if $(KEEP),--keep) $(if $(CHAOS),--chaos) $(ARGS)

dev: servers ## The same stack without the scenario; state is kept in .state/
	@bin/backstop dev $(ARGS)

test: servers lint ## Everything that proves the product (ARGS="tests/store -k tenant")
	$(PYTHON) -m pytest $(ARGS)

soak: servers ## Interleavings, then mornings under chaos, hours (SEEDS=20 STOPS=40; SEED=7 for one; RESUME=1)
	@$(if $(SEED),,$(PYTHON) -m tests.stops.soak --interleavings $(INTERLEAVINGS))
	@$(if $(SEED),,BACKSTOP_ALL_CRASH_POINTS=1 $(PYTHON) -m pytest -s tests/drills/test_crash_points.py)
	@$(PYTHON) -m benchmarks.soak --seeds $(SEEDS) --stops $(STOPS) $(if $(SEED),--seed $(SEED)) \
		$(if $(RESUME),--resume) $(ARGS)

bench: servers ## Rates and ratios of this machine, half an hour (BENCH="stops ocpp_rpc" for some)
	@for bench in $(BENCH); do echo "$$bench"; $(PYTHON) -m benchmarks.$$bench || exit 1; done

lint: setup ## Style, types, layers
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	.venv/bin/basedpyright --pythonpath $(PYTHON)
	.venv/bin/lint-imports

fmt: setup ## Format, and mend what can be mended
	$(PYTHON) -m ruff check --fix-only
	$(PYTHON) -m ruff format

lock: setup ## Pin dependencies with hashes (ARGS=--upgrade for newer ones)
	@tools/lock $(ARGS)

setup: ## Make the Python environment ready
	@tools/setup

servers: ## Make the Temporal server ready, too
	@tools/setup --servers

clean-state: ## Forget what `make dev` kept
	rm -rf .state
