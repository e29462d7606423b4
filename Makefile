# Osler from a clean clone: `make demo` answers a question about a real scan, `make test` runs the tests.
# Needs Python 3.11 or newer and make; no compiler, no root. Works in a folder with spaces.
#
#   PYTHON=python3.12 make demo     another Python
#   PIP_ARGS="..." make demo        further arguments for pip install

PYTHON   ?= python3
PIP_ARGS ?=
WORKERS  ?= 2
PYTEST_ARGS ?=
BENCHMARKS  ?= start decode_270m ask_cold

VENV := .venv
PY   := $(VENV)/bin/python
PIP  := $(PY) -m pip --disable-pip-version-check install --quiet --constraint constraints.txt $(PIP_ARGS)

.PHONY: help install demo test lint docs benchmarks constraints clean

help:
	@echo "make demo        install into .venv and ask about a real scan"
	@echo "make test        install what tests need, lint, run the tests"
	@echo "make lint        ruff only"
	@echo "make docs        write the generated reference pages again"
	@echo "make benchmarks  run three benchmarks, or those in BENCHMARKS (on a quiet machine)"
	@echo "make clean       remove .venv"

install: $(VENV)/.installed

demo: $(VENV)/.installed
	@$(PY) -m osler build-kernels --if-possible
	@$(PY) -m osler demo

# One thread a worker: threads of PyTorch in two workers wait for each other.
test: $(VENV)/.test-installed lint
	OMP_NUM_THREADS=1 $(PY) -m pytest -n $(WORKERS) --dist worksteal -q --durations 15 $(PYTEST_ARGS)

lint: $(VENV)/.test-installed
	$(PY) -m ruff check
	$(PY) -m ruff format --check

docs: $(VENV)/.test-installed
	$(PY) docs/reference/generate.py
	$(PY) docs/reference/report_terms.py

benchmarks: $(VENV)/.test-installed
	@set -e; for name in $(BENCHMARKS); do echo "== $$name"; $(PY) -m benchmarks.$$name --out benchmarks/$$name; done

# The versions in the current .venv, which the tests have just passed with.
constraints: $(VENV)/.test-installed
	@{ echo "# The versions that the tests ran with; written by \`make constraints\`."; \
	   $(PY) -m pip freeze --exclude osler | sed -e 's/ @ .*//' -e 's/+cpu$$//' -e 's/+cu[0-9]*$$//'; } > constraints.new
	@mv constraints.new constraints.txt

clean:
	rm -rf "$(VENV)"

# Python is checked before anything is made, so that the message is about Python and not about pip.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Osler needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1 || true)." >&2; \
	  echo "Name another one: PYTHON=python3.12 make demo" >&2; exit 1; }
	@$(PYTHON) -m venv "$(VENV)" || { \
	  echo "$(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; \
	  rm -rf "$(VENV)"; exit 1; }
	@touch $@

# An editable install: the sources are used where they lie, so a second run installs nothing.
$(VENV)/.installed: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing Osler and its embedded model into $(VENV) (about 1.5 GB, a few minutes the first time) ..."
	@$(PIP) --editable .
	@touch $@

$(VENV)/.test-installed: $(VENV)/.installed
	@echo "Installing what the tests need ..."
	@$(PIP) --editable ".[synth,test]"
	@touch $@
