.PHONY: run test install

## run: install what is missing, build, start with a private PostgreSQL under ./data
run: install
	cargo run --release --bin counterfoil -- serve

## test: every test, on a private PostgreSQL that the tests start and remove themselves
test: install
	cargo test --workspace --no-fail-fast

install:
	@ops/install-postgresql
