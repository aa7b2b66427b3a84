//! Gatus: its endpoints become monitors, and its conditions the keys that judge a response.

mod client;
mod conditions;
mod endpoints;
mod expressions;
mod import;
mod maintenance;
mod patterns;
mod variables;

pub(super) use import::import;
