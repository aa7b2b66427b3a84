//! All maintenance windows, and which of them are open.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, Utc};

use super::window::{Occurrence, Window};
use crate::check::MaintenanceWindow;

/// The windows, as of the moment at which they were last looked at.
#[derive(Default)]
pub(in crate::state) struct Timetable {
    windows: Vec<Window>,
    /// For each window, when it is open now and when it opens next.
    times: Vec<(Option<Occurrence>, Option<Occurrence>)>,
    looked_at: Option<DateTime<Utc>>,
    /// When one of them opens or closes.
    next_change: Option<DateTime<Utc>>,
}

impl Timetable {
    /// A timetable of `windows`, which are all closed before it is looked at.
    pub(crate) fn new(windows: Vec<Window>) -> Self {
        Self {
            times: vec![(None, None); windows.len()],
            windows,
            ..Self::default()
        }
    }

    /// Looks at the windows, and returns whether one has opened or closed, or opens at another time.
    pub(crate) fn look(&mut self, now: DateTime<Utc>) -> bool {
        let is_same_time = self.looked_at.is_some_and(|last| last <= now)
            && self.next_change.is_none_or(|change| now < change);
        // The clock may have been set back, to before a change.
        if is_same_time {
            self.looked_at = Some(now);
            return false;
        }
        let times: Vec<_> = self
            .windows
            .iter()
            .map(|window| (window.schedule.current(now), window.schedule.next(now)))
            .collect();
        let changes = times.iter().flat_map(|(current, next)| {
            let closes = current.map(|open| open.until);
            closes.into_iter().chain(next.map(|open| open.from))
        });
        self.next_change = changes.min();
        self.looked_at = Some(now);
        let is_news = times != self.times;
        self.times = times;
        is_news
    }

    /// When a window opens or closes next.
    pub(crate) fn next_change(&self) -> Option<DateTime<Utc>> {
        self.next_change
    }

    /// True if a window is open for the monitor `name` with `labels`.
    pub(crate) fn is_open_for(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        let mut windows = self.windows.iter().zip(&self.times);
        windows.any(|(window, (current, _))| current.is_some() && window.selects(name, labels))
    }

    /// True if there are windows.
    pub(crate) fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// The windows that are open, or else when they open next; those that never open again are left out.
    pub(crate) fn shown(&self) -> Arc<[MaintenanceWindow]> {
        let windows = self.windows.iter().zip(&self.times);
        let mut shown: Vec<_> = windows
            .filter_map(|(window, (current, next))| {
                let times = (*current).or(*next)?;
                Some(MaintenanceWindow {
                    name: window.name.clone(),
                    is_open: current.is_some(),
                    from: times.from.into(),
                    until: times.until.into(),
                })
            })
            .collect();
        shown.sort_by_key(|window| (!window.is_open, window.from));
        shown.into()
    }
}
