# What there is to do.
default:
    @just --list

# Everything that must hold before a change lands.
check:
    .ci/run

# The daemon, with config.yml.
run *ARGS:
    cargo run --release -- {{ARGS}}

# Writes the golden files and the messages of bad configurations anew; read the diff.
update-expect:
    UPDATE_EXPECT=1 cargo test

# What checks cost and how late they start, against yardsticks of the same run (benches/README.md).
bench *ARGS:
    python3 benches/run.py {{ARGS}}

# Two minutes of checks: do memory, descriptors and start lag stay as they are?
soak *ARGS:
    python3 benches/soak.py {{ARGS}}

# Writes the dashboards anew, from grafana/generate.py.
dashboards:
    python3 -B grafana/generate.py

# The daemon, Prometheus and Grafana.
up:
    docker compose up --build --detach
