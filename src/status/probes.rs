//! The page of the recent probes.

use std::sync::Arc;

use askama::Template;

use super::format::{self, Timestamp};
use crate::probe::{Prober, RecentProbe};

#[derive(Template)]
#[template(path = "probes.html", config = "src/status/askama.toml")]
struct Page {
    modules: Vec<String>,
    probes: Vec<Row>,
}

struct Row {
    id: u64,
    ended: Timestamp,
    module: String,
    target: String,
    is_success: bool,
    latency: String,
    why: String,
}

impl Row {
    fn new(probe: &RecentProbe) -> Self {
        let failure = probe.report.failure.as_ref();
        let why = failure.map(|failure| {
            let why = format::failure_text((failure.phase, failure.reason));
            format!("{why}: {}", failure.error)
        });
        Self {
            id: probe.id,
            ended: Timestamp::full(probe.report.ended_at),
            module: probe.module.clone(),
            target: probe.target.clone(),
            is_success: failure.is_none(),
            latency: format::latency(probe.report.duration),
            why: why.unwrap_or_default(),
        }
    }
}

/// The page of the probes that `prober` has run, the newest first.
#[must_use]
pub(crate) fn probes_page(prober: &Prober) -> String {
    let recent: Vec<Arc<RecentProbe>> = prober.recent().list();
    let page = Page {
        modules: prober.module_names(),
        probes: recent.iter().map(|probe| Row::new(probe)).collect(),
    };
    page.render().expect("a String takes all")
}
