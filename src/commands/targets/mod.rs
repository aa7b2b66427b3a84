//! `targets`: runs discovery once, and prints which monitor each target becomes, or why none.

mod json;
mod list;
mod run;
mod text;

pub(crate) use run::{Output, run};
