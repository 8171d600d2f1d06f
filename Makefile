# Everything here works from an empty clone: Python 3.11 or later with pip, make and a shell are all it needs.

PORT ?= 8443
MANAGEMENT_PORT ?= 8080

VENV := .venv
BIN := $(VENV)/bin

# The newest Python that has what we need. pyenv and the like leave commands that only fail, so each is asked.
PYTHON ?= $(shell for python in python3.14 python3.13 python3.12 python3.11 python3 python; do \
	$$python -c 'import pip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; \
	done)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup run check lint unit test e2e bench image audit lock clean

help:  ## Show this list
	@awk -F ':.*  ## ' '/^[a-z0-9]+:.*  ## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

setup: $(VENV)/installed  ## Make .venv with everything, pinned and checked against hashes

run: setup  ## Run the webhook on https://localhost:8443 (PORT=, MANAGEMENT_PORT=)
	@$(BIN)/task-resources serve --dev --port $(PORT) --management-port $(MANAGEMENT_PORT)

check: lint unit  ## Lint, types, imports, unit tests and properties: about two minutes

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports 2>&1

unit: setup
	$(BIN)/pytest -q tests/unit

test: lint  ## All tests; the first run builds kube-apiserver, Helm and others, about twenty minutes
	$(BIN)/pytest -q tests

e2e: setup  ## Only the tests against a real kube-apiserver
	$(BIN)/pytest -q tests/e2e

bench: setup  ## Measure what one core answers, next to a bare echo
	$(BIN)/python -m benchmarks

ENGINE ?= docker
IMAGE ?= task-resource-webhook

image:  ## Build the image of the commit (IMAGE=, BASE=, ENGINE=docker or buildah)
	$(ENGINE) build --tag $(IMAGE) $(if $(BASE),--build-arg BASE=$(BASE)) \
		--build-arg VERSION=$$(git describe --tags --always --dirty) --build-arg REVISION=$$(git rev-parse HEAD) \
		--build-arg CREATED=$$(TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd) \
		--build-arg SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) .

audit: setup  ## Ask PyPI's advisories for known vulnerabilities of what the image holds
	$(BIN)/uv tool run pip-audit==2.10.1 --strict --require-hashes --disable-pip --requirement requirements/runtime.txt

lock: setup  ## Pin the dependencies of pyproject.toml anew; UPGRADE=--upgrade takes newer versions
	$(LOCK) pyproject.toml --output-file requirements/runtime.txt
	$(LOCK) --group pyproject.toml:image --constraints requirements/runtime.txt --output-file requirements/image.txt
	$(LOCK) --group pyproject.toml:go --output-file requirements/go.txt
	$(LOCK) pyproject.toml --group dev --constraints requirements/runtime.txt --constraints requirements/image.txt \
		--output-file requirements/dev.txt

# Universal: one file for Python 3.11 to 3.14 on every platform that wheels exist for.
LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock" $(UPGRADE)

clean:  ## Remove .venv and all caches (but not the control plane's binaries)
	rm -rf $(VENV) .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find webhook tests benchmarks tools -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or later with pip and venv found; name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv --without-pip $(VENV)

# pip of the Python that made the environment: the environment itself needs none, nor ensurepip (Debian splits it off).
PIP = "$$(sed -n 's/^executable = //p' $(VENV)/pyvenv.cfg)" -m pip --python $(BIN)/python install --quiet --disable-pip-version-check

$(VENV)/installed: requirements/dev.txt pyproject.toml | $(BIN)/python
	@echo "Installing what requirements/dev.txt pins into $(VENV)" >&2
	@$(PIP) --no-deps --require-hashes --only-binary :all: --requirement requirements/dev.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@
