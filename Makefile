# Two environments: .venv-serve holds the base install, which is all that serving needs; .venv holds
# everything, for training, export and the tests, and the client, which is a distribution of its own.
# Versions and hashes of both are those of constraints.txt.

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
BUNDLE ?= bundles/cifar10-ksom-512
DEVICE ?=

TARGET ?= cpu
ENGINE ?= docker
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' kohonen_tokenizer/__init__.py)

UV := .uv/bin/uv
RUN := .venv/bin/
# Without DEVICE each command has its own default: to serve, auto; to train, cpu.
ON_DEVICE = $(if $(DEVICE),--device $(DEVICE))
INSTALL = $(UV) pip install --quiet --constraints constraints.txt --build-constraints constraints.txt

.DEFAULT_GOAL := help
.PHONY: help serve image test test-ray test-containers fuzz fuzz-api audit secrets release-check check format benchmark bundle constraints clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: .venv-serve/.ready ## Serve BUNDLE on HOST:PORT (127.0.0.1:8000)
	.venv-serve/bin/kohonen-tokenizer serve --bundle $(BUNDLE) --host $(HOST) --port $(PORT) $(ON_DEVICE)

test: check ## Every check and every test
	$(RUN)pytest
	$(MAKE) --no-print-directory test-ray

test-ray: .venv/.ready ## The tests that start a Ray cluster on this machine
	$(RUN)pytest -m ray tests/batch/test_ray_engine.py tests/service/test_ray_deployment.py

image: ## Build the container image TARGET (cpu; or gpu, torch, train, batch) with ENGINE (docker)
	$(ENGINE) build --target $(TARGET) --tag kohonen-tokenizer:$(TARGET) $(ENGINE_BUILD) \
	  --build-arg VERSION=$(VERSION) --build-arg REVISION=$(shell git rev-parse HEAD) .

test-containers: .venv/.ready ## Build the images and try the compose file (ENGINE=docker, COMPOSE="docker compose", STAND_INS=1)
	$(RUN)pytest -m containers --capture=no --verbose tests/containers

fuzz: .venv/.ready ## Every reader of strangers' bytes, guided by coverage (ARGS="--minutes 60", or names of targets)
	$(INSTALL) --python .venv --editable '.[fuzz]'
	$(RUN)python -m tests.fuzz $(ARGS)

fuzz-api: .venv/.ready ## Calls made up from the OpenAPI document, EXAMPLES (200) of each and others every time
	FUZZ_EXAMPLES=$(or $(EXAMPLES),200) $(RUN)pytest --capture=no tests/service/http/test_schemathesis.py

audit: .venv/.ready ## Known vulnerabilities of the packages in constraints.txt, as pypi.org tells
	$(RUN)python release/audit.py

secrets: .venv/.ready ## Look for keys and passwords in the files that git has
	git ls-files -z | xargs -0 $(RUN)detect-secrets-hook --no-verify --baseline .secrets.baseline

release-check: $(UV) ## Build HEAD from a clean clone, install both distributions alone, and use them
	$(PYTHON) release/check.py $(UV)

check: .venv/.ready .venv-serve/.ready ## Format, lint, types and the direction of imports
	$(RUN)ruff format --check --quiet .
	$(RUN)ruff check --quiet .
	$(RUN)mypy
	$(RUN)lint-imports --no-logo

format: .venv/.ready ## Rewrite the code in the project's format
	$(RUN)ruff format .
	$(RUN)ruff check --fix .

benchmark: .venv/.ready ## The service beside its in-process ceiling and its peers (needs wrk; ARGS=--quick for a look)
	$(RUN)python -m benchmarks.service $(ARGS)

bundle: .venv/.ready ## Train, evaluate and export the shipped bundle and its twin from DATA (hours on a CPU)
	@test -n "$(DATA)" || { echo "error: DATA is not set; name a folder with train/ and test/ images: make bundle DATA=..."; exit 2; }
	for model in ksom ema; do \
	  $(RUN)kohonen-tokenizer train cifar10-jpeg-$$model --data $(DATA) --out runs/$$model $(ON_DEVICE) && \
	  $(RUN)kohonen-tokenizer evaluate runs/$$model --data $(DATA) --json runs/$$model/test.json $(ON_DEVICE) || exit 1; \
	done
	cp runs/ema/test.json bundles/cifar10-ema-512.test.json
	$(RUN)kohonen-tokenizer export runs/ksom $(BUNDLE) --metrics runs/ksom/test.json --data $(DATA) --overwrite

constraints: $(UV) ## Resolve all versions anew into constraints.txt
	printf 'hatchling\nuv\n' | $(UV) pip compile --quiet --upgrade --all-extras --universal --python-version 3.11 \
	  --generate-hashes --no-annotate --no-header --output-file constraints.txt pyproject.toml -
	$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
	  --no-header --output-file benchmarks/constraints.txt benchmarks/requirements.txt

clean: ## Remove the environments and caches, but no runs and no bundles
	rm -rf .uv .venv .venv-serve benchmarks/.venv-peers .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

$(UV): constraints.txt
	$(PYTHON) -m venv .uv
	sed -n '/^uv==/,/[^\\]$$/p' constraints.txt > .uv/requirements.txt
	.uv/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement .uv/requirements.txt
	@touch $@

.venv-serve/.ready: pyproject.toml constraints.txt $(UV)
	$(UV) venv --quiet --clear --python $(PYTHON) .venv-serve
	$(INSTALL) --python .venv-serve --editable .
	@touch $@

.venv/.ready: pyproject.toml client/pyproject.toml constraints.txt $(UV)
	$(UV) venv --quiet --clear --python $(PYTHON) .venv
	$(INSTALL) --python .venv --editable '.[dev]' --editable client
	@touch $@
