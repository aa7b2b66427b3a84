//! Cloudprober: its probes become monitors, one for each target.

mod http;
mod import;
mod includes;
mod json_filter;
mod probes;
mod targets;
mod text_proto;
mod validators;

pub(super) use import::import;
