//! Times, shares and reasons as text.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat, Utc};

use super::now::Now;
use crate::check::{Phase, Reason};

/// A moment, for machines and as text.
pub(super) struct Timestamp {
    pub(crate) iso: String,
    pub text: String,
}

impl Timestamp {
    /// The time alone if it is on the day of `now`, else the date too.
    pub(super) fn new(time: SystemTime, now: Now) -> Self {
        let (time, now) = (
            DateTime::<Utc>::from(time),
            DateTime::<Utc>::from(now.clock),
        );
        let form = if time.date_naive() == now.date_naive() {
            "%H:%M:%S"
        } else {
            "%Y-%m-%d %H:%M"
        };
        Self {
            iso: iso(time.into()),
            text: time.format(form).to_string(),
        }
    }

    pub(super) fn full(time: SystemTime) -> Self {
        let text = DateTime::<Utc>::from(time).format("%Y-%m-%d %H:%M:%S");
        Self {
            iso: iso(time),
            text: text.to_string(),
        }
    }
}

/// As in RFC 3339, to the second.
pub(super) fn iso(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Unix seconds.
pub(super) fn unix(time: SystemTime) -> i64 {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(seconds.as_secs()).unwrap_or(i64::MAX)
}

/// A latency with three digits: `0.42 ms`, `31.4 ms`, `1.25 s`.
pub(super) fn latency(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1e3;
    let (number, unit) = if millis < 999.5 {
        (millis, "ms")
    } else {
        (millis / 1e3, "s")
    };
    let digits = match number {
        0.0..9.995 => 2,
        9.995..99.95 => 1,
        _ => 0,
    };
    format!("{number:.digits$} {unit}")
}

/// A duration in its largest unit.
pub(super) fn age(time: Duration) -> String {
    let seconds = time.as_secs();
    let (number, unit) = match seconds {
        0..60 => (seconds, "s"),
        60..3_600 => (seconds / 60, "min"),
        3_600..172_800 => (seconds / 3_600, "h"),
        _ => (seconds / 86_400, "days"),
    };
    format!("{number} {unit}")
}

/// A share of 1 in percent, rounded down so that 100 % means all.
pub(super) fn percent(share: f64) -> String {
    if share >= 1.0 {
        return "100 %".to_owned();
    }
    format!("{:.1} %", (share * 1000.0).floor() / 10.0)
}

/// The same with two more digits.
pub(super) fn precise_percent(share: f64) -> String {
    if share >= 1.0 {
        return "100 %".to_owned();
    }
    format!("{:.3} %", (share * 100_000.0).floor() / 1000.0)
}

/// The reason and the phase of a failure.
pub(super) fn failure_text((phase, reason): (Phase, Reason)) -> String {
    format!("{} in {phase}", reason.as_str().replace('_', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_have_three_digits() {
        for (micros, expected) in [
            (0, "0.00 ms"),
            (420, "0.42 ms"),
            (9_996, "10.0 ms"),
            (31_400, "31.4 ms"),
            (99_960, "100 ms"),
            (999_400, "999 ms"),
            (999_600, "1.00 s"),
            (5_000_000, "5.00 s"),
            (86_400_000_000, "86400 s"),
        ] {
            assert_eq!(latency(Duration::from_micros(micros)), expected);
        }
    }

    #[test]
    fn a_share_is_never_rounded_up_to_100_percent() {
        for (share, expected) in [(1.0, "100 %"), (0.9999, "99.9 %"), (0.5, "50.0 %")] {
            assert_eq!(percent(share), expected);
        }
        assert_eq!(precise_percent(0.999_999_9), "99.999 %");
        assert_eq!(precise_percent(1.0), "100 %");
    }

    #[test]
    fn an_age_has_one_unit() {
        for (seconds, expected) in [
            (59, "59 s"),
            (3_599, "59 min"),
            (172_799, "47 h"),
            (172_800, "2 days"),
        ] {
            assert_eq!(age(Duration::from_secs(seconds)), expected);
        }
    }
}
