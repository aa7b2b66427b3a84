//! Renders the history as pages, JSON and badges.

use std::sync::Arc;

use super::{badge, json, now::Now, page, query::Query, selection::Selection};
use crate::history::History;

/// Renders the pages.
pub struct Status(Arc<History>);

impl Status {
    /// Renders `history` as it is at the moment of each call.
    #[must_use]
    pub fn new(history: Arc<History>) -> Self {
        Self(history)
    }

    /// The history that is rendered.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.0
    }

    /// The page of the monitors that `query` selects.
    #[must_use]
    pub fn overview(&self, query: &Query) -> String {
        let monitors = self.0.monitors();
        page::overview(
            &monitors,
            &Selection::new(&monitors, query),
            &self.0.maintenance(),
            query,
            Now::read(),
        )
    }

    /// The page of the monitor `name`.
    #[must_use]
    pub fn monitor(&self, name: &str) -> Option<String> {
        Some(page::monitor(&*self.0.monitor(name)?, Now::read()))
    }

    /// The same as [`overview`](Self::overview) in JSON.
    #[must_use]
    pub fn overview_json(&self, query: &Query) -> String {
        json::overview(
            &Selection::new(&self.0.monitors(), query),
            &self.0.maintenance(),
            Now::read(),
        )
    }

    /// The same as [`monitor`](Self::monitor) in JSON.
    #[must_use]
    pub fn monitor_json(&self, name: &str) -> Option<String> {
        Some(json::monitor(&*self.0.monitor(name)?, Now::read()))
    }

    /// A badge with the state of the monitor `name`, in SVG.
    #[must_use]
    pub fn badge(&self, name: &str) -> Option<String> {
        Some(badge::render(&*self.0.monitor(name)?))
    }
}
