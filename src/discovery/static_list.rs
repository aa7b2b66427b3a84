//! `static_configs`: targets listed in the configuration.

use std::time::Duration;

use super::{
    payload::{self, Group, Target},
    relabel::{Labels, Scalar},
    source::{Found, PollResult, Source},
};
use crate::value::Fields;

/// The key of this kind of source.
pub(super) const KEY: &str = "static_configs";

/// All targets of a `static_configs` list.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    targets: Vec<Target>,
}

impl Settings {
    pub(super) fn new(groups: Vec<Group>) -> Self {
        Self {
            targets: payload::targets(groups, &[]),
        }
    }

    pub(super) fn source(&self) -> StaticSource {
        StaticSource(self.clone())
    }
}

/// Reads one group of the list.
pub(super) fn read_group(mut fields: Fields<'_>) -> Group {
    let problems = fields.problems().count();
    let targets: Vec<String> = fields.list("targets");
    if targets.iter().any(String::is_empty) {
        fields.add_value_problem("targets", "has an empty target", "addresses or URLs");
    } else if targets.is_empty() && fields.problems().count() == problems {
        fields.add_problem("targets is missing", "a list of addresses or URLs");
    }
    let labels = fields
        .map("labels", |name| {
            if name.is_empty() {
                return Err(("empty".to_owned(), "the name of a label"));
            }
            Ok(())
        })
        .into_iter()
        .map(|(name, Scalar(value))| (name, value));
    // As in Prometheus, a label without a value does not exist.
    let labels: Labels = labels.filter(|(_, value)| !value.is_empty()).collect();
    fields.reject_unknown_keys();
    Group { targets, labels }
}

/// The source of static targets, which never change.
pub(super) struct StaticSource(Settings);

impl Source for StaticSource {
    async fn poll(&mut self) -> Vec<PollResult> {
        vec![PollResult {
            list_name: KEY.to_owned(),
            found: Ok(Found::Targets(self.0.targets.clone())),
        }]
    }

    fn interval(&self) -> Duration {
        Duration::MAX
    }
}
