# Everything runs from a virtual environment in .venv, which these targets make and keep up to date by themselves.
# Only Python 3.11 or newer and make are needed; PYTHON=… picks an interpreter, VENV=… another folder.

PYTHON ?= python3
VENV ?= .venv
# More workers than that only wait for the one Postgres that they share.
WORKERS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); if [ "$$n" -gt 4 ]; then n=4; fi; echo "$$n")
ARGS ?=
SEEDS ?= 1000
FIRST ?= 0
DATABASE ?= sqlite

VENV_PYTHON := $(VENV)/bin/python
RUNTIME := $(VENV)/.stamp-runtime
DEV := $(VENV)/.stamp-dev
PIP := $(VENV_PYTHON) -m pip install -qq --disable-pip-version-check --no-input

.DEFAULT_GOAL := help
.PHONY: help demo test chaos simulate coverage lint fix bench

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile
	@echo 'ARGS="…" is passed on, as in: make test ARGS="-k retry"'

demo: $(RUNTIME) ## two campaigns dialed to their end against a simulated provider, in about a minute
	@$(VENV_PYTHON) -m outdial demo $(ARGS)

test: $(DEV) ## all tests, on SQLite and on a Postgres that they bring along
	$(VENV_PYTHON) -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

chaos: $(DEV) ## kills, stalls, crashes and a faulty provider, then every promise judged; ARGS="--seeds 200" for a night
	$(VENV_PYTHON) -m tests.chaos $(ARGS)

simulate: $(DEV) ## the engine in virtual time, against a faulty provider: SEEDS=5000 FIRST=0 DATABASE=postgres
	@$(VENV_PYTHON) -m tests.simulation --seeds $(SEEDS) --first $(FIRST) --database $(DATABASE) --jobs $(WORKERS) $(ARGS)

coverage: $(DEV) ## all tests, and which lines they never reached
	$(VENV_PYTHON) -m pytest -n $(WORKERS) --dist worksteal --cov --cov-report=term --cov-report=html $(ARGS)

lint: $(DEV) ## format, traps, types, and the direction of imports
	$(VENV_PYTHON) -m ruff format --check .
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m mypy
	$(VENV)/bin/lint-imports --no-logo

fix: $(DEV) ## format, and mend what can be mended without thinking
	$(VENV_PYTHON) -m ruff check --fix-only .
	$(VENV_PYTHON) -m ruff format .

bench: $(DEV) ## the benchmarks: how fast a pass is, on how large a list
	$(VENV_PYTHON) -m benchmarks $(ARGS)

$(RUNTIME): requirements/runtime.txt
	@$(make-venv)
	@echo "Installing what Outdial needs into $(VENV): once, about a minute."
	@$(PIP) -r requirements/runtime.txt
	@$(PIP) --no-deps -e .
	@touch $@

$(DEV): requirements/dev.txt requirements/runtime.txt
	@$(make-venv)
	@echo "Installing what Outdial and its tests need into $(VENV): once, one to two minutes."
	@$(PIP) -r requirements/dev.txt
	@$(PIP) --no-deps -e .
	@touch $@ $(RUNTIME)

# Takes $(PYTHON) if it is new enough and can make virtual environments, else the newest such Python on the PATH. An
# environment that is there already, made by hand too, is used as it is; it is never deleted.
define make-venv
is_new() { "$$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }; \
can_make() { is_new "$$1" && "$$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }; \
if [ ! -e "$(VENV_PYTHON)" ] && [ ! -L "$(VENV_PYTHON)" ]; then \
    chosen=; new=; \
    for python in "$(PYTHON)" $(if $(filter file default,$(origin PYTHON)),python3.13 python3.12 python3.11,); do \
        if is_new "$$python"; then new="$$python"; fi; \
        if can_make "$$python"; then chosen="$$python"; break; fi; \
    done; \
    if [ -z "$$chosen" ] && [ -n "$$new" ]; then \
        echo "$$new cannot make virtual environments: install its venv module (Debian, Ubuntu: apt-get install python3-venv) and run make again." >&2; \
        exit 1; \
    elif [ -z "$$chosen" ]; then \
        echo "Outdial needs Python 3.11 or newer, and $(PYTHON) is not: install one (Debian, Ubuntu: apt-get install python3 python3-venv), or name it, as in: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; \
        exit 1; \
    fi; \
    "$$chosen" -m venv "$(VENV)" || exit 1; \
elif ! is_new "$(VENV_PYTHON)"; then \
    echo "The virtual environment $(VENV) has no working Python 3.11 or newer: delete it (rm -r $(VENV)) and run make again." >&2; \
    exit 1; \
fi; \
if ! "$(VENV_PYTHON)" -m pip --version >/dev/null 2>&1 && ! "$(VENV_PYTHON)" -m ensurepip >/dev/null 2>&1; then \
    echo "The virtual environment $(VENV) has no pip: delete it (rm -r $(VENV)), install Python's venv module (Debian, Ubuntu: apt-get install python3-venv) and run make again." >&2; \
    exit 1; \
fi
endef
