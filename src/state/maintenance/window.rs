//! One maintenance window: when it is open, and for which monitors. Pure: every moment is given.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{
    DateTime, Datelike, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Utc,
    Weekday,
};
use chrono_tz::Tz;
use croner::Cron;

use crate::value::Pattern;

/// A maintenance window.
#[derive(Clone, Debug)]
pub struct Window {
    /// Its name.
    pub name: Arc<str>,
    pub(super) schedule: Schedule,
    pub(super) monitors: Monitors,
}

/// The monitors that a window is for: those that all conditions select.
#[derive(Clone, Debug, Default)]
pub(super) struct Monitors {
    /// Patterns of names, of which one must match the whole name; empty for any name.
    pub names: Vec<Pattern>,
    pub labels: BTreeMap<String, String>,
}

/// When a window is open.
#[derive(Clone, Debug)]
pub(super) enum Schedule {
    /// From one moment to another.
    Once {
        from: DateTime<Utc>,
        until: DateTime<Utc>,
    },
    /// At the same time of some days of the week.
    Weekly { times: Times, zone: Tz },
    /// For a while from each time of a cron expression on.
    Cron {
        cron: Box<Cron>,
        duration: TimeDelta,
        zone: Tz,
    },
}

/// Times of the days of a week; a window that does not end later than it begins ends on the next day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    /// The days on which a window begins, from Monday on.
    pub days: [bool; 7],
    pub begin: NaiveTime,
    pub end: NaiveTime,
}

/// One time that a window is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Occurrence {
    pub from: DateTime<Utc>,
    pub until: DateTime<Utc>,
}

impl Window {
    /// True if the window is for the monitor `name` with `labels`.
    pub(super) fn selects(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        let Monitors {
            names,
            labels: wanted,
        } = &self.monitors;
        let is_named = names.is_empty() || names.iter().any(|p| p.matches(name.as_bytes()));
        let mut wanted = wanted.iter();
        is_named && wanted.all(|(name, value)| labels.get(name) == Some(value))
    }
}

impl Schedule {
    /// The time that the window is open at `now`, if it is.
    pub(super) fn current(&self, now: DateTime<Utc>) -> Option<Occurrence> {
        let is_open = |open: &Occurrence| open.from <= now && now < open.until;
        match self {
            Self::Once { from, until } => Some(Occurrence {
                from: *from,
                until: *until,
            })
            .filter(is_open),
            // Of several, the one that ends last.
            Self::Weekly { times, zone } => times
                .around(now, *zone)
                .filter(is_open)
                .max_by_key(|open| open.until),
            Self::Cron {
                cron,
                duration,
                zone,
            } => {
                let last = cron.find_previous_occurrence(&now.with_timezone(zone), true);
                let from = last.ok()?.with_timezone(&Utc);
                let until = from.checked_add_signed(*duration)?;
                Some(Occurrence { from, until }).filter(is_open)
            }
        }
    }

    /// The next time that the window opens after `now`.
    pub(super) fn next(&self, now: DateTime<Utc>) -> Option<Occurrence> {
        let is_later = |open: &Occurrence| now < open.from;
        match self {
            Self::Once { from, until } => Some(Occurrence {
                from: *from,
                until: *until,
            })
            .filter(is_later),
            Self::Weekly { times, zone } => times
                .around(now, *zone)
                .filter(is_later)
                .min_by_key(|open| open.from),
            Self::Cron {
                cron,
                duration,
                zone,
            } => {
                let next = cron.find_next_occurrence(&now.with_timezone(zone), false);
                let from = next.ok()?.with_timezone(&Utc);
                let until = from.checked_add_signed(*duration)?;
                Some(Occurrence { from, until })
            }
        }
    }
}

impl Times {
    /// The windows of the days around `now`: every one that may be open, and the next one.
    fn around(self, now: DateTime<Utc>, zone: Tz) -> impl Iterator<Item = Occurrence> {
        let today = now.with_timezone(&zone).date_naive();
        let first = today.checked_sub_days(Days::new(2)).unwrap_or(today);
        // A window that falls into an hour that is skipped does not open, and the next one does a week later.
        let days = first.iter_days().take(18);
        days.filter_map(move |day| self.on(day, zone))
    }

    /// The window that begins on `day`, if one does.
    fn on(self, day: NaiveDate, zone: Tz) -> Option<Occurrence> {
        let weekday: Weekday = day.weekday();
        if !self.days[weekday.num_days_from_monday() as usize] {
            return None;
        }
        let end = if self.end > self.begin {
            day
        } else {
            day.checked_add_days(Days::new(1))?
        };
        let from = first_moment(day.and_time(self.begin), zone)?;
        let until = last_moment(end.and_time(self.end), zone)?;
        (from < until).then_some(Occurrence { from, until })
    }
}

/// The first moment at which clocks show `local`, or the first one after it if that hour is skipped.
pub(super) fn first_moment(local: NaiveDateTime, zone: Tz) -> Option<DateTime<Utc>> {
    moment(local, zone, |zone, local| {
        zone.from_local_datetime(&local).earliest()
    })
}

/// The last moment at which clocks show `local`, or the first one after it if that hour is skipped.
fn last_moment(local: NaiveDateTime, zone: Tz) -> Option<DateTime<Utc>> {
    moment(local, zone, |zone, local| {
        zone.from_local_datetime(&local).latest()
    })
}

fn moment(
    local: NaiveDateTime,
    zone: Tz,
    find: impl Fn(Tz, NaiveDateTime) -> Option<DateTime<Tz>>,
) -> Option<DateTime<Utc>> {
    /// A day: as much as a zone ever skipped, when it changed sides of the date line.
    const LONGEST_GAP_MINUTES: i64 = 25 * 60;
    let found = (0..=LONGEST_GAP_MINUTES).find_map(|minutes| {
        let local = local.checked_add_signed(TimeDelta::minutes(minutes))?;
        find(zone, local)
    });
    found.map(|found| found.with_timezone(&Utc))
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
