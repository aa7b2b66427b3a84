//! The program's log: `tracing` events become lines in Python's `logging` template, JSON or
//! logfmt, and a separate thread writes them, so that a blocked output never delays a check.

mod date_format;
mod escape;
mod fields;
mod filter;
mod render;
mod start;
mod template;
mod time;
mod writer;

pub(crate) use date_format::{DateFormat, DateFormatError};
pub(crate) use filter::parse_level;
pub(crate) use start::{Format, Output, Settings, start, start_with};
pub(crate) use template::{Template, TemplateError};
