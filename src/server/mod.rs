//! The HTTP server of `/metrics`, the status page and the rest.

mod basic_auth;
mod compression;
mod connections;
mod events;
mod exposition_format;
mod hash_queue;
mod host;
mod listener;
mod metrics;
mod mount;
mod probe;
mod rate_limit;
mod readiness;
mod reload;
mod response;
mod routes;
mod serve;
mod services;
mod settings;
mod status;
mod tls;
mod web_config;

pub(crate) use mount::Mount;
pub use readiness::Readiness;
pub(crate) use reload::{ReloadHandle, ReloadRequest};
pub use serve::Server;
pub use services::Services;
pub use settings::{Address, Settings};

/// Target of log lines: the component.
const LOG_TARGET: &str = "monitoringdaemon::server";
