# Every target sets up what it needs in .venv, from Python >= 3.11 (with venv) and make.
# GNU make 3.81 syntax.

PYTHON := $(shell for p in $$PYTHON python3 python3.14 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null 2>&1 && \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && \
	{ echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet install --constraint tests/constraints.txt
SOURCES := pyproject.toml tests/constraints.txt
# What measures processes against each other has the machine to itself.
LENGTHY := tests/io/test_io_nodes_long.py

# Of each form of the interface.
FUZZ_SECONDS := 60

# The tests start hundreds of processes: none has to compile what another has.
export PYTHONDONTWRITEBYTECODE =

# Two targets at once would install into one environment at the same time.
.NOTPARALLEL:

.PHONY: help demo test test-extra test-long fuzz check bench docs diagrams clean

help:
	@echo "make demo        a network of real nodes forms on loopback, and survives a kill"
	@echo "make test        the test suite"
	@echo "make test-extra  the suite again: lowest versions, other Pythons"
	@echo "make test-long   what tests scale down, in full: minutes, on a quiet machine"
	@echo "make fuzz        requests made from the admin interface's description, for 2 minutes"
	@echo "make check       lint, types, import contracts, diagrams, docs, packages"
	@echo "make bench       benchmarks against their yardsticks"
	@echo "make docs        the documentation, in docs/_build/html"
	@echo "make diagrams    draw the state machines anew"
	@echo "make clean       remove what the others have made"

demo: $(VENV)/node
	@$(BIN)/tezos-p2p sandbox

test: $(VENV)/test
	$(BIN)/python -m pytest $(LENGTHY)
	$(BIN)/python -m pytest --cov --cov-report=term -n 2 --dist loadfile \
		--no-loadscope-reorder --max-worker-restart 0 $(LENGTHY:%=--ignore %)

test-extra: $(VENV)/test
	$(BIN)/python tests/extra/run.py

test-long: $(VENV)/test
	TEZOS_P2P_LONG=1 $(BIN)/python -m pytest -n 0 -o timeout=1200 \
		tests/io/test_io_nodes_long.py tests/io/test_io_record_daemon.py \
		tests/io/test_io_interrupts.py tests/fsm/test_fsm_pool_model.py tests/explore

fuzz: .venvs/fuzz/done
	TEZOS_P2P_FUZZ_SECONDS=$(FUZZ_SECONDS) .venvs/fuzz/bin/python -m pytest -n 0 \
		tests/io/test_io_admin_fuzz.py

check: $(VENV)/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy --strict tests/fsm/typed_application.py
	$(BIN)/pyright --pythonpath $(BIN)/python
	PYTHONPATH=tests/pkgview $(BIN)/lint-imports --no-logo
	$(BIN)/python -m tezos_p2p.fsm.diagram --output diagrams --check
	$(BIN)/python -m sphinx -q -W -n --keep-going -j 2 -b dummy docs docs/_build/dummy
	$(BIN)/python -m pytest tests/docs tests/test_house.py tests/fsm/test_fsm_diagram.py
	$(BIN)/python tests/extra/package.py

bench: $(VENV)/test
	$(BIN)/python -m pytest tests/benchmarks --benchmark-enable -s

docs: $(VENV)/dev
	$(BIN)/python -m sphinx -q -W -n --keep-going -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

diagrams: $(VENV)/dev
	$(BIN)/python -m tezos_p2p.fsm.diagram --output diagrams

clean:
	rm -rf $(VENV) .venvs build dist *.egg-info docs/_build docs/reference .coverage \
		.pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/python:
	@test -n "$(PYTHON)" || { \
		echo "Python 3.11 or newer is needed: apt-get install python3 python3-venv" >&2; \
		exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "Python's venv is needed: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/node: $(VENV)/python $(SOURCES)
	$(PIP) --editable '.[node]'
	@touch $@

$(VENV)/test: $(VENV)/python $(SOURCES)
	$(PIP) --editable '.[test]'
	@touch $@ $(VENV)/node

# Its libraries are many, and nobody else's business.
.venvs/fuzz/done: $(VENV)/python $(SOURCES)
	$(BIN)/python -m venv .venvs/fuzz
	.venvs/fuzz/bin/pip --disable-pip-version-check --quiet install \
		--constraint tests/constraints.txt --editable '.[test,fuzz]'
	@touch $@

$(VENV)/dev: $(VENV)/python $(SOURCES)
	$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/test $(VENV)/node
