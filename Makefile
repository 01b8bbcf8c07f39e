# Two commands: make demo, make test. Both make a virtual environment in .venv first, from pinned versions.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint configs results schema clean

demo: .venv/run.stamp
	$(BIN)/jaxcalc run configs/quickstart.yaml $(ARGS)

test: .venv/test.stamp
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: .venv/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

# Every config and every question that no config asks, one after the other; what an earlier call finished is not run
# again. One that fails does not keep the others from running; what needs an extra that is not there is told and passed
# over.
configs: .venv/run.stamp
	@failed=0; for config in $$($(BIN)/jaxcalc list --runnable); do echo "== $$config"; \
	  $(BIN)/jaxcalc run $$config $(ARGS) || { code=$$?; [ $$code -eq 3 ] || failed=1; [ $$code -ne 130 ] || exit 130; }; \
	done; exit $$failed

# Pages with every figure, from the runs there are, into results/.
results: .venv/run.stamp
	$(BIN)/python docs/collect.py runs

schema: .venv/run.stamp
	$(BIN)/jaxcalc schema

clean:
	rm -rf .venv runs

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/run.stamp: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) --editable .
	@touch $@

.venv/test.stamp: pyproject.toml constraints.txt .venv/run.stamp
	$(PIP) --editable '.[test]'
	@touch $@
