# Two commands: `make demo` and `make test`. Both make .venv when it is not there, and install nothing twice.
PYTHON ?= python3.11
VENV := .venv
STAMP := $(VENV)/.installed
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: demo test test-fast lint install
install: $(STAMP)

# nvidia-pytriton is only a carrier of the tritonserver binary: its own requirements (numpy<2) are not ours.
# What megadetector requires contradicts what Ray Serve does: the extra `megadetector` has the rest. Ultralytics (AGPL) is a
# tool of the tests of its detectors, no part of what is installed with trygon.
$(STAMP): pyproject.toml
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -e '.[demo,dev]'
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps nvidia-pytriton==0.7.0 \
		megadetector==10.0.28 ultralytics==8.4.190
	touch $@

demo: $(STAMP)
	$(VENV)/bin/trygon demo

# These wait much, for servers and for Ray to start. A file stays in one process; files with long tests come first.
test: lint test-fast
	$(VENV)/bin/pytest -n 2 --dist loadfile --no-loadscope-reorder --durations 12 -m 'ray or slow'

test-fast: $(STAMP)
	$(VENV)/bin/pytest -n 2 -m 'not ray and not slow'

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright
