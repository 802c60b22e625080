# Commands for a fresh machine with Python >= 3.11, pip and make:
#
#   make demo    install, then train a small network on real digits and say what each number measured
#   make test    install, then run every check and every test
#   make test-plain
#                run the tests of operations, of the engine and beside Keras once more, without the fast kernels
#   make test-torch
#                install PyTorch, Lightning and transformers into .venv-torch, then run the checks and tests of verax.torch
#   make bench   install the libraries that Verax is timed beside, time all, write benchmarks/RESULTS.md (about an hour);
#                make bench-quick in five minutes, printed only
#
# Another interpreter: make demo PYTHON=python3.12. Another place for the environment: VENV=/tmp/venv.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check
INSTALL = $(PIP) install --quiet

# "This is a file's stamp": made once, and again when what it depends on has changed.
MADE = $(VENV)/.made
BASE = $(VENV)/.base
TEST = $(VENV)/.test

# The libraries that Verax is timed beside want versions of their own.
BENCH_VENV ?= .venv-bench
BENCH = $(BENCH_VENV)/.bench

# PyTorch is large, and Verax does not need it: what watches its loops is tested apart.
TORCH_VENV ?= .venv-torch
TORCH = $(TORCH_VENV)/.torch

.PHONY: help demo test test-plain test-torch lint types unit doctest bench bench-quick clean

help:
	@sed -n 's/^#   //p' Makefile

demo: $(BASE)
	@$(BIN)/verax demo

test: lint types unit doctest

lint: $(TEST)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(TEST)
	$(BIN)/basedpyright
	$(BIN)/basedpyright --project pyrightconfig.strict.json

# Four processes: most of a test's time is compiling, which one process does one program at a time.
unit: $(TEST)
	$(BIN)/python -m pytest tests --numprocesses 4 --dist worksteal

doctest: $(TEST)
	$(BIN)/python -m pytest --doctest-modules src

# The plain forms are what a GPU runs, and a CPU where a fast form does not take a shape.
test-plain: $(TEST)
	VERAX_FAST_KERNELS=0 $(BIN)/python -m pytest tests/ops tests/engine tests/model/test_parity.py --numprocesses 4 --dist worksteal

test-torch: $(TORCH)
	$(TORCH_VENV)/bin/basedpyright --project pyrightconfig.torch.json --pythonpath $(TORCH_VENV)/bin/python
	$(TORCH_VENV)/bin/python -m pytest tests/torch_watch --numprocesses 4 --dist worksteal
	$(TORCH_VENV)/bin/python -m pytest --doctest-modules src/verax/torch

bench: $(BENCH)
	$(BENCH_VENV)/bin/python -m benchmarks.run
	$(BENCH_VENV)/bin/python -m benchmarks.processes
	$(BENCH_VENV)/bin/python -m benchmarks.growth
	$(BENCH_VENV)/bin/python -m benchmarks.watching
	$(BENCH_VENV)/bin/python -m benchmarks.gpu

bench-quick: $(BENCH)
	$(BENCH_VENV)/bin/python -m benchmarks.run --quick

clean:
	rm -rf $(VENV) $(BENCH_VENV) $(TORCH_VENV)

$(MADE):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Verax needs Python 3.11 or newer; '$(PYTHON)' is `$(PYTHON) --version 2>/dev/null || echo not there`."; \
	  echo "Name a newer one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@echo "Making the environment $(VENV) with `$(PYTHON) --version` ..."
	@# Some systems ship venv without ensurepip: then the interpreter's own pip brings one.
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { \
	  $(PYTHON) -m venv --clear --without-pip $(VENV) && \
	  $(PYTHON) -m pip --disable-pip-version-check --python $(BIN)/python install --quiet pip; }
	@touch $@

$(BASE): $(MADE) requirements/base.txt requirements/build.txt pyproject.toml
	@echo "Installing what requirements/base.txt and requirements/build.txt pin ..."
	@$(INSTALL) -r requirements/base.txt -r requirements/build.txt
	@$(INSTALL) --no-build-isolation --no-deps --editable .
	@touch $@

$(TEST): $(BASE) requirements/test.txt
	@echo "Installing what requirements/test.txt pins ..."
	@$(INSTALL) -r requirements/test.txt
	@touch $@

$(BENCH): benchmarks/peers.txt requirements/build.txt pyproject.toml
	@$(MAKE) --no-print-directory VENV=$(BENCH_VENV) $(BENCH_VENV)/.made
	@echo "Installing what benchmarks/peers.txt and requirements/build.txt pin ..."
	@$(BENCH_VENV)/bin/python -m pip --disable-pip-version-check install --quiet \
	  -r benchmarks/peers.txt -r requirements/build.txt
	@$(BENCH_VENV)/bin/python -m pip --disable-pip-version-check install --quiet \
	  --no-build-isolation --no-deps --editable .
	@touch $@

$(TORCH): requirements/torch.txt requirements/base.txt requirements/build.txt pyproject.toml
	@$(MAKE) --no-print-directory VENV=$(TORCH_VENV) $(TORCH_VENV)/.made
	@echo "Installing what requirements/torch.txt and requirements/build.txt pin ..."
	@$(TORCH_VENV)/bin/python -m pip --disable-pip-version-check install --quiet \
	  -r requirements/torch.txt -r requirements/build.txt
	@$(TORCH_VENV)/bin/python -m pip --disable-pip-version-check install --quiet \
	  --no-build-isolation --no-deps --editable .
	@touch $@
