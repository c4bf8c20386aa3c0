# One line per thing to do here; `make` or `make help` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# The request that `make run` answers, and where it puts the answer.
EXAMPLE ?= --image demos/cat.png --audio demos/drum.flac "Draw what you hear and let me hear what you see."
FILM ?= --video demos/dog.mp4 "Now let it become night."
ANSWER ?= answer
RECIPE ?= nano
DIRS := $(wildcard anygen tests demos benchmarks tools)

.PHONY: help run demo test check format nano bench release clean

help:  ## list what can be made
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

run: $(VENV)/run.stamp  ## install, and answer a picture, a sound and a film with the bundled model
	@$(BIN)/anygen generate $(EXAMPLE) --output $(ANSWER)
	@$(BIN)/anygen generate $(FILM) --output $(ANSWER)/film
	@echo "The answers are in $(ANSWER)/ - open $(ANSWER)/answer.html and $(ANSWER)/film/answer.html"

demo: $(VENV)/demo.stamp  ## install, and open the web demo
	@$(BIN)/anygen demo

test: $(VENV)/test.stamp  ## install the test extra, and run the tests
	@HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(PYTEST)

check: $(VENV)/test.stamp  ## lint, format check and types
	$(BIN)/ruff check $(DIRS)
	$(BIN)/ruff format --check $(DIRS)
	$(BIN)/mypy $(wildcard anygen tests demos)

format: $(VENV)/test.stamp  ## format, and mend what the linter can mend
	$(BIN)/ruff format $(DIRS)
	$(BIN)/ruff check --fix $(DIRS)

nano: $(VENV)/train.stamp  ## train the bundled model again from nothing; goes on where it was stopped
	$(BIN)/anygen train $(RECIPE) --output runs/$(RECIPE) --resume

bench: $(VENV)/test.stamp  ## measure speed
	$(BIN)/anygen bench

release: $(VENV)/test.stamp  ## measure the bundled model, and write what is published of it
	$(BIN)/python tools/release.py

clean:  ## remove the environment and what was built
	rm -rf $(VENV) build dist *.egg-info runs $(ANSWER)

$(VENV)/venv.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "AnyGen needs Python 3.11 or newer, this is %d.%d: make PYTHON=python3.11 ..." % sys.version_info[:2])'
	@echo "Making $(VENV) (the first time takes a few minutes)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

# One stamp per set of extras, so that a second `make` starts at once.
$(VENV)/run.stamp: $(VENV)/venv.stamp pyproject.toml constraints.txt
	@$(PIP) --editable .
	@touch $@

$(VENV)/%.stamp: $(VENV)/venv.stamp pyproject.toml constraints.txt
	@$(PIP) --editable '.[$*]'
	@touch $@ $(VENV)/run.stamp
