# Two commands are enough:   make demo   trains a network on real data;   make test   runs the tests.
# The environment is .venv; it is made once, and again only when what it depends on changes.
# Another Python: make PYTHON=python3.13 demo. A torch already installed in .venv is kept (see "Install" in README.md).

SHELL := /bin/bash
.SHELLFLAGS := -e -u -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test test-slow check format catalogue benchmark clean
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PYTHON ?= python3
CATALOGUES := $(wildcard src/pellucid/locale/*/LC_MESSAGES/*.po)
MARKDOWN_ZH := $(wildcard *.zh-CN.md docs/*.zh-CN.md docs/*/*.zh-CN.md)
CHECKED := src tests tools examples benchmarks hatch_build.py
TEST_SECONDS := 300
# A test that ends early leaves its core to the other's tests.
PARALLEL := -n 2 --dist worksteal
# What a dependency group of pyproject.toml asks for; read here because pip knows groups only from 25.1 on.
GROUP = $(BIN)/python -c 'import sys, tomllib; groups = tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]; \
        print(*(line for name in sys.argv[1:] for line in groups[name]), sep="\n")'

help:
	@echo "make demo       install into .venv and train a network on the digits"
	@echo "make test       the tests, $(TEST_SECONDS) s at most"
	@echo "make test-slow  the tests that take longer"
	@echo "make check      lint, format, types, layers, catalogue, documents"
	@echo "make format     put the source into its one format"
	@echo "make catalogue  bring the Chinese catalogue up to date and list what is not translated"
	@echo "make benchmark  measure what the README's table states"
	@echo "make clean      remove .venv and what the tools left"

demo: $(VENV)/.installed $(VENV)/.catalogues
	@$(BIN)/pellucid fit digits
	@run=$$(ls -td runs/digits-*/ | head -n 1); run=$${run%/}; echo; $(BIN)/pellucid derive "$$run" --output "$$run/derivation.html"
	@echo; echo "This was:  $(BIN)/pellucid fit digits      Your own data:  $(BIN)/pellucid fit FILE.csv --target COLUMN"

test: $(VENV)/.developer $(VENV)/.catalogues
	@start=$$SECONDS; $(BIN)/python -m pytest $(PARALLEL) --durations=10; seconds=$$((SECONDS - start)); \
	if (( seconds > $(TEST_SECONDS) )); then \
	  echo "the tests took $$seconds s; they may take $(TEST_SECONDS) s (the ten slowest stand above)" >&2; exit 1; \
	fi

test-slow: $(VENV)/.frameworks $(VENV)/.catalogues
	@$(BIN)/python -m pytest -m slow --durations=10 --timeout=1200

check: $(VENV)/.developer $(VENV)/.catalogues
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python tools/catalogue.py check
	$(BIN)/python tools/readme_pair.py
	$(BIN)/python tools/chinese_prose.py $(MARKDOWN_ZH)
	$(BIN)/python tools/course_tables.py check
	$(BIN)/python tools/repository_rules.py

format: $(VENV)/.developer
	$(BIN)/ruff check --fix $(CHECKED)
	$(BIN)/ruff format $(CHECKED)

catalogue: $(VENV)/.developer
	$(BIN)/python tools/catalogue.py update
	$(BIN)/python tools/catalogue.py missing

# All of them, whatever one of them misses; what was missed is named at the end.
benchmark: $(VENV)/.frameworks $(VENV)/.catalogues
	@missed=""; for script in $$(grep -l __main__ benchmarks/*.py); do \
	  echo "== $$script"; $(BIN)/python "$$script" || missed="$$missed $$script"; \
	done; \
	if [[ -n $$missed ]]; then echo "these missed an aim or failed:$$missed" >&2; exit 1; fi

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests tools examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# The first Python between 3.11 and 3.14 that can make an environment; $(PYTHON) is asked first.
$(VENV)/.created:
	@for python in "$(PYTHON)" python3.13 python3.12 python3.11 python3.14 ""; do \
	  if [[ -z $$python ]]; then echo "no Python from 3.11 to 3.14 with venv was found: install one, or name it: make PYTHON=/path/to/python demo" >&2; exit 1; fi; \
	  if "$$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; then break; fi; \
	done; \
	[[ -x $(BIN)/python ]] || { echo "making $(VENV) with $$python"; "$$python" -m venv $(VENV); }
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml constraints.txt hatch_build.py
	@echo "installing Pellucid and its libraries into $(VENV)"
	@$(PIP) install --quiet --constraint constraints.txt --editable .
	@touch $@ $(VENV)/.catalogues

$(VENV)/.developer: $(VENV)/.installed
	@$(GROUP) test check > $(VENV)/developer-requirements.txt
	@$(PIP) install --quiet --constraint constraints.txt --requirement $(VENV)/developer-requirements.txt
	@touch $@

# Lightning, skorch, transformers, Keras: their loops are watched in the slow tests. Captum and shap: their attributions stand beside ours.
$(VENV)/.frameworks: $(VENV)/.developer
	@$(GROUP) frameworks oracles > $(VENV)/frameworks-requirements.txt
	@$(PIP) install --quiet --constraint constraints.txt --requirement $(VENV)/frameworks-requirements.txt
	@touch $@

# Sentences changed since the installation: compile them again, with Babel where it is there, else by installing again.
$(VENV)/.catalogues: $(VENV)/.installed $(CATALOGUES)
	@$(BIN)/python tools/catalogue.py compile 2>/dev/null || $(PIP) install --quiet --no-deps --editable .
	@touch $@
