//! `type: dns`: sends a query to a name server and checks the response.

mod message;
mod monitor;
mod presentation;
mod record_types;
mod rules;
mod settings;
#[cfg(test)]
mod tests;
mod transport;

pub(crate) use settings::Settings;
