//! `type: icmp`: sends echo requests to a host, and checks that enough are answered.

mod echo_counts;
mod monitor;
mod settings;

pub use monitor::Icmp;
pub use settings::Settings;
