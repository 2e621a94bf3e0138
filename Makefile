# `make demo` and `make test` set themselves up: all they need is python3 (3.11 or newer) and make.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint bench torture screenshots deploy clean fuzz

.venv/stamp: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: .venv/stamp
	$(BIN)/tribo demo

test: .venv/stamp lint
	$(BIN)/python tests/servers.py
	$(BIN)/python -m pytest

lint: .venv/stamp
	$(BIN)/ruff check streams schemas tests
	$(BIN)/mypy

fuzz: .venv/stamp
	$(BIN)/python tests/fuzz.py

bench: .venv/stamp
	$(BIN)/python tests/bench.py
	$(BIN)/python tests/servers.py
	$(BIN)/python tests/bench_distributed.py

# 100 kills, 20 pauses, 5 restarts of broker and database; about a quarter of an hour
torture: .venv/stamp
	$(BIN)/python tests/servers.py
	$(BIN)/python tests/torture.py
	$(BIN)/python tests/torture_crowd.py
	$(BIN)/python tests/torture_page.py

# the pictures in docs/, as the page looks now
screenshots: .venv/stamp
	TRIBO_SCREENSHOTS=1 $(BIN)/python -m pytest -q tests/test_browser.py -k docs

# what stands in deploy/ and is made from the demo's standards file
deploy: .venv/stamp
	$(BIN)/tribo rules --standards streams/tribo/run/demo_standards.yaml --out deploy/prometheus --alertmanager deploy/alertmanager/alertmanager.yml
	$(BIN)/tribo dashboards --standards streams/tribo/run/demo_standards.yaml --out deploy/grafana/dashboards

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
