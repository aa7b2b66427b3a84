FROM rust:1.95.0-slim-trixie AS builder
WORKDIR /build

# The dependencies are a layer of their own and not a cache mount: every builder can make it, `--cache-to` exports it,
# and it holds no state that could outlive a change of Cargo.lock.
# What the stand-in sources left must go, or cargo may take it for newer than the real ones.
COPY Cargo.toml Cargo.lock build.rs ./
# jemalloc builds with make. The base image decides which one; it changes nothing in what is built.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*
# Cargo asks that the benchmark is there, and does not build it.
RUN mkdir benches src \
    && touch benches/bare.rs \
    && echo '//! Stands in for the library.' > src/lib.rs \
    && printf '%s\n' '//! Stands in for the program.' 'fn main() {}' > src/main.rs \
    && cargo build --release --locked \
    && cargo clean --release --package monitoringdaemon \
    && rm -r src

COPY src src
ARG REVISION=unknown
RUN MONITORINGDAEMON_REVISION="$REVISION" cargo build --release --locked

# Holds glibc, CA certificates and time zones, and the user 65532; no shell.
FROM gcr.io/distroless/cc-debian13:nonroot@sha256:e792ab3d241a468a4fd7519ddbbebe66b49b5f365771716ea688ad40b6c6f1c2
COPY --from=builder /build/target/release/monitoringdaemon /usr/local/bin/monitoringdaemon
COPY config.yml /etc/monitoringdaemon/config.yml
WORKDIR /etc/monitoringdaemon
USER 65532:65532
EXPOSE 9115
ENTRYPOINT ["/usr/local/bin/monitoringdaemon"]
