# Two targets matter to a newcomer: `make dev` runs the server, `make test` checks everything. Both install what is
# missing (as root; otherwise they say what to install). `make help` lists the rest.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# What is expensive to build lives outside the checkout, so that a fresh clone starts warm.
export AETHERFLOW_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/aetherflow
export CARGO_TARGET_DIR ?= $(AETHERFLOW_CACHE)/target
export AETHERFLOW_BIN ?= $(CARGO_TARGET_DIR)/debug/aetherflow
export ROCKSDB_STATIC := 1
# Where the stages are remembered: one stamp for each, redone when its inputs change.
ROCKSDB = ROCKSDB_LIB_DIR=$$(ops/build/rocksdb)

CONSOLE := services/console
CONSOLE_SOURCES := $(shell git ls-files $(CONSOLE) ':!$(CONSOLE)/*.rs' 2>/dev/null)
NPM_CI := npm ci --no-fund --no-audit --loglevel=error

.PHONY: help
help: ## Lists the targets
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 18

.PHONY: setup
setup: ## Checks for the tools that are needed and installs what is missing
	@ops/build/setup

$(CONSOLE)/node_modules: $(CONSOLE)/package-lock.json
	cd $(CONSOLE) && $(NPM_CI)
	@touch $@

$(CONSOLE)/dist/index.html: $(CONSOLE)/node_modules $(CONSOLE_SOURCES)
	cd $(CONSOLE) && npm run --silent build
	@touch $@

.PHONY: console
console: $(CONSOLE)/dist/index.html ## Builds the console's page

.PHONY: build
build: setup console ## Builds the server
	$(ROCKSDB) cargo build --locked -p aetherflow

.PHONY: dev
dev: build ## Runs the server on an embedded store and prints its addresses
	@exec $(AETHERFLOW_BIN) dev

.PHONY: lint
lint: setup console ## Formatting and lints
	cargo fmt --check
	$(ROCKSDB) cargo clippy --locked --workspace --all-targets -- -D warnings

loadtest/stock/node_modules: loadtest/stock/package-lock.json
	cd loadtest/stock && $(NPM_CI)
	@touch $@

.PHONY: test
test: ## Checks everything: lints, unit tests, stock clients, browser, torture
	@ops/build/setup --test
	@$(MAKE) --no-print-directory lint build loadtest/stock/node_modules
	@ops/build/test

.PHONY: deny
deny: ## Checks licences, sources and advisories of what is built in (installs cargo-deny into the cache)
	@ops/build/deny

.PHONY: test-powercut
test-powercut: build ## Cuts the power of a disk under load, again and again (needs root and loop devices)
	$(ROCKSDB) cargo test --locked -p aetherflow-loadtest --test powercut -- --ignored --nocapture

.PHONY: bench
bench: setup ## Measures the log and sessions beside the raw disk
	$(ROCKSDB) cargo bench --locked -p aetherflow-oplog --bench append
	$(ROCKSDB) cargo bench --locked -p aetherflow-session --bench sessions

.PHONY: release
release: setup console ## Builds the server with all optimisations
	$(ROCKSDB) cargo build --locked --release -p aetherflow

.PHONY: clean
clean: ## Removes what was built, but not RocksDB
	cargo clean
	rm -rf $(CONSOLE)/dist $(CONSOLE)/node_modules loadtest/stock/node_modules
