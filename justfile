# Chores by name: `just` lists them. Each line also works without just.

default:
    @just --list

# Checks that must pass before a merge, without installing anything.
check:
    cargo fmt --check
    cargo clippy --all-targets --locked -- -D warnings

# The tests; `just test git::store` runs those whose names contain the words.
test *filter:
    cargo test --locked {{ filter }}

# The whole product on this machine: a repository, a signed push, the dashboard.
demo *options:
    scripts/demo {{ options }}

# Pushes, polls, clones and memory beside git itself; `just bench --help` lists the parts.
bench *options:
    scripts/bench {{ options }}

# Every parser of foreign bytes, a while each (needs a nightly toolchain and cargo-fuzz).
fuzz *options:
    scripts/fuzz {{ options }}

# The documentation of every public item; warnings are errors.
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items
