//! `type: icmp`: sends echo requests to a host, and checks that enough are answered.

mod echo_counts;
mod monitor;
mod settings;

pub(crate) use settings::Settings;
