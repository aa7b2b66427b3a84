//! The status page: all monitors, one monitor, the same as JSON, and badges; and the page of recent probes.
//!
//! The template engine escapes all texts of targets and users.

mod assets;
mod badge;
mod certificate;
mod charts;
mod format;
mod json;
mod now;
mod page;
mod probes;
mod query;
mod renderer;
mod selection;
mod uptime;

pub(crate) use assets::{SCRIPT, STYLE};
pub(crate) use probes::probes_page;
pub(crate) use query::Query;
pub use renderer::Status;
