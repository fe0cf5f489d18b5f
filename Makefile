# What a person does with this project; every target does its own set-up and changes nothing outside this folder and
# the cache folder (~/.cache/daq, or $DAQ_CACHE).
.DEFAULT_GOAL := help
.PHONY: help demo test check mutate bench bench-telegraf drills influxdb2 servers clean
.SILENT:
SHELL := /bin/bash
ARGS ?=
WORKERS ?= 3
CACHE := $(or $(DAQ_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/daq)
PYTHON := .venv/bin/python

help: ## say what there is
	awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s%s\n", $$1, $$2 }' Makefile

.venv/.ready: pyproject.toml constraints.txt tools/setup.sh
	bash tools/setup.sh

servers: ## fetch mosquitto and the databases of the tests into the cache folder
	bash tools/fetch_servers.sh

demo: .venv/.ready servers ## a simulated lab on real wires, broker, station, bridge, database; ARGS="--seconds 10 --json"
	.venv/bin/daq demo $(ARGS)

test: .venv/.ready servers ## the whole test suite; ARGS="-k spool" for a part
	[ -x "$(CACHE)/bin/influxd" ] || influxd version 2>/dev/null | grep -q ' v2[.]' || \
		echo "daq: InfluxDB 2 is left out of the tests; 'make influxdb2' builds it (7 minutes, needs Go and Rust)" >&2
	$(PYTHON) -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

check: .venv/.ready ## format, lint, types, import contracts
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy --strict daq drivers simulators tests benchmarks tools
	.venv/bin/lint-imports

mutate: .venv/.ready ## change code and tell what no fast test notices; ARGS="--room daq/station --sample 200 --seed 1"
	$(PYTHON) -m tools.mutate --workers $(WORKERS) $(ARGS)

bench: .venv/.ready servers ## the benchmarks; prints a table
	$(PYTHON) -m benchmarks $(ARGS)

bench-telegraf: .venv/.ready servers ## daq and Telegraf on the same simulated units, in one run
	bash tools/build_influxdb2.sh || [ $$? = 3 ]
	if bash tools/build_telegraf.sh; then $(PYTHON) -m benchmarks.telegraf $(ARGS); else [ $$? = 3 ]; fi

drills: .venv/.ready servers ## the long fault drills (two hours); writes the table of docs/reliability.md
	rm -rf .drills && mkdir .drills
	DAQ_DRILLS=long DAQ_DRILL_REPORT=.drills $(PYTHON) -m pytest tests/drills tests/system/test_systemd.py $(ARGS)
	$(PYTHON) -m tests.drills.report .drills

influxdb2: ## build the InfluxDB 2 server for the tests
	bash tools/build_influxdb2.sh

clean: ## remove what the targets made in this folder
	rm -rf .venv .drills .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
