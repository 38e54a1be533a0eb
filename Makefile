# Two commands matter: `make run` takes config.yaml from wiring to report, `make test` says whether all is well.
# The environment is .venv. It is made on the first call, and again when a pin changes.

CONFIG ?= config.yaml
CORES ?= all
SET ?=
BUMP ?=
PYTHON ?= $(shell command -v python3.11 || command -v python3)

export PATH := $(CURDIR)/.venv/bin:$(PATH)

PIP := .venv/bin/python -m pip install --quiet --quiet --disable-pip-version-check
READY := .venv/.ready
READY_DEV := .venv/.ready-dev

.PHONY: run test test-fast test-slurm lint schema versions bench-simulation help
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

help:
	@echo 'make run        all stages of CONFIG=$(CONFIG) on CORES=$(CORES), then the report; SET="KEY=VALUE ..." sets keys'
	@echo 'make test       style, types and every test'
	@echo 'make test-fast  the tests of a few seconds each'
	@echo 'make test-slurm the tests on a SLURM cluster, which they start on this machine; as root, installing it where it is missing'
	@echo 'make lint       style and types alone'
	@echo 'make schema     write workflow/schemas/config.schema.json from the typed configuration'
	@echo 'make versions   bring src/spikelens/versions.json up to date with the code; BUMP="ITEM ..." raises numbers by hand'
	@echo 'make bench-simulation  our simulation beside Brian2 and NEST, which are set up in environments of their own'

run: $(READY)
	@echo '== all stages of $(CONFIG), then the report; to go on after an interruption, run this again (docs/recovery.md)'
	spikelens run $(CONFIG) --cores $(CORES) $(foreach set,$(SET),--set '$(set)')

# the cluster's tests come last, also under make -j: others beside them would take its cores
test: lint
	pytest -n 2 --dist worksteal --ignore tests/slurm
	@$(MAKE) --no-print-directory test-slurm

test-fast: $(READY_DEV)
	pytest -n 2 --dist worksteal --ignore tests/slurm -m 'not slow'

# all in one process: they share one cluster
test-slurm: $(READY_DEV)
	pytest tests/slurm

lint: $(READY_DEV)
	ruff check
	ruff format --check
	mypy
	snakefmt --check Snakefile workflow

schema: $(READY)
	spikelens schema > workflow/schemas/config.schema.json

# which of the results still are those of the listed code decides whether they are found again
versions: $(READY)
	python -m golden.versions $(foreach item,$(BUMP),--bump '$(item)')

bench-simulation: $(READY)
	python -m benchmarks.compare

# torch goes in first, alone: it is by far the largest, and everything else must take the build that is there
$(READY): envs/requirements.txt pyproject.toml
	@echo '== setting up .venv with $(PYTHON): several minutes the first time'
	@test -n '$(PYTHON)' || { echo 'no python3 found; set PYTHON=<path of Python 3.11 or newer>'; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=<its path>")'
	.venv/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	$(PIP) $$(grep '^torch==' envs/requirements.txt)
	$(PIP) -r envs/requirements.txt
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(READY_DEV): envs/requirements-dev.txt $(READY)
	@echo '== adding the tools for tests and style'
	$(PIP) -r envs/requirements-dev.txt
	@touch $@
