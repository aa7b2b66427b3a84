//! The last checks and failures of a monitor.

use std::{collections::VecDeque, sync::Arc};

use super::Record;
use crate::check::{Reason, State};

/// Number of checks kept of each monitor, successful or not.
pub(crate) const MAX_RECENT_CHECKS: usize = 32;
/// Number of failed checks kept of each monitor, however many have succeeded since.
pub(crate) const MAX_FAILURES: usize = 16;
/// Bytes kept of an error text.
pub(super) const MAX_ERROR_BYTES: usize = 240;

/// The last checks and failures of a monitor.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RecentChecks {
    /// Number of completed checks, and the number of the last one in `recent`.
    count: u32,
    recent: VecDeque<Record>,
    failures: VecDeque<PastFailure>,
}

/// A failed check with its text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PastFailure {
    /// Number among the checks of its monitor, from 1.
    pub number: u32,
    /// Everything but the error text.
    pub record: Record,
    /// The error text. Shared by consecutive failures with the same text.
    pub error: Arc<str>,
}

/// A past check.
#[derive(Clone, Debug)]
pub(crate) struct CheckEntry {
    /// Number among the checks of its monitor, from 1.
    pub number: u32,
    /// Everything but the error text.
    pub record: Record,
    /// The error text, if it failed and is among the last [`MAX_FAILURES`].
    pub error: Option<Arc<str>>,
}

impl CheckEntry {
    /// The state in which the check found the target.
    #[must_use]
    pub(crate) fn state(&self) -> State {
        match self.record.failure() {
            None => State::Up,
            Some((_, Reason::AgentError)) => State::Unknown,
            Some(_) => State::Down,
        }
    }
}

impl RecentChecks {
    /// The last checks and failures, the oldest first, of a monitor that has completed `count` checks.
    #[must_use]
    pub(crate) fn new(
        count: u32,
        mut recent: VecDeque<Record>,
        mut failures: VecDeque<PastFailure>,
    ) -> Self {
        recent.drain(..recent.len().saturating_sub(MAX_RECENT_CHECKS));
        failures.drain(..failures.len().saturating_sub(MAX_FAILURES));
        Self {
            count,
            recent,
            failures,
        }
    }

    /// Number of completed checks.
    #[must_use]
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// The last checks, the oldest first.
    #[must_use]
    pub(crate) fn recent(&self) -> &VecDeque<Record> {
        &self.recent
    }

    /// The last failures, the oldest first.
    #[must_use]
    pub(crate) fn failures(&self) -> &VecDeque<PastFailure> {
        &self.failures
    }

    /// Adds a check; `error` is its text if it failed.
    pub(crate) fn push(&mut self, record: Record, error: Option<&str>) {
        self.count = self.count.wrapping_add(1);
        push(&mut self.recent, record, MAX_RECENT_CHECKS);
        if let Some(error) = error {
            let error = truncated(error);
            let known = self.failures.back().filter(|known| &*known.error == error);
            let failed = PastFailure {
                number: self.count,
                record,
                error: known.map_or_else(|| error.into(), |known| known.error.clone()),
            };
            push(&mut self.failures, failed, MAX_FAILURES);
        }
    }

    /// The last checks, and the failures before those, each with the latest first.
    pub(super) fn entries(&self) -> (Vec<CheckEntry>, Vec<CheckEntry>) {
        let past = |failed: &PastFailure| CheckEntry {
            number: failed.number,
            record: failed.record,
            error: Some(failed.error.clone()),
        };
        let mut failures = self.failures.iter().rev().peekable();
        let numbers = (1..=self.count).rev();
        let recent = self.recent.iter().rev().zip(numbers);
        let recent = recent.map(|(record, number)| {
            let failed = failures.next_if(|failed| failed.number == number);
            failed.map_or_else(
                || CheckEntry {
                    number,
                    record: *record,
                    error: None,
                },
                past,
            )
        });
        let recent = recent.collect();
        (recent, failures.map(past).collect())
    }
}

/// Adds `item`, and removes the oldest one if there are `max` already. `max` is a power of two.
fn push<T>(items: &mut VecDeque<T>, item: T, max: usize) {
    if items.len() == max {
        items.pop_front();
    }
    items.push_back(item);
}

/// The part of `text` that is kept.
pub(crate) fn truncated(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_ERROR_BYTES)]
}
