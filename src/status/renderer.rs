//! Renders the history as pages, JSON and badges.

use std::sync::Arc;

use super::{badge, json, now::Now, page, query::Query, selection::Selection};
use crate::{
    history::History,
    storage::{Uptime, Uptimes},
};

/// Renders the pages.
pub struct Status {
    history: Arc<History>,
    uptimes: Option<Arc<Uptimes>>,
}

impl Status {
    /// Renders `history` as it is at the moment of each call, and `uptimes` if there is a store.
    #[must_use]
    pub fn new(history: Arc<History>, uptimes: Option<Arc<Uptimes>>) -> Self {
        Self { history, uptimes }
    }

    /// The uptimes of the monitor `name`.
    fn uptimes(&self, name: &str) -> Vec<Uptime> {
        let uptimes = self.uptimes.as_ref();
        uptimes.map(|uptimes| uptimes.of(name)).unwrap_or_default()
    }

    /// The history that is rendered.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The page of the monitors that `query` selects.
    #[must_use]
    pub fn overview(&self, query: &Query) -> String {
        let monitors = self.history.monitors();
        page::overview(
            &monitors,
            &Selection::new(&monitors, query),
            &self.history.maintenance(),
            &|name| self.uptimes(name),
            query,
            Now::read(),
        )
    }

    /// The page of the monitor `name`.
    #[must_use]
    pub fn monitor(&self, name: &str) -> Option<String> {
        let history = self.history.monitor(name)?;
        Some(page::monitor(&history, &self.uptimes(name), Now::read()))
    }

    /// The same as [`overview`](Self::overview) in JSON.
    #[must_use]
    pub(crate) fn overview_json(&self, query: &Query) -> String {
        json::overview(
            &Selection::new(&self.history.monitors(), query),
            &self.history.maintenance(),
            self.uptimes.as_deref(),
            Now::read(),
        )
    }

    /// The same as [`monitor`](Self::monitor) in JSON.
    #[must_use]
    pub fn monitor_json(&self, name: &str) -> Option<String> {
        let history = self.history.monitor(name)?;
        Some(json::monitor(&history, &self.uptimes(name), Now::read()))
    }

    /// A badge with the state of the monitor `name`, in SVG.
    #[must_use]
    pub fn badge(&self, name: &str) -> Option<String> {
        Some(badge::render(&*self.history.monitor(name)?))
    }
}
