//! The section `maintenance`: windows by name.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;
use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};

use super::window::{Monitors, Schedule, Times, Window, first_moment};
use crate::value::{EntryPart, Fields, FromNode, Node, Pattern};

/// The longest window.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// Reads the section.
pub(crate) fn read_maintenance(fields: &Fields<'_>) -> Vec<Window> {
    let problems = fields.problems();
    let mut windows = Vec::new();
    for (name, node, path) in fields.entries() {
        if name.is_empty() || name.chars().count() > 200 || name.chars().any(char::is_control) {
            let allowed = "1 to 200 characters without control characters";
            problems.add(path.clone(), EntryPart::Key, "invalid name", allowed);
        }
        if let Some(fields) = Fields::from_node(node, path, problems) {
            windows.extend(read_window(name, fields));
        }
    }
    windows
}

fn read_window(name: &str, mut fields: Fields<'_>) -> Option<Window> {
    let zone = fields
        .optional("time_zone")
        .map_or(Tz::UTC, |Zone(zone)| zone);
    let schedule = read_schedule(&mut fields, zone);
    let monitors = Monitors {
        names: read_names(&mut fields),
        labels: fields.map("labels", |_| Ok(())).into_iter().collect(),
    };
    fields.reject_unknown_keys();
    Some(Window {
        name: name.into(),
        schedule: schedule?,
        monitors,
    })
}

/// The times at which a window opens.
const KINDS: &str = "every, from and until, or cron and duration";

fn read_schedule(fields: &mut Fields<'_>, zone: Tz) -> Option<Schedule> {
    let given = fields.problems().count();
    let every = fields.optional("every").map(|times| (times, zone));
    let from = fields
        .optional("from")
        .and_then(|Moment(from)| from.within(zone));
    let until = fields
        .optional("until")
        .and_then(|Moment(until)| until.within(zone));
    let cron = fields.optional("cron").map(|CronExpression(cron)| cron);
    let duration: Option<Duration> = fields.optional("duration");
    if fields.problems().count() > given {
        return None;
    }
    let duration = match duration.map(|duration| TimeDelta::from_std(duration.min(LONGEST))) {
        None => None,
        Some(duration) => Some(duration.ok()?),
    };
    match (every, from, until, cron, duration) {
        (Some((times, zone)), None, None, None, None) => Some(Schedule::Weekly { times, zone }),
        (None, Some(from), Some(until), None, None) => {
            if from >= until {
                fields.add_value_problem("until", "not later than from", "a later time");
                return None;
            }
            Some(Schedule::Once { from, until })
        }
        (None, None, None, Some(cron), Some(duration)) => {
            let now = Utc::now().with_timezone(&zone);
            if cron.find_next_occurrence(&now, false).is_err() {
                fields.add_value_problem("cron", "this time never comes", "a time that exists");
                return None;
            }
            let cron = Box::new(cron);
            Some(Schedule::Cron {
                cron,
                duration,
                zone,
            })
        }
        (None, None, None, None, None) => {
            fields.add_problem("no time", KINDS);
            None
        }
        _ => {
            fields.add_problem("these keys do not belong together", KINDS);
            None
        }
    }
}

/// The patterns of names under `monitors`: one, or a list of them.
fn read_names(fields: &mut Fields<'_>) -> Vec<Pattern> {
    const KEY: &str = "monitors";
    let problems = fields.problems();
    let nodes = match fields.node(KEY) {
        None => return Vec::new(),
        Some((Node::List(_), _)) => fields.items(KEY, Pattern::EXPECTED),
        Some(single) => vec![single],
    };
    let mut names = Vec::new();
    for (node, path) in nodes {
        let pattern = String::read_node(node).and_then(|text| Pattern::anchored(&text));
        match pattern {
            Ok(pattern) => names.push(pattern),
            Err(wrong) => problems.add(path, EntryPart::Value, wrong, Pattern::EXPECTED),
        }
    }
    names
}

/// A time zone of the IANA database.
struct Zone(Tz);

impl FromNode for Zone {
    const EXPECTED: &'static str = "a time zone such as Europe/Berlin or UTC";

    fn from_node(node: &Node) -> Result<Self, String> {
        let name = String::from_node(node)?;
        let zone = name.parse();
        zone.map(Self)
            .map_err(|_| format!("unknown time zone {name:?}"))
    }
}

/// A moment, with or without an offset from UTC.
#[derive(Clone, Copy)]
enum GivenMoment {
    Absolute(DateTime<Utc>),
    Local(NaiveDateTime),
}

struct Moment(GivenMoment);

impl GivenMoment {
    fn within(self, zone: Tz) -> Option<DateTime<Utc>> {
        match self {
            Self::Absolute(moment) => Some(moment),
            Self::Local(local) => first_moment(local, zone),
        }
    }
}

