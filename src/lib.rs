//! Availability monitoring you can audit.
//!
//! The modules, in reading order:
//!
//! - [`check`]: what a check is: a monitor writes to an attempt, and a report comes out
//! - [`value`]: what settings are made of, and how they are read from a file
//! - [`net`]: measured connections: names, TLS, HTTP
//! - `settings`: reads the keys of connections
//! - [`monitors`]: the types of monitors; `ls` of that folder is the list of what can be checked
//! - [`discovery`]: lists of targets that change, and the monitors that they become
//! - [`config`]: what the user wrote, validated
//! - [`dispatcher`]: when checks run
//! - [`state`]: the states of monitors, made of results
//! - [`metrics`]: reports become Prometheus series
//! - [`probe`]: one check on request, as blackbox_exporter does it
//! - [`history`], [`status`]: what is kept of reports, and the pages that show it
//! - `storage`: what is kept of states and results beyond a restart
//! - [`server`]: `/metrics` and the rest over HTTP
//! - `telemetry`: traces, log lines and metrics, sent to a collector over OTLP
//! - `heartbeat`: tells an outside watcher that the daemon lives
//! - `logging`: events become lines on stdout
//! - [`app`]: the daemon
//! - [`commands`], [`cli`]: the commands, and the command line
//!
//! To add a check of your own, implement [`check::Monitor`] and hand it to a
//! [`dispatcher::Dispatcher`]; `examples/own_monitor.rs` does.

#![warn(unreachable_pub)]

pub mod app;
pub mod check;
pub mod cli;
pub mod commands;
pub mod config;
mod counter;
mod descriptors;
pub mod discovery;
pub mod dispatcher;
mod exit_code;
mod heartbeat;
pub mod history;
mod logging;
pub mod metrics;
pub mod monitors;
pub mod net;
mod offload;
pub mod probe;
mod runtime;
pub mod server;
mod settings;
pub mod state;
pub mod status;
mod storage;
mod telemetry;
mod text;
pub mod value;
