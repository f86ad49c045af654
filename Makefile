# One command each; `make` alone lists them. Everything runs in .venv, which the first command makes.

VENV := .venv
BIN := $(VENV)/bin
# The first interpreter that really runs, is new enough and can make environments; 3.11 is the tested version.
PYTHON ?= $(shell for python in python3.11 python3 python3.12 python3.13 python; do \
	$$python -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

# Two processes: a worker for each core of the smallest machine; `make test WORKERS=8` where there are more.
WORKERS ?= 2
PYTEST = $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help install quickstart test test-fast golden check audit docs package sbom format clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## make .venv with toolgen and the tested version of everything it uses

$(VENV)/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or newer with venv and ensurepip was not found; install it or say make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@# torch first and alone: a package that wants torch and is installed before it would choose another build.
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[all,dev]'
	@touch $@

quickstart: install ## the whole path: fetch, learn some 1,400 tools, compare, act, report (18 to 25 minutes on 2 cores)
	$(BIN)/toolgen quickstart

test: test-fast ## all tests: first those without weights, then those with the real model and data
	$(PYTEST) -m weights

test-fast: install ## only the tests without weights
	$(PYTEST) -m "not weights"

golden: install ## write the golden curves of tiny runs anew; the change should say why they differ
	TOOLGEN_UPDATE_GOLDEN=1 $(BIN)/python -m pytest -q tests/training/test_golden.py tests/reinforcement/test_golden.py tests/reinforcement/test_preference.py

check: install ## formatting, lint and types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

audit: install ## what toolgen needs is pinned, has hashes, and licences that are known (without a network)
	$(BIN)/python .ci/audit.py

package: install ## wheel and sdist: the same when built twice, complete; installed into a bare environment with every extra
	$(BIN)/python .ci/package.py

sbom: install ## what toolgen needs, with versions and licences, as CycloneDX 1.6, into build/sbom.json
	@mkdir -p build
	$(BIN)/python .ci/sbom.py > build/sbom.json

docs: install ## the documentation site, into build/site; a link that leads nowhere is an error
	$(BIN)/python docs/site.py

format: install ## format the code and apply safe fixes
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean: ## remove what the tools left behind (keeps .venv and the cache of fetched models)
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
