# The two main commands: `make run` runs all stages of config.yaml, `make test` runs all checks and tests.
# The environment is .venv. It is created on the first call and updated when a pinned version changes.

CONFIG ?= config.yaml
CORES ?= all
SET ?=
BUMP ?=
PYTHON ?= $(shell command -v python3.11 || command -v python3)

export PATH := $(CURDIR)/.venv/bin:$(PATH)

PIP := .venv/bin/python -m pip install --quiet --quiet --disable-pip-version-check
READY := .venv/.ready
READY_DEV := .venv/.ready-dev

.PHONY: run test test-local test-fast test-slurm lint schema versions bench-simulation help
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

help:
	@echo 'make run        run all stages of CONFIG=$(CONFIG) on CORES=$(CORES); SET="KEY=VALUE ..." sets keys'
	@echo 'make test       check style and types, and run all tests'
	@echo 'make test-local run all tests but those on a SLURM cluster'
	@echo 'make test-fast  run the fast tests (a few seconds each)'
	@echo 'make test-slurm run the tests on a SLURM cluster, started on this machine; as root, SLURM is installed'
	@echo 'make lint       check style and types only'
	@echo 'make schema     write workflow/schemas/config.schema.json from the typed configuration'
	@echo 'make versions   update src/spikelens/versions.json; BUMP="ITEM ..." raises version numbers by hand'
	@echo 'make bench-simulation  benchmark the simulation against Brian2 and NEST, each in its own environment'

run: $(READY)
	@echo '== running all stages of $(CONFIG); if interrupted, run this again to resume (docs/recovery.md)'
	spikelens run $(CONFIG) --cores $(CORES) $(foreach set,$(SET),--set '$(set)')

# the cluster tests mostly wait for SLURM, so they run beside the others; make waits for both if one fails
test: lint
	@$(MAKE) --no-print-directory --jobs=2 test-local test-slurm

test-local: $(READY_DEV)
	pytest -n 2 --dist worksteal --ignore tests/slurm

test-fast: $(READY_DEV)
	pytest -n 2 --dist worksteal --ignore tests/slurm -m 'not slow'

# in one process, because they share one cluster
test-slurm: $(READY_DEV)
	pytest tests/slurm

lint: $(READY_DEV)
	ruff check
	ruff format --check
	mypy
	snakefmt --check Snakefile workflow

schema: $(READY)
	spikelens schema > workflow/schemas/config.schema.json

# existing results stay valid only if they are bit-identical to those of the listed code
versions: $(READY)
	python -m golden.versions $(foreach item,$(BUMP),--bump '$(item)')

bench-simulation: $(READY)
	python -m benchmarks.compare

# torch is installed first, alone: it is by far the largest, and the other packages must use this build
$(READY): envs/requirements.txt pyproject.toml
	@echo '== creating .venv with $(PYTHON); this takes several minutes the first time'
	@test -n '$(PYTHON)' || { echo 'python3 not found; set PYTHON=<path of Python 3.11 or newer>'; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=<its path>")'
	.venv/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	$(PIP) $$(grep '^torch==' envs/requirements.txt)
	$(PIP) -r envs/requirements.txt
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(READY_DEV): envs/requirements-dev.txt $(READY)
	@echo '== installing the tools for tests and style'
	$(PIP) -r envs/requirements-dev.txt
	@touch $@
