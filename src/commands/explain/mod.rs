//! `explain`: runs one monitor once and prints the check step by step, as text or JSON.

mod run;
mod style;
mod text;

pub(crate) use run::{Output, run};
pub(super) use style::Style;
pub(super) use text::write;
