//! What people see of the monitors: a page of all, a page of each, the same as JSON, and badges.
//!
//! Whatever a target or a user wrote is escaped by the template engine.

mod badge;
mod drawing;
mod json;
mod page;
mod query;
mod selection;
mod words;

use std::{sync::Arc, time::SystemTime};

use tokio::time::Instant;

use crate::history::{History, PastCheck};
use selection::Selection;

pub use query::Query;

/// The stylesheet.
pub const STYLE: &str = include_str!("style.css");
/// The script, without which the page works too, and stands still.
pub const SCRIPT: &str = include_str!("script.js");

/// Renders what the history has.
pub struct Status(Arc<History>);

impl Status {
    /// Renders what `history` has, at the moment of each call.
    #[must_use]
    pub fn new(history: Arc<History>) -> Self {
        Self(history)
    }

    /// What is rendered.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.0
    }

    /// The page of all monitors, or those of them that `query` wants.
    #[must_use]
    pub fn overview(&self, query: &Query) -> String {
        let monitors = self.0.monitors();
        page::overview(&monitors, &Selection::of(&monitors, query), query, now())
    }

    /// The page of the monitor `name`.
    #[must_use]
    pub fn monitor(&self, name: &str) -> Option<String> {
        Some(page::monitor(&*self.0.monitor(name)?, now()))
    }

    /// The same as [`overview`](Self::overview) in JSON.
    #[must_use]
    pub fn overview_json(&self, query: &Query) -> String {
        json::overview(&Selection::of(&self.0.monitors(), query), now())
    }

    /// The same as [`monitor`](Self::monitor) in JSON.
    #[must_use]
    pub fn monitor_json(&self, name: &str) -> Option<String> {
        Some(json::monitor(&*self.0.monitor(name)?, now()))
    }

    /// A picture of how the monitor `name` stands, in SVG.
    #[must_use]
    pub fn badge(&self, name: &str) -> Option<String> {
        Some(badge::of(&*self.0.monitor(name)?))
    }
}

/// The moment of a page, on both clocks.
#[derive(Clone, Copy)]
struct Now {
    clock: SystemTime,
    instant: Instant,
}

fn now() -> Now {
    Now {
        clock: SystemTime::now(),
        instant: Instant::now(),
    }
}

impl Now {
    /// When the clock will show `due`; `None` where that is past.
    fn clock_at(self, due: Instant) -> Option<SystemTime> {
        let until = due.checked_duration_since(self.instant)?;
        self.clock.checked_add(until).filter(|_| !until.is_zero())
    }

    /// Whole days from now until `moment`, in Unix seconds; below 0 once it is past.
    fn days_until(self, moment: i64) -> i64 {
        (moment - words::unix(self.clock)).div_euclid(86_400)
    }
}

/// The part of `checks` that succeeded; `None` without any.
fn uptime(checks: &[PastCheck]) -> Option<f64> {
    let good = checks
        .iter()
        .filter(|check| check.record.failure().is_none());
    #[expect(clippy::cast_precision_loss, reason = "there are a few dozen")]
    let part = good.count() as f64 / checks.len() as f64;
    (!checks.is_empty()).then_some(part)
}
