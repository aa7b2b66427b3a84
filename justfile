# Lists the recipes.
default:
    @just --list

# Runs everything that must pass before a change is merged.
check:
    .ci/run

# Runs the daemon, with config.yml by default.
run *ARGS:
    cargo run --release -- {{ARGS}}

# Rewrites golden files, expected messages and generated tables. Read the diff.
update-expect:
    UPDATE_EXPECT=1 cargo test

# Measures what checks cost and how late they start (benches/README.md).
bench *ARGS:
    python3 benches/run.py {{ARGS}}

# Runs checks for two minutes, and fails if memory, file descriptors or start lag grow.
soak *ARGS:
    python3 benches/soak.py {{ARGS}}

# Generates the dashboards from grafana/generate.py.
dashboards:
    python3 -B grafana/generate.py

# Builds the documentation as a book, in target/book (cargo install mdbook --locked).
book:
    mdbook build

# Fuzzes TARGET for SECONDS, on the stable compiler (CONTRIBUTING.md).
fuzz TARGET SECONDS="60":
    fuzz/run {{TARGET}} {{SECONDS}}

# Builds the Debian and the RPM package, and installs, upgrades and removes them in a clean Debian (as root).
test-packages *ARGS:
    tests/packages/run {{ARGS}}

# Runs the compose stack and checks it; with --stand-ins as root, without pulling images.
test-stack *ARGS:
    tests/stack/run {{ARGS}}

# Builds and starts the daemon, Prometheus, Alertmanager and Grafana.
up:
    docker compose up --build --detach
