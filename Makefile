# `make demo` and `make test` need only Python >= 3.11 and make; everything else is installed into .venv and .triton-venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
COMPILED := build/compiled
# Much of the time is spent waiting for Tritons to start: two files at once, each from its beginning to its end.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile
# What runs in the compiled modules, and what clients see of them; what asks Triton without a gateway is left out.
COMPILED_TESTS := tests/test_compiled.py tests/transcoding tests/state tests/routing tests/policies tests/gateway/ingress \
	tests/gateway/test_worker.py tests/fuzz $(addprefix tests/end_to_end/test_,$(addsuffix .py,parity parity_grpc clients \
	failures cancellation cache identity limits allocations hostile_bodies hostile_http1 hostile_http2 hostile_slow))

.PHONY: help install triton test test-fast test-compiled compile compile-if-possible lint format clean fuzz

help: ## What can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 18

install: $(STAMP) ## The gateway and its development tools, in .venv

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@echo "installing the gateway into $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

triton: install ## A real Triton for CPU, in .triton-venv
	@$(BIN)/python -m deploy.triton install

test: install triton lint ## Everything, against the real parts
	$(PYTEST)
	@$(MAKE) --no-print-directory compile-if-possible
	@if [ -d $(COMPILED) ]; then $(MAKE) --no-print-directory test-compiled; else echo "test-compiled: skipped"; fi

test-fast: install ## What needs no Triton
	$(PYTEST) -m 'not triton and not slow'

compile: install ## The data path as C extensions, in build/compiled
	@$(BIN)/python -m deploy.packaging.compiled $(COMPILED)

compile-if-possible: install
	@$(BIN)/python -m deploy.packaging.compiled --if-possible $(COMPILED)

test-compiled: compile triton ## The data path again, compiled
	PENSTOCK_TRITON_VENV=$${PENSTOCK_TRITON_VENV:-$(CURDIR)/.triton-venv} PENSTOCK_TEST_BUILD=$(COMPILED) \
		$(PYTEST) $(COMPILED_TESTS) -k 'not -triton] and not [triton-'

lint: install ## ruff, mypy, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

fuzz: install ## A million inputs for each parser
	$(BIN)/python -m tests.fuzz --count 1000000

clean: ## Remove what was installed and built
	rm -rf $(VENV) .triton-venv .demo-state build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

-include deploy/demo.mk loadtests/bench.mk
