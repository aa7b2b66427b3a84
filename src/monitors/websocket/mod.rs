//! `type: websocket`: upgrades a connection, exchanges messages, and closes it properly.

mod monitor;
mod query_response;
mod session;
mod settings;
mod upgrade;

pub(crate) use settings::Settings;
