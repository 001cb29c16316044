# Everything runs in .venv; `make demo` and `make test` need only python3.11, pip, gcc and node beforehand.
PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest -q
# What failed, once more by itself: times, and windows on a screen, on machines that others use, too.
AGAIN := $(PYTEST) --last-failed --last-failed-no-failures none -m
# Real ones, unpacked into .cache; nothing is installed.
EDITORS := .cache/nvim/nvim .cache/nvim-0.11/nvim .cache/emacs/emacs .cache/helix/hx .cache/vim/vim .cache/vscode/node
VSCODE := editors/vscode
VSIX := dist/cl-lsp-0.1.0.vsix
report = $(if $(REPORTS),--junitxml=$(REPORTS)/$(1).xml)
# Without an NVIDIA GPU a CPU build does; where pip's index has one of this version it is taken.
TORCH ?= $(if $(shell command -v nvidia-smi),torch,torch==2.13.0)

.PHONY: help demo test lint eval-embedded test-editors check-vscode screenshots package soak clean
.DELETE_ON_ERROR:

# On a socket of its own: the daemon of your editors is left alone.
demo: .venv/engine  ## complete a line of a real file, in .venv
	$(BIN)/cl-lsp complete examples/inventory.py --line 28 --column 24 --uds .venv/demo.sock
	$(BIN)/cl-lsp status --uds .venv/demo.sock
	$(BIN)/cl-lsp stop --uds .venv/demo.sock

help:  ## these lines
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

# What compares times runs by itself, behind all else. REPORTS, a folder, gets JUnit's reports.
test: lint  ## check and test everything but real editors
	$(PYTEST) -n auto --dist loadfile -m 'not (alone or editor or soak)' $(call report,test)
	$(PYTEST) -m 'alone and not soak' $(call report,alone) || $(AGAIN) 'alone and not soak'

lint: .venv/dev  ## style, types, import boundaries
	$(BIN)/ruff check -q .
	$(BIN)/ruff format -q --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/pyright

soak: .venv/dev  ## the long forms of the tests
	$(PYTEST) -m soak --timeout 3600

eval-embedded: .venv/engine  ## measure the embedded model
	$(BIN)/python engine/eval_embedded.py

test-editors: .venv/dev $(EDITORS) package check-vscode  ## test with real editors, in .cache
	$(PYTEST) -m editor $(call report,editor) || $(AGAIN) editor

.cache/nvim/nvim .cache/emacs/emacs .cache/helix/hx .cache/vim/vim: .cache/%: tests/e2e/unpack-debian.sh
	tests/e2e/get-$(*D).sh .cache/$(*D)

.cache/nvim/nvim: tests/e2e/get-nvim.sh
.cache/emacs/emacs: tests/e2e/get-emacs.sh
.cache/helix/hx: tests/e2e/get-helix.sh
.cache/vim/vim: tests/e2e/get-vim.sh

.cache/nvim-0.11/nvim: tests/e2e/get-nvim-0.11.sh .venv/bin/python
	PYTHON=$(BIN)/python tests/e2e/get-nvim-0.11.sh .cache/nvim-0.11

# The Neovim plugin, for a release.
dist/cl-lsp.nvim.tar.gz: editors/nvim/package.sh $(shell find editors/nvim -type f)
	mkdir -p dist && editors/nvim/package.sh $@

.cache/vscode/node: tests/e2e/get-vscode.sh
	tests/e2e/get-vscode.sh .cache/vscode

# Types and what is pure of the extension.
check-vscode: $(VSCODE)/node_modules/.package-lock.json  ## types and tests of the extension alone
	cd $(VSCODE) && npm run --silent check && npm run --silent test

# Those of the documents, as the last `make test-editors` took them.
screenshots:  ## take those of the last test-editors into docs/
	cp .cache/artefacts/vscode-ghost.png .cache/artefacts/vscode-chat.png docs/

package: .venv/dev $(VSIX) dist/cl-lsp.nvim.tar.gz  ## what a release consists of, in dist/
	$(BIN)/python -m build --outdir dist .

$(VSIX): $(VSCODE)/node_modules/.package-lock.json $(shell find $(VSCODE) -name node_modules -prune -o -name dist -prune -o -type f -print) LICENSE
	mkdir -p dist && cp LICENSE $(VSCODE)/
	cd $(VSCODE) && npm run --silent package -- -o $(CURDIR)/$@

$(VSCODE)/node_modules/.package-lock.json: $(VSCODE)/package-lock.json
	cd $(VSCODE) && npm ci --no-audit --no-fund --loglevel=error
	touch $@

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

clean:  ## remove .venv, .cache, dist and what was built
	rm -rf .venv .cache .pytest_cache .ruff_cache dist $(VSCODE)/dist $(VSCODE)/node_modules
