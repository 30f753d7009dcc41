# Each target calls run.py, which sets up a virtual environment once (.venv, or the folder in VENV) and does the work
# with it. On a fresh machine only python3 (3.11 or newer) with pip, and make are needed.
PYTHON ?= python3
TASKS = setup demo music-demo test test-all lint docs benchmarks-quick clean

.PHONY: help $(TASKS)

help:
	@"$(PYTHON)" run.py --help

$(TASKS):
	@"$(PYTHON)" run.py $@
