//! `blackbox`: the command line of blackbox_exporter.

mod flags;
mod run;

pub(crate) use flags::Flags;
pub(crate) use run::{is_called_blackbox_exporter, run};
