# `make run` and `make test` install all dependencies; they need Python 3.11+ only.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
KAFKA := $(VENV)/.kafka
PROMETHEUS := $(VENV)/.prometheus
PEERS := $(VENV)/peers
# Acceptance tests that may run side by side. CI has a browser and nginx, and adds theirs.
ACCEPTANCE := not alone and not browser

.PHONY: run help test test-browser test-azure coverage fuzz test-full lint docs bench bench-peers soak serve watch lock clean

run: $(KAFKA)  ## The whole pipeline on a local stand-in of TikTok: real Kafka, real extractor.
	@$(BIN)/python -m tests.sample

help:  ## This list. Installs nothing.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

test: $(KAFKA) $(PROMETHEUS)  ## All tests; those that measure time run serially.
	@# Hundreds of processes start: with PYTHONDONTWRITEBYTECODE each would compile the sources.
	@$(BIN)/python -m compileall -q schemas streams agents tests
	$(BIN)/pytest tests/integration tests/unit -m "not azure" --numprocesses 3 --dist loadfile --no-loadscope-reorder
	@# Each process runs a Kafka and one to three workers. Four of them used two slow cores to 100 %,
	@# and what waits for a breaker or a rebalance timed out.
	$(BIN)/pytest tests/acceptance -m "$(ACCEPTANCE)" --numprocesses 3 --dist loadfile --no-loadscope-reorder
	$(BIN)/pytest tests/acceptance -m alone

test-browser: $(KAFKA)  ## The console in Chromium and behind nginx, which the system has to have.
	$(BIN)/pytest tests/acceptance -m browser

test-azure: $(READY)  ## The storage on Azurite, Microsoft's emulator, which the system has to have (npm).
	$(BIN)/pytest tests/integration/test_storage_protocol.py -m azure

coverage: $(KAFKA) $(PROMETHEUS)  ## Branch coverage of unit and integration tests, at least 90 %. The tracer doubles their time.
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest tests/unit tests/integration -m "not untraced and not azure" --numprocesses 2 --dist loadfile
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

fuzz: $(KAFKA)  ## Property tests with 1,000 random examples each. `make test` has the same in every run.
	$(BIN)/pytest tests/unit -m hypothesis --hypothesis-profile=fuzz --numprocesses 2 --dist loadfile

test-full: $(KAFKA) $(PROMETHEUS)  ## The long acceptance tests at full length: outages of minutes. About an hour.
	FULL_LENGTH=1 $(BIN)/pytest -s tests/acceptance/test_outage.py tests/acceptance/test_page_change.py \
	  tests/acceptance/test_ip_block.py tests/acceptance/test_broker_away.py \
	  tests/acceptance/test_rates.py tests/acceptance/test_silence.py \
	  tests/acceptance/test_order.py tests/acceptance/test_kill.py tests/acceptance/test_object_storage.py

lint: $(READY) docs  ## Style, types, import contracts; generated documents are current; the site of the docs builds.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m streams.contract.generate --check
	$(BIN)/python -m deploy.grafana --check
	$(BIN)/python -m docs.generate --check

docs: $(READY)  ## The documentation as a site in build/docs, without network. Warnings are errors.
	@# Warnings of pages that an earlier build read are not repeated, so every build reads all pages.
	$(BIN)/python -m sphinx --fresh-env --write-all --nitpicky --fail-on-warning --keep-going --quiet \
	  --conf-dir docs/sphinx docs build/docs

bench: $(KAFKA)  ## Measurements, each beside its reference in the same run.
	$(BIN)/python -m benchmarks

bench-peers: $(KAFKA) $(PEERS)  ## Beside bare aiokafka, FastStream and Quix Streams, and uploads beside boto3, in one run each.
	$(BIN)/python -m benchmarks.peers $(PEERS)/bin/python
	$(BIN)/python -m benchmarks.storage $(PEERS)/bin/python

soak: $(KAFKA)  ## Soak test: twenty minutes of mixed load; detects leaks.
	$(BIN)/python -m benchmarks.soak --minutes 20 --rate 15

serve: $(KAFKA)  ## clipmill on this box, against the real platforms, with the console in a browser: files and broker data in ./data.
	@echo "Starting; the line with \"console\" is the address for the browser. Ctrl-C stops it."
	@$(BIN)/clipmill up --console

watch: $(KAFKA) $(PROMETHEUS)  ## The same with Prometheus, Alertmanager and the boards in a browser.
	$(BIN)/python -m deploy.watch

lock: $(READY)  ## Resolve and lock the requirements.
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-strip-extras --no-header --extra objects --extra tracing pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-strip-extras --no-header --group dev pyproject.toml -o requirements-dev.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-strip-extras --no-header --group pyproject.toml:peers -o requirements-peers.txt

clean:  ## Remove installed and generated files.
	rm -rf $(VENV) .run build .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	rm -f agents/engine/libproof_of_work.so

$(PROMETHEUS): deploy/prometheus/provide.sh
	@deploy/prometheus/provide.sh $(VENV)/prometheus
	@touch $@

$(PEERS): requirements-peers.txt $(READY)
	@$(PYTHON) -m venv $@
	@$@/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-peers.txt
	@touch $@

$(READY): requirements-dev.txt pyproject.toml hatch_build.py agents/engine/proof_of_work.c
	@echo "Installing into $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@# uv installs three times as fast as pip; where it cannot reach an index that pip can, pip does.
	@sed -n '/^uv==/,/[^\\]$$/p' requirements-dev.txt >$(VENV)/uv.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.txt
	@UV_FIND_LINKS="$$PIP_FIND_LINKS" $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python \
	  --require-hashes -r requirements-dev.txt \
	  || $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(KAFKA): $(READY)
	@echo "Fetching Kafka, once for this user ..."
	@$(BIN)/python -m streams.broker >$@
