//! `type: dns`: asks a name server a question, over whatever carries it, and judges the response.

mod kinds;
mod message;
mod monitor;
mod presentation;
mod rules;
mod settings;
#[cfg(test)]
mod tests;
mod transport;

pub use kinds::{Class, RecordType};
pub use message::Question;
pub use monitor::Dns;
pub use rules::{Rules, SectionRules};
pub use settings::{Server, Settings};
