.PHONY: run test install

# The first organization and its owner, made by the first `make run`.
ORGANIZATION ?= example
OWNER ?= owner@example.com

## run: install what is missing, build, serve with a private PostgreSQL under ./data; a tour on the first start
run: install
	@echo "Building the service (the first time takes a few minutes) …"
	@cargo run --release --bin counterfoil -- serve --tour --organization "$(ORGANIZATION)" --owner "$(OWNER)"

## test: every test, on a private PostgreSQL that the tests start and remove themselves
test: install
	cargo test --workspace --no-fail-fast

install:
	@ops/install-postgresql
