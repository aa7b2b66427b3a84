//! `/probe`: one check on request, with the modules, the parameters and the metrics of blackbox_exporter.

mod blackbox;
mod families;
mod modules;
mod per_host;
mod recent;
mod request;
mod run;
mod settings;
mod shown;
mod stats;
mod text;
mod thread;

pub use families::{FAMILIES, ProbeFamily};
pub(crate) use modules::TEMPLATE_PREFIX;
pub use modules::{Module, ModuleTemplate, Traits, Unusable};
pub use recent::{Recent, RecentProbe};
pub use request::{BadRequest, ProbeRequest};
pub use run::{Answer, Bind, BindError, Bound, Prober, Wanted};
pub use settings::{ProbeLog, Settings, read_blackbox_file};
pub use stats::{ProbeStats, Rejection};

/// Target of log lines: the component.
const LOG_TARGET: &str = "monitoringdaemon::probe";
