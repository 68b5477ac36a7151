# `make run` and `make test` do all set-up themselves; they need Python 3.11+ and nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: run test test-full lint bench soak serve lock clean

run: $(READY)  ## The whole pipeline on a local stand-in of TikTok: real Kafka, real extractor.
	@$(BIN)/python -m tests.sample

test: $(READY)  ## All tests; unit and integration tests with branch coverage, those that measure time alone.
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest tests/unit tests/integration --numprocesses 2 --dist loadfile
	$(BIN)/pytest tests/acceptance -m "not alone" --numprocesses 3 --dist loadfile --no-loadscope-reorder
	$(BIN)/pytest tests/acceptance -m alone
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

test-full: $(READY)  ## The long acceptance tests in full length: outages of minutes. About half an hour.
	FULL_LENGTH=1 $(BIN)/pytest -s tests/acceptance/test_outage.py tests/acceptance/test_page_change.py \
	  tests/acceptance/test_ip_block.py tests/acceptance/test_broker_away.py \
	  tests/acceptance/test_rates.py

lint: $(READY)  ## Style, types, layers, and whether the generated documents are current.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m streams.documents --check

bench: $(READY)  ## Measurements, each beside its reference in the same run.
	$(BIN)/python -m benchmarks

soak: $(READY)  ## Twenty minutes of mixed load: does anything grow?
	$(BIN)/python -m benchmarks.soak --minutes 20 --rate 15

serve: $(READY)  ## clipmill on this box, for real: files and broker data in ./data.
	$(BIN)/clipmill up

lock: $(READY)  ## Resolve the locked requirements again.
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-strip-extras --no-header pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-strip-extras --no-header --group dev pyproject.toml -o requirements-dev.txt

clean:  ## Remove what was installed and what `make run` left.
	rm -rf $(VENV) .run .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache

$(READY): requirements-dev.txt pyproject.toml
	@echo "Installing into $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
