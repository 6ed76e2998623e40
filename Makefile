# What a person does here. Everything runs in .venv, made from requirements.lock by the first target that needs it.
#   make serve            serve the example model `digits` on http://127.0.0.1:3000 (PORT=3001 for another port)
#   make test             all tests but the long ones, by two processes (JOBS=1 for one)
#   make test-long        the long ones
#   make check            ruff, mypy and the floors of the house
#   make load             what each sample count costs and buys: tables and a report (ARGS='mine --baseline' for more)
#   make bench            what passes cost: the engine beside the loops and the floor (QUICK=--quick for a short run);
#                         ends with 1 where that became worse. DEVICE=gpu: the laws on a GPU, then the same there
#   make bench-service    what the HTTP path costs and joining requests gains (QUICK=--quick for a short run)
#   make bench-sampling   what a stratified pass is worth, on trained networks
#   make bench-estimators what closed forms over the last masks, and more last masks, are worth
#   make bench-score      row-passes a second of `thinned score`, here and on Ray, beside a loop (ARGS='--models mine')
#   make bench-rivals     LitServe, Ray Serve, MLServer and FastAPI with the same network, beside Thinned (ARGS='--only ray')
#   make zoo              import some 200 models and compare each with Keras: hours (ARGS='--only vision' for a part)
#   make zoo-export       export them as SavedModels, and hold the laws of passes against each file (ARGS as above)
#   make zoo-hub          the same for KerasHub's models, in an environment of their own (.zoo-hub)
#   make faults           attack a service for an hour: slow clients, floods, overload, a soak (ONLY=overload for one)
#   make replicas         two services behind nginx, one killed and one drained under load (needs nginx)
#   make clients          clients by openapi-python-client and openapi-typescript, made and tried (needs npm)
#   make conformance      the Open Inference Protocol by Triton's, KServe's and MLServer's clients and by schemathesis
#   make score-ray        `thinned score` on a Ray cluster of two nodes, one of which is killed (Ray in .score-ray)
#   make format           what ruff can mend by itself
#   make readme           write the answers that a service gives today into README.md
#   make reference        write docs/reference.md from docstrings and --help
#   make docs             a site of all pages, in build/site
#   make lock             write requirements.lock anew from pyproject.toml (UPGRADE=--upgrade for newer versions)
#   make clean            remove .venv and everything else that was made here
# PYTHON=/path/to/python picks the Python that .venv is made with.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCKED := $(VENV)/.locked
STAMP := $(VENV)/.installed
PORT ?= 3000
JOBS ?= 2
UPGRADE ?=
ARGS ?=
QUICK ?=
DEVICE ?=
ONLY ?=
SOAK_MINUTES ?= 30
# The versions that TensorFlow 2.21 has wheels for.
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	if $$p -c '$(FITS)' >/dev/null 2>&1; then echo $$p; break; fi; done)

# Nothing here reports to anyone.
export BENTOML_DO_NOT_TRACK := True

.PHONY: help serve test test-long check format load bench bench-service bench-sampling bench-estimators bench-score zoo zoo-hub faults replicas clients conformance score-ray readme reference docs lock clean zoo-export bench-rivals

help:
	@sed -n 's/^#   //p' Makefile

$(LOCKED): requirements.lock
	@if [ -z "$(PYTHON)" ]; then \
		echo "make: no Python 3.11, 3.12 or 3.13 was found; install one, or name it: make PYTHON=/path/to/python" >&2; exit 1; fi
	@$(PYTHON) -c '$(FITS)' || { \
		echo "make: $(PYTHON) is not Python 3.11, 3.12 or 3.13 (TensorFlow 2.21 needs one of these)" >&2; exit 1; }
	@echo "Making $(VENV) from requirements.lock (once; some minutes, most of it TensorFlow) ..."
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --require-hashes -r requirements.lock
	@touch $@

$(STAMP): $(LOCKED) pyproject.toml
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

serve: $(STAMP)
	@exec $(BIN)/thinned serve --port $(PORT)

test: $(STAMP)
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

test-long: $(STAMP)
	@$(BIN)/python -m pytest -m long

check: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(STAMP)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

load: $(STAMP)
	@exec $(BIN)/thinned load $(ARGS)

bench: $(STAMP)
	@$(if $(filter gpu,$(DEVICE)),$(BIN)/python -m pytest -q tests/models/dropout/test_gpu.py tests/models/dropout/test_laws.py)
	@exec $(BIN)/python -m thinned.loadtest.benchmarks.engine $(if $(DEVICE),--device $(DEVICE)) $(QUICK) $(ARGS)

bench-service: $(STAMP)
	@exec $(BIN)/python -m thinned.loadtest.benchmarks.service $(QUICK)