impl FromNode for Moment {
    const EXPECTED: &'static str =
        "a time such as 2026-12-01T22:00:00+01:00, or 2026-12-01 22:00 in time_zone";

    fn from_node(node: &Node) -> Result<Self, String> {
        const LOCAL: [&str; 4] = [
            "%Y-%m-%d %H:%M",
            "%Y-%m-%d %H:%M:%S",
            "%Y-%m-%dT%H:%M",
            "%Y-%m-%dT%H:%M:%S",
        ];
        let text = String::from_node(node)?;
        if let Ok(moment) = DateTime::parse_from_rfc3339(&text) {
            return Ok(Self(GivenMoment::Absolute(moment.with_timezone(&Utc))));
        }
        let mut formats = LOCAL.iter();
        let local = formats
            .find_map(|format| NaiveDateTime::parse_from_str(&text, format).ok())
            .ok_or_else(|| format!("invalid time {text:?}"))?;
        Ok(Self(GivenMoment::Local(local)))
    }
}

/// An expression of cron(8) with five fields.
struct CronExpression(Cron);

impl FromNode for CronExpression {
    const EXPECTED: &'static str = "a cron expression of five fields, such as 0 3 * * 2";

    fn from_node(node: &Node) -> Result<Self, String> {
        let text = String::from_node(node)?;
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed);
        let cron = parser.build().parse(&text);
        cron.map(Self)
            .map_err(|_| format!("invalid cron expression {text:?}"))
    }
}

impl FromNode for Times {
    const EXPECTED: &'static str =
        "days and times such as Sun 02:00-04:00, Mon-Fri 22:00-01:00 or 02:00-02:30";

    fn from_node(node: &Node) -> Result<Self, String> {
        let text = String::from_node(node)?;
        parse_times(&text).ok_or_else(|| format!("invalid times {text:?}"))
    }
}

fn parse_times(text: &str) -> Option<Times> {
    let (days, times) = match text.trim().rsplit_once(' ') {
        Some((days, times)) => (parse_days(days)?, times),
        None => ([true; 7], text.trim()),
    };
    let (begin, end) = times.split_once('-')?;
    let begin = parse_time(begin)?;
    // The end of a day is the beginning of the next one.
    let end = if end == "24:00" {
        NaiveTime::MIN
    } else {
        parse_time(end)?
    };
    Some(Times { days, begin, end })
}

fn parse_time(text: &str) -> Option<NaiveTime> {
    let (hours, minutes) = text.split_once(':')?;
    let digits = |part: &str| {
        let is_short = (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        is_short.then(|| part.parse().ok())?
    };
    NaiveTime::from_hms_opt(
        digits(hours)?,
        digits(minutes).filter(|_| minutes.len() == 2)?,
        0,
    )
}

/// Days such as `Sun`, `Mon-Fri` or `Mon,Wed`, in English, in full or shortened to three letters.
fn parse_days(text: &str) -> Option<[bool; 7]> {
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (parse_day(first)?, parse_day(last)?),
            None => (parse_day(part)?, parse_day(part)?),
        };
        let mut day = first;
        days[day] = true;
        while day != last {
            day = (day + 1) % 7;
            days[day] = true;
        }
    }
    Some(days)
}

fn parse_day(text: &str) -> Option<usize> {
    let day: chrono::Weekday = text.trim().parse().ok()?;
    Some(day.num_days_from_monday() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_times() {
        let shown = |text: &str| {
            let times = parse_times(text)?;
            let days: String = times
                .days
                .map(|is_on| if is_on { 'x' } else { '.' })
                .iter()
                .collect();
            Some(format!(
                "{days} {}-{}",
                times.begin.format("%H:%M"),
                times.end.format("%H:%M")
            ))
        };
        for (text, expected) in [
            ("Sun 02:00-04:00", Some("......x 02:00-04:00")),
            ("sunday 2:00-04:00", Some("......x 02:00-04:00")),
            ("Mon-Fri 22:00-01:00", Some("xxxxx.. 22:00-01:00")),
            ("Sat-Mon 00:00-24:00", Some("x....xx 00:00-00:00")),
            ("Mon, Wed 08:00-09:00", Some("x.x.... 08:00-09:00")),
            ("02:00-02:30", Some("xxxxxxx 02:00-02:30")),
            ("Son 02:00-04:00", None),
            ("Sun 02:00", None),
            ("Sun 24:00-04:00", None),
            ("Sun 02:60-04:00", None),
            ("Sun 02:0-04:00", None),
            ("Sun +2:00-04:00", None),
            ("", None),
            (" ", None),
        ] {
            assert_eq!(shown(text).as_deref(), expected, "{text:?}");
        }
    }
}
