//! `type: dns`: asks a name server a question, over whatever carries it, and judges the response.

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