bench-sampling: $(STAMP)
	@exec $(BIN)/python -m thinned.loadtest.benchmarks.sampling $(QUICK)

bench-estimators: $(STAMP)
	@exec $(BIN)/python -m thinned.loadtest.benchmarks.last_masks $(ARGS)

bench-score: $(STAMP) .score-ray/ray
	@PYTHONPATH=.:.score-ray $(BIN)/python -m thinned.loadtest.benchmarks.scoring $(ARGS)

# The command makes an environment for each rival in .rivals.
bench-rivals: $(STAMP)
	@exec $(BIN)/python -m thinned.loadtest.benchmarks.rivals $(QUICK) $(ARGS)

zoo: $(STAMP)
	@$(BIN)/python -m tests.zoo_run $(ARGS)

zoo-export: $(STAMP)
	@$(BIN)/python -m tests.zoo_run.exported $(ARGS)

# KerasHub and what it imports, beside the locked packages and not among them.
zoo-hub: $(STAMP)
	@test -d .zoo-hub/keras_hub || $(PIP) --no-deps --target .zoo-hub keras-hub tokenizers regex
	@PYTHONPATH=.:.zoo-hub $(BIN)/python -m tests.zoo_run --only hub $(ARGS)

# Schemathesis has dependencies of its own, which are not the locked ones.
.faults/bin/st:
	@$(PYTHON) -m venv .faults
	@.faults/bin/python -m pip install --quiet --disable-pip-version-check schemathesis==4.32.5

# So have the generators of clients.
.clients/node_modules/.bin/tsc:
	@$(PYTHON) -m venv .clients
	@.clients/bin/python -m pip install --quiet --disable-pip-version-check openapi-python-client==0.29.1
	@npm install --silent --no-audit --no-fund --prefix .clients openapi-typescript@7.13.0 typescript@5

clients: $(STAMP) .clients/node_modules/.bin/tsc
	@OPENAPI_CLIENTS=$(CURDIR)/.clients $(BIN)/python -m pytest -rs tests/clients

# So have Triton's, KServe's and MLServer's clients and schemathesis. The protocol's description of itself is one commit of its repository.
PROTOCOL := https://raw.githubusercontent.com/kserve/open-inference-protocol/d49cc23f89d709d87b210ef9449e273ae243984e
.conformance/open_inference_rest.yaml:
	@$(PYTHON) -m venv .conformance
	@.conformance/bin/python -m pip install --quiet --disable-pip-version-check "tritonclient[http,grpc]==2.73.0" schemathesis==4.32.5
	@$(PYTHON) -m venv .conformance/kserve
	@.conformance/kserve/bin/python -m pip install --quiet --disable-pip-version-check kserve==0.21.0
	@$(PYTHON) -m venv .conformance/mlserver
	@.conformance/mlserver/bin/python -m pip install --quiet --disable-pip-version-check mlserver==1.7.1
	@curl --fail --silent --show-error --output $@ $(PROTOCOL)/specification/protocol/open_inference_rest.yaml

conformance: $(STAMP) .conformance/open_inference_rest.yaml
	@PROTOCOL_CLIENTS=$(CURDIR)/.conformance $(BIN)/python -m pytest -rP tests/clients/test_protocol_clients.py

# Ray, and what of its dependencies is not locked, beside the locked packages.
.score-ray/ray: $(LOCKED)
	@$(PIP) --no-deps --upgrade --target .score-ray ray==2.60.0 filelock
	@touch $@

score-ray: $(STAMP) .score-ray/ray
	@PYTHONPATH=.:.score-ray $(BIN)/python -m pytest -rs tests/service/cli/scoring/test_ray.py

faults: $(STAMP) .faults/bin/st
	@$(BIN)/python -m tests.faults --soak-minutes $(SOAK_MINUTES) $(addprefix --only ,$(ONLY)) $(ARGS)

replicas: $(STAMP)
	@$(BIN)/python -m tests.faults --only replicas $(ARGS)

readme: $(STAMP)
	@$(BIN)/python -m tests.write_readme

reference: $(STAMP)
	@$(BIN)/python -m tests.write_reference

# What makes the site has dependencies of its own too.
.docs/bin/mkdocs:
	@$(PYTHON) -m venv .docs
	@.docs/bin/python -m pip install --quiet --disable-pip-version-check mkdocs==1.6.1 mkdocs-material==9.8.2

docs: .docs/bin/mkdocs
	@.docs/bin/python docs/site.py

lock: $(STAMP)
	@$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
		--quiet $(UPGRADE) --output-file requirements.lock
	@$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
		--no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
		--quiet --constraint requirements.lock --output-file requirements-serving.lock

clean:
	rm -rf $(VENV) .score-ray .rivals .zoo-hub .faults .clients .conformance .docs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
