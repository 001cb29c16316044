# Everything runs in .venv; `make demo` and `make test` need only python3.11, pip, gcc and node beforehand.
PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest -q
# Real ones, unpacked into .cache; nothing is installed.
EDITORS := .cache/nvim/nvim .cache/nvim-0.11/nvim .cache/emacs/emacs .cache/helix/hx .cache/vim/vim
report = $(if $(REPORTS),--junitxml=$(REPORTS)/$(1).xml)
# Without an NVIDIA GPU a CPU build does; where pip's index has one of this version it is taken.
TORCH ?= $(if $(shell command -v nvidia-smi),torch,torch==2.13.0)

.PHONY: demo test lint eval-embedded test-editors soak clean
.DELETE_ON_ERROR:

# On a socket of its own: the daemon of your editors is left alone.
demo: .venv/engine
	$(BIN)/cl-lsp complete examples/inventory.py --line 28 --column 24 --uds .venv/demo.sock
	$(BIN)/cl-lsp status --uds .venv/demo.sock
	$(BIN)/cl-lsp stop --uds .venv/demo.sock

# What compares times runs by itself, behind all else. REPORTS, a folder, gets JUnit's reports.
test: lint
	$(PYTEST) -n auto --dist loadfile -m 'not (alone or editor or soak)' $(call report,test)
	$(PYTEST) -m alone $(call report,alone)

lint: .venv/dev
	$(BIN)/ruff check -q .
	$(BIN)/ruff format -q --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/pyright

soak: .venv/dev
	$(PYTEST) -m soak --timeout 3600

eval-embedded: .venv/engine
	$(BIN)/python engine/eval_embedded.py

test-editors: .venv/dev $(EDITORS)
	$(PYTEST) -m editor $(call report,editor)

.cache/nvim/nvim .cache/emacs/emacs .cache/helix/hx .cache/vim/vim: .cache/%: tests/e2e/unpack-debian.sh
	tests/e2e/get-$(*D).sh .cache/$(*D)

.cache/nvim-0.11/nvim: tests/e2e/get-nvim-0.11.sh .venv/bin/python
	PYTHON=$(BIN)/python tests/e2e/get-nvim-0.11.sh .cache/nvim-0.11

# The Neovim plugin, for a release.
dist/cl-lsp.nvim.tar.gz: editors/nvim/package.sh $(shell find editors/nvim -type f)
	mkdir -p dist && editors/nvim/package.sh $@

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("cl-lsp needs Python 3.11 or newer: make PYTHON=…" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv

.venv/engine: .venv/bin/python pyproject.toml
	@echo "installing PyTorch and the rest into .venv: some minutes the first time"
	$(BIN)/pip install -q --disable-pip-version-check $(TORCH)
	$(BIN)/pip install -q --disable-pip-version-check -e '.[engine]'
	touch $@

.venv/dev: .venv/engine
	$(BIN)/pip install -q --disable-pip-version-check -e '.[engine,dev]'
	touch $@

clean:
	rm -rf .venv .cache .pytest_cache .ruff_cache
