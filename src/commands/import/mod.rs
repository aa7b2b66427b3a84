//! `import`: a configuration from those of blackbox_exporter, Gatus, Cloudprober and Uptime Kuma.

mod blackbox;
mod cloudprober;
mod configuration;
mod context;
mod durations;
mod entry;
mod gatus;
mod json_path;
mod names;
mod options;
mod report;
mod run;
mod secrets;
mod section;
mod sources;
mod uptime_kuma;
mod windows;
mod yaml;

pub use options::{Options, Source};
pub use run::run;
