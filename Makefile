# Two commands: `make demo` and `make test`. Both make .venv when it is not there, and install nothing twice.
PYTHON ?= python3.11
VENV := .venv
# What is there for the demo, and what is there for the tests, which is more.
STAMP := $(VENV)/.installed
TESTS_STAMP := $(VENV)/.installed-tests
# Apart, for one test: timm imports wandb if it is there, which would cost every process with a model half a second.
TRACKERS := $(VENV)/trackers
# Not compiled ahead: of 29,000 modules a few thousand are ever imported, and Python compiles those as it meets them.
PIP := $(VENV)/bin/pip install --quiet --disable-pip-version-check --no-compile
# Where it is set, as in many containers, each process would compile all that it imports anew: twice the time to start.
unexport PYTHONDONTWRITEBYTECODE
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: demo test test-fast lint install
# They share one .venv: two pips at once would spoil it.
.NOTPARALLEL:

install: $(TESTS_STAMP)

# nvidia-pytriton is only a carrier of the tritonserver binary: its own requirements (numpy<2) are not ours.
$(STAMP): pyproject.toml
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[demo]'
	$(PIP) --no-deps nvidia-pytriton==0.7.0
	touch $@

# What megadetector requires contradicts what Ray Serve does: the extra `megadetector` has the rest. Ultralytics (AGPL) is a
# tool of the tests of its detectors, no part of what is installed with trygon or for the demo.
$(TESTS_STAMP): pyproject.toml
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[dev]'
	$(PIP) --target $(TRACKERS) wandb
	$(PIP) --no-deps nvidia-pytriton==0.7.0 megadetector==10.0.28 ultralytics==8.4.190
	touch $(STAMP) $@

demo: $(STAMP)
	$(VENV)/bin/trygon demo

# These wait much, for servers and for Ray to start. A file stays in one process; files with long tests come first.
test: lint test-fast
	$(VENV)/bin/pytest -n 2 --dist loadfile --no-loadscope-reorder --durations 12 -m 'ray or slow'

test-fast: $(TESTS_STAMP)
	$(VENV)/bin/pytest -n 2 -m 'not ray and not slow'

lint: $(TESTS_STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright
