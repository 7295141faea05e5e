# Two commands do everything: `make demo` and `make test`. Both set up what they need in .venv.
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
DEMO   ?= demo

.PHONY: demo test lint bench schemas lock clean help

help:            ## what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

demo: $(READY)   ## NGC 5921 from visibilities to maps, in $(DEMO)
	$(BIN)/fringeflow demo $(DEMO)

test: $(READY) lint  ## linters, types, layers, and every test
	$(BIN)/pytest -n 2 --dist loadgroup $(PYTEST)

lint: $(READY)   ## ruff, mypy --strict, the import linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)  ## time and memory of the main job; prints figures
	$(BIN)/python benchmarks/main_job.py

schemas: $(READY)  ## write docs/schemas again from the message models
	$(BIN)/python -m fringeflow.schemas docs/schemas

lock:            ## resolve requirements.lock again (needs uv)
	python3 tools/lock.py

$(READY): requirements.lock tools/setup.sh shared/pyproject.toml $(wildcard services/*/pyproject.toml)
	sh tools/setup.sh $(VENV)
	@touch $@

clean:           ## remove the environment and the demo
	rm -rf $(VENV) $(DEMO)
