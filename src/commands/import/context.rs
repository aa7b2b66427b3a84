//! The state of an import: files, report, and the entries that were made.

use std::rc::Rc;

use super::{
    configuration::Configuration,
    entry::{Entry, Keys},
    names::UniqueNames,
    report::Report,
    secrets::Secrets,
    sources::Sources,
};
use crate::value::Path;

/// The input and the output of an import.
pub(super) struct Context {
    /// The files.
    pub sources: Sources,
    /// The fate of each part of them.
    pub report: Rc<Report>,
    /// The secrets in them.
    pub secrets: Rc<Secrets>,
    /// The configuration made of them.
    pub configuration: Configuration,
    /// The names of its monitors.
    pub names: UniqueNames,
    /// The names of its templates.
    pub(crate) template_names: UniqueNames,
    /// The names of its maintenance windows.
    pub(super) window_names: UniqueNames,
}

impl Context {
    /// Nothing imported yet.
    #[must_use]
    pub(super) fn new(include_secrets: bool) -> Self {
        Self {
            sources: Sources::default(),
            report: Rc::default(),
            secrets: Rc::new(Secrets::new(include_secrets)),
            configuration: Configuration::default(),
            names: UniqueNames::default(),
            template_names: UniqueNames::default(),
            window_names: UniqueNames::default(),
        }
    }

    /// Adds a monitor made of what is at `origin`, with the comments of the report on it.
    pub(super) fn add_monitor(&mut self, name: String, keys: Keys, origin: &Path) {
        let comments = self.report.take_comments();
        self.report
            .carried_over(origin, format!("monitor {}", super::yaml::scalar(&name)));
        self.configuration.monitors.push(Entry {
            name,
            comments,
            keys,
            origin: origin.clone(),
        });
    }

    /// Adds a maintenance window made of what is at `origin`, with the comments of the report on it.
    pub(super) fn add_window(&mut self, name: String, keys: Keys, origin: &Path) {
        let comments = self.report.take_comments();
        let detail = format!("maintenance window {}", super::yaml::scalar(&name));
        self.report.carried_over(origin, detail);
        self.configuration.maintenance.push(Entry {
            name,
            comments,
            keys,
            origin: origin.clone(),
        });
    }

    /// Keeps the comments on something that is left out, for the end of the configuration.
    pub(super) fn add_remarks(&mut self, what: &str) {
        for comment in self.report.take_comments() {
            self.configuration
                .remarks
                .push(format!("{what}: {comment}"));
        }
    }
}
