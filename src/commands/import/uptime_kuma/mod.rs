//! Uptime Kuma: its monitors, from its database or from a backup of version 1.

mod backup;
mod credentials;
mod database;
mod http;
mod import;
mod monitors;
mod tables;

pub use import::import;
pub use tables::snake_case;
