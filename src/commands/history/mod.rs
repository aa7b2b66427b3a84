//! `history`: prints, prunes and checks the store.

mod options;
mod run;

pub(crate) use options::Options;
pub(crate) use run::run;
