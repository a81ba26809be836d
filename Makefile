# Every habit of this repository, one word each. `make help` lists them.
#
# All tools live in .venv, made here; nothing else on the machine is touched, except that `make test`
# installs a Chromium, podman and some small servers with apt where it may (Debian or Ubuntu) and must (FAMILIAR_TEST_REQUIRE=all),
# and keeps images in ~/.cache/familiar-test, podman's (see .ci/podman) and those of a Docker Engine of the tests' own.
# An editable install brings the kernelspec along, as a wheel does. A second run is quick: the packages are
# installed anew only when pyproject.toml, constraints.txt or a kernelspec change.

SHELL := bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV ?= .venv
BIN := $(VENV)/bin
# Two by default, because every test of a turn starts a kernel, a host and a CLI.
WORKERS ?= 2
PYTEST_ARGS ?=
DEMO_ARGS ?=
BENCH_ARGS ?=
IMAGE ?= lab
IMAGE_ARGS ?=
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# The first of these that runs and is new enough, unless PYTHON names one.
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11 python3.14 python; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo "$$name"; break; }; \
	done)

.PHONY: help demo test lint format docs docs-check pictures bench wheel image constraints clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.stamp-demo ## Talk to the familiar without an account: runs the example notebook on the rehearsal
	@$(BIN)/familiar demo $(DEMO_ARGS)

test: $(VENV)/.stamp-test lint ## Set up all that the tests need and run them (PYTEST_ARGS="-k name" for some)
	@.ci/tools
	@.ci/podman $(BIN)/familiar >/dev/null
	@.ci/hub $(VENV) >$(VENV)/hub-pythons
	@export FAMILIAR_TEST_BROWSER="$$(.ci/browser $(BIN)/python)"; \
	export FAMILIAR_TEST_HUB_PYTHONS="$$(cat $(VENV)/hub-pythons)"; \
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

lint: $(VENV)/.stamp-test ## Check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy

format: $(VENV)/.stamp-test ## Put the code into shape
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format .

docs: $(VENV)/.stamp-test ## Write the references in docs anew, from the code
	@$(BIN)/python docs/generate.py
	@$(BIN)/python docs/generate_hub.py

docs-check: $(VENV)/.stamp-test ## Check that the pages made from the code are up to date
	@$(BIN)/python -m pytest -q tests/unit -k docs $(PYTEST_ARGS)

pictures: $(VENV)/.stamp-test ## Take the README's pictures anew
	@FAMILIAR_TEST_BROWSER="$$(.ci/browser $(BIN)/python)" PYTHONPATH=tests $(BIN)/python -m browser.pictures

bench: $(VENV)/.stamp-test ## Measure against the peers, side by side, in one run
	@$(BIN)/python -m benchmarks $(BENCH_ARGS)

wheel: $(VENV)/.stamp-test ## Build the wheel and the source distribution into dist/
	@$(BIN)/python -m build --outdir dist .

image: $(VENV)/.stamp-test ## Build the lab's image with podman or Docker (IMAGE=hub; IMAGE_ARGS="--base NAME --network host")
	@$(BIN)/python containers/build.py $(IMAGE) $(IMAGE_ARGS)

constraints: $(VENV)/.stamp-python ## Write constraints.txt anew, from the newest releases
	@set -e; fresh="$$(mktemp -d)"; trap 'rm -rf -- "$$fresh"' EXIT; \
	$(BIN)/python -m venv "$$fresh/venv"; \
	"$$fresh/venv/bin/python" -m pip install --quiet --disable-pip-version-check '.[test,dev]' './deploy/hub[test]'; \
	"$$fresh/venv/bin/python" -m pip freeze --exclude familiar-kernel --exclude familiar-hub > "$$fresh/versions"; \
	grep '^#' constraints.txt > "$$fresh/list"; cat "$$fresh/versions" >> "$$fresh/list"; \
	cp "$$fresh/list" constraints.txt

clean: ## Remove everything that make made
	rm -rf -- $(VENV) build dist demo-output test-output .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf -- {} +

$(VENV)/.stamp-python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "make: found no Python >= 3.11 (looked for python3, python3.11 ... python3.14)." \
		     "Install one, or name it: make PYTHON=/path/to/python3.12 ..." >&2; exit 1; fi
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "make: $(PYTHON) is older than Python 3.11 or does not run." >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' || { \
		echo "make: $(PYTHON) cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "Making $(VENV) with $$("$(PYTHON)" --version) ..."
	@"$(PYTHON)" -m venv $(VENV)
	@touch $@

$(VENV)/.stamp-demo: pyproject.toml constraints.txt $(wildcard kernelspecs/*/*) | $(VENV)/.stamp-python
	@echo "Installing familiar-kernel and JupyterLab into $(VENV) (once; it takes a minute or two) ..."
	@$(PIP_INSTALL) --editable '.[demo]'
	@touch $@

$(VENV)/.stamp-test: pyproject.toml deploy/hub/pyproject.toml constraints.txt $(wildcard kernelspecs/*/*) | $(VENV)/.stamp-python
	@echo "Installing familiar-kernel and what its tests need into $(VENV) (once; it takes a minute or two) ..."
	@$(PIP_INSTALL) --editable '.[test,dev]' --editable 'deploy/hub[test]'
	@touch $@ $(VENV)/.stamp-demo
