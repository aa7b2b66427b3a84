//! blackbox_exporter: its modules become templates, and Prometheus' scrape jobs over `/probe` become
//! monitors and blocks of discovery.

mod http_client;
mod import;
mod jobs;
mod modules;
mod relabelling;

pub(super) use import::{Files, import};
