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

pub use message::Question;
pub use monitor::Dns;
pub use record_types::{Class, RecordType};
pub use rules::{Rules, SectionRules};
pub use settings::{Server, Settings};
