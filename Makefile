.PHONY: run test bench soak

# The first organization and its owner, made by the first `make run`.
ORGANIZATION ?= example
OWNER ?= owner@example.com
TARGET = $${CARGO_TARGET_DIR:-target}/release

## run: install what is missing, build, serve with a private PostgreSQL under ./data; a tour on the first start
run:
	@[ -n "$$DATABASE_URL" ] || ops/install postgresql
	@echo "Building the service (the first time takes a few minutes) …"
	@cargo run --release --bin counterfoil -- serve --tour --organization "$(ORGANIZATION)" --owner "$(OWNER)"

# Four at a time on two cores, and so on: the tests wait more than they work.
## test: every test, on a private PostgreSQL that the tests start and remove themselves
test:
	@ops/install postgresql curl schemathesis
	cargo test --workspace --no-fail-fast -- --include-ignored --test-threads=$$(($$(nproc) * 2))

## bench: the benchmark, in about nine minutes after the build; the table is written to load-tests/results
bench:
	@ops/install postgresql wrk
	cargo build --release -p counterfoil -p counterfoil-load-tests
	@$(TARGET)/load-tests bench --binary $(TARGET)/counterfoil --results load-tests/results

# Tests that hold the service to a time in the long run, or to never being busy: each of them has the machine alone then.
# Parts of their names, as `cargo test` takes them; a test sees that none is left out.
ALONE = crashes:: disconnects:: disk:: floods:: foreign:: operations::growth:: overload:: sign_in:: steps:: contract::schemathesis:: verify::beside::
SOAK = COUNTERFOIL_SOAK=1 cargo test --release --no-fail-fast

## soak: the long runs, with the full counts of every fault and attack; an hour to an hour and a half
soak:
	@ops/install postgresql curl schemathesis
	failed=0; \
	$(SOAK) -p counterfoil --test it -- --include-ignored --test-threads=1 $(ALONE) || failed=1; \
	$(SOAK) --workspace -- --include-ignored --test-threads=2 $(addprefix --skip ,$(ALONE)) || failed=1; \
	exit $$failed
