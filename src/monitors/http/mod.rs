//! `type: http`: requests a URL, reads the whole response, and checks it.

mod advanced;
mod body;
mod cause;
mod compared;
mod cookies;
mod encoding;
mod json;
mod matchers;
mod monitor;
mod redirects;
mod segments;
pub(in crate::monitors) mod settings;
#[cfg(test)]
mod tests;
mod verdict;

pub(crate) use monitor::Http;
pub(crate) use settings::Settings;
