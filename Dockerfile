FROM rust:1.95.0-slim-trixie@sha256:e14e87345b4d5964ddcc3491d27ee046a0f23820f340c3c1e24da6880141f7c0 AS builder
WORKDIR /build
# For tests: `--build-arg CARGO_PROFILE_RELEASE_LTO=off` and the like build in less time.
ARG CARGO_PROFILE_RELEASE_LTO
ARG CARGO_PROFILE_RELEASE_OPT_LEVEL
ARG CARGO_PROFILE_RELEASE_CODEGEN_UNITS

# jemalloc needs make. Its version does not matter: it only runs the build.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*

# Dependencies are built in a layer of their own, from stand-in sources. A cache mount would do too, but not every
# builder has them, `--cache-to` does not export them, and they can outlive a change of Cargo.lock.
# `cargo clean` removes what the stand-ins left: cargo could take it for newer than the real sources.
# Cargo wants the file of the benchmark to exist, although it does not build it.
COPY .cargo .cargo
COPY Cargo.toml Cargo.lock build.rs ./
RUN mkdir benches src \
    && touch benches/bare.rs \
    && echo '//! Stands in for the library.' > src/lib.rs \
    && printf '%s\n' '//! Stands in for the program.' 'fn main() {}' > src/main.rs \
    && cargo build --release --locked \
    && cargo clean --release --package monitoringdaemon \
    && rm -r src

COPY src src
ARG REVISION=unknown
ARG DATE=unknown
RUN MONITORINGDAEMON_REVISION="$REVISION" MONITORINGDAEMON_DATE="$DATE" cargo build --release --locked \
    && mkdir state

# glibc, CA certificates, time zones and the user 65532; no shell.
FROM gcr.io/distroless/cc-debian13:nonroot@sha256:e792ab3d241a468a4fd7519ddbbebe66b49b5f365771716ea688ad40b6c6f1c2
ARG REVISION=unknown
ARG VERSION=unknown
LABEL org.opencontainers.image.title="monitoringdaemon" \
      org.opencontainers.image.description="Availability monitoring you can audit" \
      org.opencontainers.image.source="https://github.com/monitoringdaemon/monitoringdaemon" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=builder /build/target/release/monitoringdaemon /usr/local/bin/monitoringdaemon
COPY config.yml /etc/monitoringdaemon/config.yml
# A volume that is mounted here for a store belongs to the user of the daemon.
COPY --from=builder --chown=65532:65532 /build/state /var/lib/monitoringdaemon
WORKDIR /etc/monitoringdaemon
USER 65532:65532
EXPOSE 9115
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["/usr/local/bin/monitoringdaemon", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/monitoringdaemon"]
