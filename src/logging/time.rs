//! Times in the styles of the formats. A thread renders each second once, because many lines share one.

use std::{
    cell::RefCell,
    fmt::{self, Write},
    time::Duration,
};

use chrono::{DateTime, Local, Utc};

/// Writes local time as Python's `logging` does by default: `2026-11-22 08:59:29,995`.
pub(super) fn write_asctime(out: &mut impl Write, since_epoch: Duration) -> fmt::Result {
    thread_local!(static LOCAL: RenderedSecond = const { RenderedSecond::new() });
    LOCAL.with(|second| {
        second.write(out, since_epoch, |time, text| {
            let local = time.with_timezone(&Local);
            write!(text, "{}", local.format("%Y-%m-%d %H:%M:%S,"))
        })
    })?;
    write_millis(out, since_epoch)
}

/// Writes UTC in the format of RFC 3339, to the millisecond: `2026-11-22T08:59:29.995Z`.
pub(super) fn write_rfc3339(out: &mut impl Write, since_epoch: Duration) -> fmt::Result {
    thread_local!(static UTC: RenderedSecond = const { RenderedSecond::new() });
    UTC.with(|second| {
        second.write(out, since_epoch, |time, text| {
            write!(text, "{}", time.format("%Y-%m-%dT%H:%M:%S."))
        })
    })?;
    write_millis(out, since_epoch)?;
    out.write_char('Z')
}

fn write_millis(out: &mut impl Write, since_epoch: Duration) -> fmt::Result {
    write!(out, "{:03}", since_epoch.subsec_millis())
}

/// The text of the second that a thread wrote last.
struct RenderedSecond(RefCell<(u64, String)>);

impl RenderedSecond {
    const fn new() -> Self {
        Self(RefCell::new((0, String::new())))
    }

    fn write(
        &self,
        out: &mut impl Write,
        since_epoch: Duration,
        render: impl FnOnce(DateTime<Utc>, &mut String) -> fmt::Result,
    ) -> fmt::Result {
        let mut rendered = self.0.borrow_mut();
        let (second, text) = &mut *rendered;
        if text.is_empty() || *second != since_epoch.as_secs() {
            *second = since_epoch.as_secs();
            text.clear();
            let time = i64::try_from(*second)
                .ok()
                .and_then(|second| DateTime::from_timestamp(second, 0));
            render(time.unwrap_or_default(), text)?;
        }
        out.write_str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(since_epoch: Duration, local: &str, utc: &str) {
        let mut out = String::new();
        write_asctime(&mut out, since_epoch).expect("a String takes all");
        assert_eq!(out, local);
        out.clear();
        write_rfc3339(&mut out, since_epoch).expect("a String takes all");
        assert_eq!(out, utc);
    }

    #[test]
    fn a_time_is_rendered_independently_of_earlier_ones() {
        for (seconds, millis, utc) in [
            (1_700_000_000, 7, "2023-11-14T22:13:20.007Z"),
            (1_700_000_000, 999, "2023-11-14T22:13:20.999Z"),
            (1_700_000_001, 0, "2023-11-14T22:13:21.000Z"),
            (1_700_000_000, 10, "2023-11-14T22:13:20.010Z"),
            (0, 0, "1970-01-01T00:00:00.000Z"),
        ] {
            let local = DateTime::from_timestamp(seconds, 0)
                .expect("the moment exists")
                .with_timezone(&Local)
                .format("%Y-%m-%d %H:%M:%S");
            let since_epoch = Duration::from_secs(seconds.unsigned_abs());
            let since_epoch = since_epoch + Duration::from_millis(millis);
            check(since_epoch, &format!("{local},{millis:03}"), utc);
        }
    }

    #[test]
    fn a_time_out_of_range_is_rendered() {
        let mut out = String::new();
        write_rfc3339(&mut out, Duration::MAX).expect("a String takes all");
        assert_eq!(out, "1970-01-01T00:00:00.999Z");
    }
}
