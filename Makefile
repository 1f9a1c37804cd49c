# Two commands are enough on a fresh machine: `make demo` and `make test`. Each makes its own virtual environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Peers pin older versions of what we use, so benchmarks get an environment of their own.
BENCH := .venv-bench
DATA ?=

.PHONY: demo test lint types contracts format docs bench check studio clean

demo: $(VENV)/.demo
	$(BIN)/sartor demo $(if $(DATA),--data $(DATA),) --out demo-out

test: $(VENV)/.dev
	$(BIN)/python -m pytest

lint: $(VENV)/.dev types contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.dev
	$(BIN)/mypy

contracts: $(VENV)/.dev
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/.dev
	$(BIN)/python -m sartor.cli.tables README.md docs

check: $(VENV)/.dev
	$(BIN)/sartor check --all

bench: $(BENCH)/.bench
	$(BENCH)/bin/sartor bench --all

# Only to change the studio, and the one thing here that needs Node (20.19 or newer): its built files are in the repository.
studio:
	cd studio && npm ci --no-audit --no-fund && npm run build

$(VENV)/.pip:
	$(PYTHON) -c 'import sys; sys.exit("sartor needs Python 3.11 or newer; this is %d.%d" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	touch $@

# The CPU build of torch is asked for by exact version first, so that nothing else pulls in another build.
$(VENV)/.demo: $(VENV)/.pip pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt "torch==$$(sed -n 's/^torch==//p' constraints.txt)"
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[all]'
	touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

$(BENCH)/.bench: pyproject.toml
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --upgrade pip
	$(BENCH)/bin/python -m pip install --quiet "torch==$$(sed -n 's/^torch==//p' constraints.txt)"
	$(BENCH)/bin/python -m pip install --quiet -e '.[bench]'
	touch $@

clean:
	rm -rf $(VENV) $(BENCH) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache demo-out
