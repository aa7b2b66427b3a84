//! Metrics as OTLP has them: cumulative as on a page, or as deltas of what was exported before.

mod exported;
mod points;
#[cfg(test)]
mod tests;
mod writer;

pub(super) use exported::Exported;
pub(super) use points::Points;
pub(super) use writer::OtlpWriter;
