//! `blackbox`: the command line of blackbox_exporter.

mod flags;
mod run;

pub use flags::Flags;
pub use run::{is_called_blackbox_exporter, run};
