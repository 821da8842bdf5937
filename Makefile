PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test slow check bench docs clean

# One environment serves all targets; each is installed once, and again when pyproject.toml changes.
$(VENV)/installed-%: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .$(if $(filter run,$*),,[$*])
	touch $@

demo: $(VENV)/installed-run
	$(BIN)/backgrad audit spambase --profile quick --limit 0.2 --at 0.05 --out demo || \
	  case $$? in 1|3) ;; *) exit 1 ;; esac  # an answer of the gate is no failure of the demo

test: $(VENV)/installed-test
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

slow: $(VENV)/installed-test
	$(BIN)/python -m pytest -m slow

check: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

bench: $(VENV)/installed-bench
	$(BIN)/python -m benchmarks

docs: $(VENV)/installed-docs
	$(BIN)/sphinx-build --fail-on-warning --quiet docs build/docs

clean:
	rm -rf $(VENV) demo dist build
