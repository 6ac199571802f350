# Two commands, each of which first makes its own virtual environment, once:
#
#   make train   runs the main job on the embedded images
#   make test    runs the tests
#
#   make train PYTHON=python3.12 ARGS="--epochs=1"
#   make test TEST_ARGS="tests/keras_resnet -n 0"

PYTHON ?= python3
ARGS ?=
TEST_ARGS ?=

.PHONY: train test lint types format

train: .venv-run/installed
	.venv-run/bin/python -m pipelines.train_imagenet --output_dir=runs/demo $(ARGS)

test: .venv-test/installed
	.venv-test/bin/python -m pytest $(TEST_ARGS)

lint: .venv-test/installed
	.venv-test/bin/ruff check
	.venv-test/bin/ruff format --check

types: .venv-test/installed
	.venv-test/bin/mypy

format: .venv-test/installed
	.venv-test/bin/ruff check --fix
	.venv-test/bin/ruff format

.venv-run/installed: package = .
.venv-test/installed: package = .[dev]

# The environment is made anew when its pins change: nothing of the old ones stays.
.venv-run/installed .venv-test/installed: setup.py pyproject.toml light/pyproject.toml \
  constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	  2>/dev/null || { echo "'$(PYTHON)' does not start a Python 3.11, 3.12 or 3.13:" \
	  "name one that does, for example: make $(or $(MAKECMDGOALS),train)" \
	  "PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "'$(PYTHON)' cannot make" \
	  "virtual environments: install its venv module, on Debian and Ubuntu with:" \
	  "apt install python3-venv" >&2; exit 1; }
	@echo "Installing into $(@D), once: this takes a few minutes."
	@$(PYTHON) -m venv --clear $(@D)
	@$(@D)/bin/python -m pip --disable-pip-version-check --quiet \
	  install -c constraints.txt -e '$(package)'
	@touch $@
