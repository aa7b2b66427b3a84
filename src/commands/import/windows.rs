//! The times of maintenance windows, as the keys of `maintenance` have them.

use std::time::Duration;

use super::entry::Keys;

/// Days of the week from Sunday on, as cron numbers them.
const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

const MINUTES_OF_DAY: u32 = 24 * 60;

/// A time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeOfDay {
    /// Minutes since midnight.
    minutes: u32,
}

impl TimeOfDay {
    /// The time that `text` is: `HH:MM`, or `HH:MM:00`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':').map(|part| {
            let is_short = (1..=2).contains(&part.len());
            let is_number = part.bytes().all(|byte| byte.is_ascii_digit());
            (is_short && is_number).then(|| part.parse::<u32>().ok())?
        });
        let (hours, minutes) = (parts.next()??, parts.next()??);
        let seconds = parts.next().unwrap_or(Some(0))?;
        let is_time = hours < 24 && minutes < 60 && seconds == 0 && parts.next().is_none();
        is_time.then_some(Self {
            minutes: hours * 60 + minutes,
        })
    }

    /// The time until `end`, which may be on the next day.
    pub(super) fn until(self, end: Self) -> Duration {
        let minutes = (MINUTES_OF_DAY + end.minutes - self.minutes) % MINUTES_OF_DAY;
        Duration::from_secs(u64::from(minutes) * 60)
    }

    /// The expression of cron for this time on `days` of the month and of the week.
    pub(super) fn cron(self, month_days: &str, week_days: &str) -> String {
        let (hours, minutes) = (self.minutes / 60, self.minutes % 60);
        format!("{minutes} {hours} {month_days} * {week_days}")
    }

    fn text(self) -> String {
        format!("{:02}:{:02}", self.minutes / 60, self.minutes % 60)
    }
}

/// Sets the times of a window that opens at `start` for `duration`, on each day or on these `days`, which count from
/// Sunday.
pub(super) fn set_weekly(keys: &mut Keys, days: &[usize], start: TimeOfDay, duration: Duration) {
    let minutes = u32::try_from(duration.as_secs() / 60).unwrap_or(u32::MAX);
    let is_whole = duration.as_secs().is_multiple_of(60) && duration.subsec_nanos() == 0;
    if is_whole && (1..MINUTES_OF_DAY).contains(&minutes) {
        let names = days.iter().filter_map(|day| DAYS.get(*day).copied());
        let names: Vec<_> = names.collect();
        let end = TimeOfDay {
            minutes: (start.minutes + minutes) % MINUTES_OF_DAY,
        };
        let times = format!("{}-{}", start.text(), end.text());
        let every = if names.is_empty() {
            times
        } else {
            format!("{} {times}", names.join(","))
        };
        keys.set("every", every);
        return;
    }
    let numbers: Vec<_> = days.iter().map(usize::to_string).collect();
    let week_days = if numbers.is_empty() {
        "*".to_owned()
    } else {
        numbers.join(",")
    };
    keys.set("cron", start.cron("*", &week_days));
    keys.set("duration", duration);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Node;

    #[test]
    fn times_of_day() {
        for (text, minutes) in [
            ("02:30", Some(150)),
            ("2:30", Some(150)),
            ("23:59:00", Some(1439)),
            ("24:00", None),
            ("12:60", None),
            ("12:00:01", None),
            ("12", None),
            ("+1:00", None),
            ("1:2:3:4", None),
        ] {
            let time = TimeOfDay::parse(text);
            assert_eq!(time.map(|time| time.minutes), minutes, "{text}");
        }
    }

    #[test]
    fn windows_of_a_week() {
        let shown = |days: &[usize], start: &str, seconds: u64| {
            let mut keys = Keys::default();
            let start = TimeOfDay::parse(start).expect("a time");
            set_weekly(&mut keys, days, start, Duration::from_secs(seconds));
            keys.0
        };
        let text = |text: &str| Node::Text(text.to_owned());
        let every = |times: &str| vec![("every".to_owned(), text(times))];
        assert_eq!(shown(&[], "02:00", 1800), every("02:00-02:30"));
        assert_eq!(shown(&[1, 4], "23:00", 7200), every("Mon,Thu 23:00-01:00"));
        let cron = |cron: &str| ("cron".to_owned(), text(cron));
        assert_eq!(shown(&[0], "02:05", 86_400)[0], cron("5 2 * * 0"));
        assert_eq!(shown(&[], "02:05", 90)[0], cron("5 2 * * *"));
    }

    #[test]
    fn a_window_may_end_on_the_next_day() {
        let time = |text: &str| TimeOfDay::parse(text).expect("a time");
        let until = |start: &str, end: &str| time(start).until(time(end)).as_secs();
        assert_eq!(until("02:00", "04:30"), 9000);
        assert_eq!(until("23:00", "01:00"), 7200);
        assert_eq!(until("02:00", "02:00"), 0);
    }
}
