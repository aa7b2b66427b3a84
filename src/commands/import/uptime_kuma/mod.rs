//! Uptime Kuma: its monitors, from its database or from a backup of version 1.

mod backup;
mod credentials;
mod database;
mod http;
mod import;
mod maintenance;
mod monitors;
mod tables;

pub(super) use import::import;
pub(super) use tables::snake_case;
