//! `type: icmp`: sends echo requests to a host, and judges how many are answered.

mod monitor;
mod settings;
mod tally;

pub use monitor::Icmp;
pub use settings::Settings;
