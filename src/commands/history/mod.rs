//! `history`: prints, prunes and checks the store.

mod options;
mod run;

pub use options::{Action, Options};
pub use run::{Error, run};
