//! `schema`: the JSON Schema of the configuration, for editors.

use crate::config;

/// Returns the schema.
#[must_use]
pub(crate) fn text() -> &'static str {
    config::SCHEMA
}
