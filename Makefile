# The project's commands. Each first installs what this machine lacks, without asking.

# rustup's folder, for the shell in which Rust was installed a minute ago.
export PATH := $(PATH):$(HOME)/.cargo/bin

# Passed to the demo: make demo ARGS='--port 9443'
ARGS ?=
# Where `make install` puts things.
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
UNITDIR ?= /etc/systemd/system

.PHONY: help demo test lint check bench instructions clients fuzz build release install prerequisites
.DEFAULT_GOAL := help

help: ## Lists these commands
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: prerequisites ## Runs the whole system on this machine: gateway, Entra ID, ToolHive, emulated
	cargo run --locked -- demo $(ARGS)

test: prerequisites ## Runs every test
	cargo test --locked --workspace

lint: prerequisites ## Checks formatting and lints
	cargo fmt --all -- --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

check: ## Runs all that a change must pass: lint, test, the demo's own check, real clients
	.ci/run

clients: build ## Signs real MCP clients in through the demo; names limit it: make clients ARGS=mcp-remote
	tests/clients/run $(ARGS)

fuzz: prerequisites ## Fuzzes what reads bytes of clients: make fuzz ARGS='ingress 60'
	@tools/install-prerequisites.sh c++
	fuzz/run $(ARGS)

bench: prerequisites ## Runs the benchmarks
	cargo bench --locked --workspace

instructions: ## Counts the instructions of a request and fails when there are more than recorded: ARGS=--record
	@tools/install-prerequisites.sh valgrind
	cargo bench --locked --bench instructions -- $(ARGS)

build: prerequisites
	cargo build --locked

release: prerequisites ## Builds target/release/mcp-gateway, without the demo's emulators
	cargo build --locked --release --no-default-features

install: ## As root, after `make release`: installs the program, the units and, where missing, the configuration
	install -D -m 0755 target/release/mcp-gateway $(DESTDIR)$(PREFIX)/bin/mcp-gateway
	install -D -m 0644 systemd/mcp-gateway.service $(DESTDIR)$(UNITDIR)/mcp-gateway.service
	install -D -m 0644 systemd/toolhive@.service $(DESTDIR)$(UNITDIR)/toolhive@.service
	test -e $(DESTDIR)$(SYSCONFDIR)/mcp-gateway/gateway.yaml || \
		install -D -m 0644 gateway.yaml $(DESTDIR)$(SYSCONFDIR)/mcp-gateway/gateway.yaml
	test -e $(DESTDIR)$(SYSCONFDIR)/mcp-gateway/gateway.env || \
		install -D -m 0600 systemd/gateway.env.example $(DESTDIR)$(SYSCONFDIR)/mcp-gateway/gateway.env

prerequisites:
	@tools/install-prerequisites.sh
