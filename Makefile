# Two commands do everything: `make demo` and `make test`. Both set up what they need in .venv.
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
DEPLOY := .venv-deploy
DEMO   ?= demo

# A test process that dies (CASA aborts when the disk is full) ends the run: pytest-xdist 3.8 would wait for it forever.
BOTH_CORES := -n 2 --dist loadgroup --max-worker-restart 0

.PHONY: demo test test-chaos test-containers test-k8s lint bench bench-derived bench-transfer schemas lock clean help

help:            ## what can be made
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

demo: $(READY)   ## NGC 5921 from visibilities to maps, in $(DEMO)
	$(BIN)/fringeflow demo $(DEMO)

test: $(READY) lint  ## linters, types, layers, and every test
	$(BIN)/pytest $(BOTH_CORES) $(PYTEST)

test-chaos: $(READY)  ## twenty disasters in the midst of a distributed run; prints figures
	$(BIN)/pytest -m chaos -s tests/distributed tests/intake $(PYTEST)

test-containers: $(READY) $(DEPLOY)/.ready  ## builds the images, brings up the compose file, makes maps in it
	$(BIN)/pytest -m containers tests/containers $(PYTEST)

test-k8s: $(READY) $(DEPLOY)/.ready  ## checks every manifest and runs a service with podman kube play
	$(BIN)/pytest -m kubernetes tests/k8s $(PYTEST)

lint: $(READY)   ## ruff, mypy --strict, the import linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY) bench-derived  ## time and memory of the main job and of the derived stage; prints figures
	$(BIN)/python benchmarks/main_job.py

bench-transfer: $(READY)  ## a measurement set of 1 GB up and down, against one object of its size, on a private S3 server
	$(BIN)/python benchmarks/transfer.py

bench-derived: $(READY)  ## the derived stage on a cube of 200 MB, against reading, convolving and writing alone
	$(BIN)/python benchmarks/derived.py

schemas: $(READY)  ## write docs/schemas again from the message models
	$(BIN)/python -m fringeflow.schemas docs/schemas

lock:            ## resolve requirements.lock again (needs uv)
	python3 tools/lock.py

$(READY): requirements.lock tools/setup.sh shared/pyproject.toml $(wildcard services/*/pyproject.toml)
	sh tools/setup.sh $(VENV)
	@touch $@

$(DEPLOY)/.ready: requirements-deploy.lock $(READY)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(DEPLOY)
	$(BIN)/uv pip install --quiet --python $(DEPLOY)/bin/python --require-hashes -r requirements-deploy.lock
	@touch $@

clean:           ## remove the environment and the demo
	rm -rf $(VENV) $(DEPLOY) $(DEMO)
