# Builds rwsgi, serves the demo site, runs every test. `make help` lists the targets.
#
# PYTHON chooses the interpreter, VENV the virtual environment made from it:
#     make serve PYTHON=python3.13 VENV=.venv-3.13

PYTHON ?= python3
VENV   ?= .venv
BIND   ?= 127.0.0.1:8000
FUZZ   ?= 60
# What pytest is to run: files, options. Nothing is all of it.
TESTS  ?=

# Paths are relative, since make takes a space in one for the end of it.
ifneq ($(words $(VENV)),1)
    $(error VENV is "$(VENV)": it must be one path without spaces, and may be relative)
endif

DEMO   := python/examples/demo
TARGET := $(or $(CARGO_TARGET_DIR),target)
BINARY := $(TARGET)/release/rwsgi
IN     := $(VENV)/bin
PIP    := $(IN)/python -m pip --disable-pip-version-check

# What is done is noted inside the environment, so that removing the environment forgets it too.
DONE := $(VENV)/done

# The embedding binary and the tests link the libpython of the interpreter that they will be run with.
export PYO3_PYTHON := $(if $(filter /%,$(VENV)),,$(CURDIR)/)$(IN)/python

RUST   := $(shell find crates -name '*.rs' -o -name '*.py' -o -name Cargo.toml) $(wildcard Cargo.toml Cargo.lock)
PYTHON_PACKAGE := $(wildcard python/rwsgi/*) $(shell find deploy/wheel -type f)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# The steps of a target share one build folder and one environment.
.NOTPARALLEL:
.PHONY: help needs serve build wheel test test-rust test-model deep fuzz bench test-demo test-end-to-end lint format dist clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

needs: ## tell what is not installed of what all others need
	@tests/fresh/needs $(PYTHON)

serve: $(DONE)/wheel $(DONE)/demo ## serve the demo site on http://127.0.0.1:8000 (or on BIND=)
	@$(IN)/python $(DEMO)/manage.py fill
	@exec $(IN)/rwsgi --processes 5 --threads 1 --bind $(BIND) --chdir $(DEMO) mysite.wsgi

build: $(DONE)/venv ## build the binary that embeds Python: target/release/rwsgi
	cargo build --release --package rwsgi

wheel: $(DONE)/wheel ## build the wheel and install it in the virtual environment

# All of them run, whatever fails.
SUITES := test-rust test-model test-demo test-end-to-end

test: needs ## run every test
	@failed=; for suite in $(SUITES); do \
	    echo "--- make $$suite"; \
	    $(MAKE) --no-print-directory $$suite || failed="$$failed $$suite"; \
	done; \
	if [ -n "$$failed" ]; then echo "make test: failed:$$failed" >&2; exit 1; fi

test-rust: $(DONE)/venv ## run the tests of the crates
	cargo test --workspace --no-fail-fast

test-model: needs ## check the model of the exchange
	RUSTFLAGS="--cfg loom" cargo test --package rwsgi-exchange --release --lib --target-dir "$(TARGET)/loom" model

# Changes the code in one place after another and sees whether a test fails each time; what none notices is listed. Takes hours.
deep: export PATH := $(CURDIR)/.tools/bin:$(PATH)
deep: needs ## change the exchange's and the pool's code bit by bit, to see that a test notices (needs cargo-mutants)
	@command -v cargo-mutants >/dev/null || \
	    { echo "cargo-mutants is not installed: cargo install --locked cargo-mutants" >&2; exit 1; }
	cargo mutants --package rwsgi-exchange --package rwsgi-pool --output "$(TARGET)"

# As cargo-fuzz does without a sanitizer, which would need a nightly toolchain: nothing that is fuzzed is unsafe code.
FUZZING := -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing
FUZZERS := requests responses exchange

fuzz: needs ## fuzz what rwsgi parses itself, FUZZ seconds each (needs a C++ compiler)
	@command -v c++ >/dev/null || { echo "there is no C++ compiler (c++): apt install g++" >&2; exit 1; }
	@host=$$(rustc -vV | sed -n 's/^host: //p') && \
	RUSTFLAGS="$(FUZZING)" cargo build --locked --release --manifest-path fuzz/Cargo.toml --target "$$host" \
	    --target-dir fuzz/target && \
	for name in $(FUZZERS); do \
	    echo "--- fuzz $$name for $(FUZZ) s" && mkdir -p fuzz/corpus/$$name fuzz/artifacts/$$name && \
	    "fuzz/target/$$host/release/$$name" -max_total_time=$(FUZZ) -verbosity=0 -print_final_stats=1 -dict=fuzz/$$name.dict \
	        -artifact_prefix=fuzz/artifacts/$$name/ fuzz/corpus/$$name || exit 1; \
	done

bench: build $(DONE)/demo ## take each measurement once and in short (needs wrk); benches/README.md has them in full
	@command -v wrk >/dev/null || { echo "wrk is not installed: apt install wrk" >&2; exit 1; }
	cargo bench --package rwsgi-exchange --bench exchange -- --warm-up-time 1 --measurement-time 5
	cargo bench --package rwsgi-wsgi --bench call -- --warm-up-time 1 --measurement-time 5
	cargo run --release --package rwsgi-pool --example snowball
	cargo build --release --package rwsgi-front --example bare
	$(IN)/python -m benches.hop --rounds 3 --seconds 2
	$(IN)/python -m benches.fairness
	$(IN)/python -m benches.turnover --requests 4000 --kills 3
	$(IN)/python -m benches.memory --requests 500

test-demo: $(DONE)/demo ## run the tests of the demo site
	$(IN)/python -W error $(DEMO)/manage.py test $(DEMO)

test-end-to-end: build $(DONE)/wheel $(DONE)/demo $(DONE)/dev ## run the real server, through both doors
	RWSGI_BINARY="$(BINARY)" RWSGI_WHEEL="$(IN)/rwsgi" $(IN)/python -m pytest $(TESTS)

lint: $(DONE)/dev $(DONE)/demo ## check formats, lints and types
	cargo fmt --all --check
	rustfmt --check --edition 2024 fuzz/fuzz_targets/*.rs
	cargo clippy --workspace --all-targets -- --deny warnings
	cargo clippy --package rwsgi --no-default-features --features abi3 -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" cargo doc --workspace --no-deps
	$(IN)/ruff check
	$(IN)/ruff format --check
	$(IN)/mypy

format: $(DONE)/dev ## format all code
	cargo fmt --all
	rustfmt --edition 2024 fuzz/fuzz_targets/*.rs
	$(IN)/ruff check --fix
	$(IN)/ruff format

# From what is in the source distribution, so that it is known to hold everything. No path of the builder is left in
# the wheels. zig, from PyPI, links with a glibc as old as is asked for.
SOURCE := $(TARGET)/dist-source

dist: $(DONE)/dist ## make the source distribution and the wheels for PyPI, in dist/
	rm -rf dist "$(SOURCE)"
	$(IN)/maturin sdist --out dist
	mkdir -p "$(SOURCE)" && tar -xzf dist/rwsgi-*.tar.gz -C "$(SOURCE)" --strip-components=1
	@top=$$PWD && target=$$(mkdir -p "$(TARGET)/dist" && cd "$(TARGET)/dist" && pwd) && cd "$(SOURCE)" && \
	export PATH="$${PYO3_PYTHON%/*}:$$PATH" && \
	export CARGO_ENCODED_RUSTFLAGS="$$(printf -- '--remap-path-prefix=%s=%s\037' \
	    "$${CARGO_HOME:-$$HOME/.cargo}" cargo "$$PWD" rwsgi)--remap-path-prefix=$$target=target" && \
	build() { maturin build --locked --release --target-dir "$$target" --out "$$top/dist" --interpreter python "$$@"; } && \
	build --compatibility manylinux_2_34 && build --zig --compatibility manylinux_2_17
	$(IN)/python -m tests.distribution dist

clean: ## remove what was built, and the demo's database
	rm -rf "$(TARGET)" $(VENV) $(DEMO)/var dist

# Debian splits ensurepip off its Python: there, the pip that is installed puts one into the environment.
$(DONE)/venv: | needs
	@echo "virtual environment: $(VENV) from $$($(PYTHON) --version)"
	@if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then \
	    $(PYTHON) -m venv $(VENV); \
	else \
	    $(PYTHON) -m venv --without-pip $(VENV) && \
	    $(PYTHON) -m pip --python $(IN)/python install pip; \
	fi
	@mkdir -p $(DONE) && touch $@

# Verbose, because a build of some minutes should show what it does.
$(DONE)/wheel: $(DONE)/venv $(RUST) $(PYTHON_PACKAGE) pyproject.toml
	$(PIP) install --verbose --force-reinstall --no-deps .
	@touch $@

$(DONE)/demo: $(DONE)/venv $(DEMO)/requirements.txt
	$(PIP) install --requirement $(DEMO)/requirements.txt
	@touch $@

$(DONE)/dist: $(DONE)/venv python/requirements-dist.txt
	$(PIP) install --requirement python/requirements-dist.txt
	@touch $@

$(DONE)/dev: $(DONE)/venv python/requirements-dev.txt
	$(PIP) install --requirement python/requirements-dev.txt
	@touch $@
