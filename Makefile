# Needs on the machine: python3 (with its venv module), git, make. Everything else lands inside the checkout:
#   .uv/    the package manager uv, pinned
#   .venv/  Python 3.11 or 3.12 and the packages of requirements.lock, this checkout installed in editable form
# Another Python:  make setup PYTHON=/path/to/python3.12

UV_VERSION := 0.13.9
PYTHON ?= python3
# dm_control needs labmaze, which has no wheels for Python 3.13 and later.
PYTHON_RANGE := >=3.11,<3.13

UV := .uv/bin/uv
UV_READY := .uv/.ready-$(UV_VERSION)
VENV_READY := .venv/.ready
SETUP_READY := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test bench bench-quick lock clean
.DELETE_ON_ERROR:

help:
	@echo "make setup        install everything into this checkout (once; again when requirements.lock changes)"
	@echo "make quickstart   set up, then learn policies from the bundled sample, up to a report"
	@echo "make test         ruff check, ruff format --check, pytest"
	@echo "make bench        measure speed beside the reference in benchmarks/; options: BENCH='--threads 1 --only sampler'"
	@echo "make bench-quick  policy and world-model updates only, under a minute"
	@echo "make lock         write requirements.lock anew from pyproject.toml"
	@echo "make clean        remove the environments and caches (runs/ stays)"

setup: $(SETUP_READY)

quickstart: setup
	.venv/bin/pwm quickstart

test: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/python -m pytest

bench: setup
	.venv/bin/python -m benchmarks $(BENCH)

bench-quick: setup
	.venv/bin/python -m benchmarks --quick $(BENCH)

lock: $(UV_READY)
	$(UV) pip compile pyproject.toml --universal --python-version 3.11 --extra dev \
	  --no-annotate --no-header --no-emit-index-url --no-emit-find-links --upgrade --quiet -o requirements.lock

clean:
	rm -rf .uv .venv .pytest_cache .ruff_cache build dist src/*.egg-info
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(UV_READY):
	@command -v $(PYTHON) >/dev/null || { \
	  echo "error: '$(PYTHON)' was not found. Install Python 3.11 or 3.12, or name one: make setup PYTHON=/path/to/python3" >&2; exit 1; }
	@rm -rf .uv
	@$(PYTHON) -m venv .uv || { rm -rf .uv; \
	  echo "error: '$(PYTHON) -m venv' failed. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "fetching uv $(UV_VERSION)"
	@.uv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION) || { rm -rf .uv; \
	  echo "error: pip could not install uv $(UV_VERSION) with $$($(PYTHON) -V 2>&1): it needs Python 3.8 or later and a package index in reach" >&2; exit 1; }
	@touch $@

# $(PYTHON) itself where it fits the range, else whatever uv finds on the machine or can fetch.
$(VENV_READY): $(UV_READY)
	@rm -rf .venv
	@if $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))'; \
	  then $(UV) venv --quiet --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" .venv; \
	  else $(UV) venv --quiet --python "$(PYTHON_RANGE)" .venv; fi || { rm -rf .venv; \
	  echo "error: no Python 3.11 or 3.12 found ($(PYTHON) is $$($(PYTHON) -V 2>&1)). Install one, or name it: make setup PYTHON=/path/to/python3.12" >&2; exit 1; }
	@touch $@

# requirements.lock names no index: packages come from wherever this machine's settings say.
$(SETUP_READY): $(VENV_READY) requirements.lock pyproject.toml
	$(UV) pip install --quiet --python .venv/bin/python -r requirements.lock
	$(UV) pip install --quiet --python .venv/bin/python --no-deps -e .
	@touch $@
