# Two commands: make demo, make test. Both make a virtual environment first, from pinned versions: in .venv, or for another
# Python (make test PYTHON=python3.13) in a folder of its own, .venv-3.13.
PYTHON ?= python3
ifeq ($(PYTHON),python3)
VENV := .venv
else
VENV := .venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
endif
BIN := $(VENV)/bin
# No jax after 0.10 installs on Python 3.11; newer Pythons get the newest. The environment is asked, for it may be older
# than what $(PYTHON) is now.
PINNED = constraints$$($(BIN)/python -c 'import sys; print("-next" if sys.version_info >= (3, 12) else "")').txt
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(PINNED)

.PHONY: demo test lint venv configs results schema clean

demo: $(VENV)/run.stamp
	$(BIN)/jaxcalc run configs/quickstart.yaml $(ARGS)

test: $(VENV)/test.stamp
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

# What the tests need, and no more.
venv: $(VENV)/test.stamp

# Every config and every question that no config asks, one after the other; what an earlier call finished is not run
# again. One that fails does not keep the others from running; what needs an extra that is not there is told and passed
# over.
configs: $(VENV)/run.stamp
	@failed=0; for config in $$($(BIN)/jaxcalc list --runnable); do echo "== $$config"; \
	  $(BIN)/jaxcalc run $$config $(ARGS) || { code=$$?; [ $$code -eq 3 ] || failed=1; [ $$code -ne 130 ] || exit 130; }; \
	done; exit $$failed

# Pages with every figure, from the runs there are, into results/.
results: $(VENV)/run.stamp
	$(BIN)/python docs/collect.py runs

schema: $(VENV)/run.stamp
	$(BIN)/jaxcalc schema

clean:
	rm -rf .venv .venv-* runs

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: pyproject.toml constraints.txt constraints-next.txt | $(BIN)/python
	$(PIP) --editable .
	@touch $@

$(VENV)/test.stamp: pyproject.toml constraints.txt constraints-next.txt $(VENV)/run.stamp
	$(PIP) --editable '.[test]'
	@touch $@
