//! Discovery that runs once, for commands.

use crate::{
    config::{self, Config},
    discovery::{self, DiscoveredList},
    net::Net,
};

/// Looks up the targets of the configuration, and builds their monitors.
pub(super) async fn discover(config: &Config, net: &Net) -> Vec<DiscoveredList<config::Monitor>> {
    net.forbid_targets(config.forbid_targets.clone());
    let builder = config.monitor_builder.clone();
    let build = move |wanted| builder.build_discovered(wanted);
    let taken = config.monitors.iter().map(|monitor| &*monitor.name);
    discovery::run_once(&config.discovery, net, &build, taken).await
}
