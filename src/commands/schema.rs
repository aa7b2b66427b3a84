//! `schema`: the JSON Schema of the configuration, for editors.

use crate::config;

/// The schema, as it is printed.
#[must_use]
pub fn text() -> &'static str {
    config::SCHEMA
}
