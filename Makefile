# Two commands do everything on a machine with Python 3.11 and make: `make all`, `make test`.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The first Python on the path that is new enough.
PYTHON ?= $(shell for p in python3.11 python3 python; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
# Written last, so a broken install is tried again; newer inputs make it out of date.
VENV := .venv/.installed
HTML := _build/html
NOTEBOOKS = $(wildcard book/*.ipynb)
# Carries nothing of the machine that last ran a notebook.
NBSTRIPOUT := $(BIN)/nbstripout --extra-keys metadata.language_info

.PHONY: help all test book lab results lint format check clean

help: ## show this list
	@echo "make all and make test do everything; PYTHON=/path/to/python3.11 names the Python to use."
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

all: $(VENV) ## install, run the smoke profile, build the book, say where it is
	$(BIN)/python -m genbench.run all --profile smoke --jobs 2
	@$(MAKE) --no-print-directory book

test: $(VENV) ## install if need be, run the whole test suite
	$(BIN)/python -m pytest -n auto

book: $(VENV) ## build the book from clean, every chapter executed, warnings as errors
	$(BIN)/python tools/vendor_js.py
	rm -rf _build
	$(BIN)/jupyter-book build . --all -W -n --keep-going
	@echo "The book is at $(CURDIR)/$(HTML)/index.html"

lab: $(VENV) ## open the chapters in JupyterLab
	$(BIN)/jupyter lab --notebook-dir=book

results: $(VENV) ## run every suite at the scale that this machine can carry (hours, resumable)
	$(BIN)/python -m genbench.run all

lint: $(VENV) ## style, types, notebooks without outputs, no typed numbers in prose
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(NBSTRIPOUT) --verify $(NOTEBOOKS)
	$(BIN)/python tools/check_prose.py

format: $(VENV) ## mend what lint can mend by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(NBSTRIPOUT) $(NOTEBOOKS)

check: $(VENV) ## check the built book: links, pages in Chromium with no network, chapters by themselves
	$(BIN)/python tools/check_links.py $(HTML)
	$(BIN)/python tools/check_pages.py $(HTML) --shots _build/screenshots
	cd book && printf "%s\n" $(notdir $(NOTEBOOKS)) | xargs -I {} -P 2 sh -c \
	  '../$(BIN)/jupyter execute --timeout=120 {} || { echo "FAILED: {}" >&2; exit 1; }'

clean: ## remove what these commands made, except .venv
	rm -rf _build node_modules book/_static/vendor results/smoke *.egg-info
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV): pyproject.toml constraints.txt
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "genbench needs Python 3.11 or newer: install it, or name it with PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo "Installing into .venv (minutes the first time)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[book,dev,music,text]'
	@touch $@
