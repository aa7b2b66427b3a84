//! Where monitors come from beside the configuration: lists of targets that change while the daemon
//! runs, in the formats of Prometheus' service discovery.

pub mod payload;
pub mod relabel;
#[cfg(test)]
mod tests;
