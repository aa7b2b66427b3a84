//! `/probe`: one check on request, with the modules, the parameters and the metrics of blackbox_exporter.

mod blackbox;
mod families;
mod modules;
mod permits;
mod recent;
mod request;
mod run;
mod settings;
mod shown;
mod stats;
mod text;
mod thread;

pub(crate) use modules::{Module, ModuleTemplate, TEMPLATE_PREFIX, Traits, Unusable};
pub(crate) use recent::{Recent, RecentProbe};
pub(crate) use request::BadRequest;
pub use request::ProbeRequest;
pub(crate) use run::{Bind, Bound};
pub use run::{BindError, BindRequest, Prober};
pub(crate) use settings::{ProbeLog, Settings, read_blackbox_file};
pub use stats::ProbeStats;
pub(crate) use stats::Rejection;

/// Target of log lines: the component.
const LOG_TARGET: &str = "monitoringdaemon::probe";
