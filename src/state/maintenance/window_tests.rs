use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    state::maintenance::read_maintenance,
    value::{Fields, Path, Problems, yaml},
};

fn window(yaml: &str) -> Window {
    let node = yaml::parse(&format!("name: {yaml}")).expect("YAML");
    let problems = Problems::default();
    let fields = Fields::from_node(&node, Path::default(), &problems).expect("a mapping");
    let mut windows = read_maintenance(&fields);
    assert_eq!(problems.count(), 0, "{yaml}");
    windows.pop().expect("one window")
}

fn at(text: &str) -> DateTime<Utc> {
    let moment = DateTime::parse_from_rfc3339(text);
    moment.expect("a moment").with_timezone(&Utc)
}

fn open(schedule: &Schedule, now: &str) -> bool {
    schedule.current(at(now)).is_some()
}

fn next(schedule: &Schedule, now: &str) -> Option<(String, i64)> {
    let next = schedule.next(at(now))?;
    let minutes = (next.until - next.from).num_minutes();
    Some((next.from.format("%FT%H:%MZ").to_string(), minutes))
}

const BERLIN: &str = "{every: 'Sun 02:00-04:00', time_zone: Europe/Berlin}";

#[test]
fn a_weekly_window_is_open_at_its_local_time() {
    let schedule = window(BERLIN).schedule;
    for (now, expected) in [
        ("2026-11-29T01:59:59+01:00", false),
        ("2026-11-29T02:00:00+01:00", true),
        ("2026-11-29T03:59:59+01:00", true),
        ("2026-11-29T04:00:00+01:00", false),
        ("2026-11-28T03:00:00+01:00", false),
        ("2026-07-05T03:00:00+02:00", true),
        ("2026-07-05T01:59:00+02:00", false),
    ] {
        assert_eq!(open(&schedule, now), expected, "{now}");
    }
    let expected = ("2026-11-29T01:00Z".to_owned(), 120);
    assert_eq!(next(&schedule, "2026-11-25T12:00:00Z"), Some(expected));
}

#[test]
fn a_window_over_the_hour_that_is_skipped_is_shorter() {
    // Clocks go from 02:00 to 03:00, which is 01:00 UTC.
    let schedule = window(BERLIN).schedule;
    let expected = ("2026-03-29T01:00Z".to_owned(), 60);
    assert_eq!(next(&schedule, "2026-03-28T12:00:00Z"), Some(expected));
    for (now, expected) in [
        ("2026-03-29T00:59:59Z", false),
        ("2026-03-29T01:00:00Z", true),
        ("2026-03-29T01:59:59Z", true),
        ("2026-03-29T02:00:00Z", false),
    ] {
        assert_eq!(open(&schedule, now), expected, "{now}");
    }
    // One that lies in it alone does not open that day.
    let schedule = window("{every: 'Sun 02:15-02:45', time_zone: Europe/Berlin}").schedule;
    let expected = ("2026-04-05T00:15Z".to_owned(), 30);
    assert_eq!(next(&schedule, "2026-03-28T12:00:00Z"), Some(expected));
}

#[test]
fn a_window_over_the_hour_that_comes_twice_is_longer() {
    // Clocks go from 03:00 back to 02:00, which is 01:00 UTC.
    let schedule = window(BERLIN).schedule;
    let expected = ("2026-10-25T00:00Z".to_owned(), 180);
    assert_eq!(next(&schedule, "2026-10-24T12:00:00Z"), Some(expected));
    for (now, expected) in [
        ("2026-10-24T23:59:59Z", false),
        ("2026-10-25T00:00:00Z", true),
        ("2026-10-25T01:30:00Z", true),
        ("2026-10-25T02:59:59Z", true),
        ("2026-10-25T03:00:00Z", false),
    ] {
        assert_eq!(open(&schedule, now), expected, "{now}");
    }
}

#[test]
fn a_window_may_go_beyond_midnight() {
    let schedule = window("{every: 'Mon,Fri 22:00-02:00'}").schedule;
    assert!(open(&schedule, "2026-11-23T23:00:00Z"));
    assert!(open(&schedule, "2026-11-24T01:59:00Z"));
    assert!(!open(&schedule, "2026-11-24T02:00:00Z"));
    assert!(!open(&schedule, "2026-11-24T23:00:00Z"));
    let expected = ("2026-11-27T22:00Z".to_owned(), 240);
    assert_eq!(next(&schedule, "2026-11-24T00:00:00Z"), Some(expected));
    let daily = window("{every: '00:00-24:00'}").schedule;
    assert!(open(&daily, "2026-11-24T23:59:59Z") && open(&daily, "2026-11-25T00:00:00Z"));
}

#[test]
fn a_window_may_open_once() {
    for yaml in [
        "{from: '2026-12-01T22:00:00+01:00', until: '2026-12-02T02:00:00+01:00'}",
        "{from: 2026-12-01 22:00, until: 2026-12-02 02:00, time_zone: Europe/Berlin}",
    ] {
        let schedule = window(yaml).schedule;
        let expected = ("2026-12-01T21:00Z".to_owned(), 240);
        assert_eq!(next(&schedule, "2026-11-24T00:00:00Z"), Some(expected));
        assert!(!open(&schedule, "2026-12-01T20:59:59Z"));
        assert!(open(&schedule, "2026-12-01T21:00:00Z"));
        assert!(!open(&schedule, "2026-12-02T01:00:00Z"));
        assert_eq!(next(&schedule, "2026-12-01T21:00:00Z"), None);
    }
}

#[test]
fn a_window_may_open_by_cron() {
    let schedule = window("{cron: '0 3 * * 2', duration: 2h, time_zone: Europe/Berlin}").schedule;
    let expected = ("2026-12-01T02:00Z".to_owned(), 120);
    assert_eq!(next(&schedule, "2026-11-27T00:00:00Z"), Some(expected));
    assert!(!open(&schedule, "2026-12-01T01:59:59Z"));
    assert!(open(&schedule, "2026-12-01T02:00:00Z"));
    assert!(open(&schedule, "2026-12-01T03:59:59Z"));
    assert!(!open(&schedule, "2026-12-01T04:00:00Z"));
    // On the day on which an hour is skipped, and on the one on which it comes twice.
    let daily = window("{cron: '30 2 * * *', duration: 1h, time_zone: Europe/Berlin}").schedule;
    let (from, _) = next(&daily, "2026-03-28T12:00:00Z").expect("it opens");
    assert!(
        from.starts_with("2026-03-29T01:") || from.starts_with("2026-03-30T00:30"),
        "{from}"
    );
    let (from, minutes) = next(&daily, "2026-10-24T12:00:00Z").expect("it opens");
    assert_eq!((from.as_str(), minutes), ("2026-10-25T00:30Z", 60));
}

#[test]
fn a_window_is_for_monitors_by_name_and_label() {
    let labels = |team: &str| BTreeMap::from([("team".to_owned(), team.to_owned())]);
    let selects = |yaml: &str, name: &str, team: &str| {
        let yaml = format!("{{every: '02:00-03:00', {yaml}}}");
        window(&yaml).selects(name, &labels(team))
    };
    assert!(selects("", "any", "any"));
    assert!(selects("monitors: db-.*", "db-1", "any"));
    assert!(!selects("monitors: db-.*", "my-db-1", "any"));
    assert!(selects("monitors: [web, db-.*]", "web", "any"));
    assert!(selects("labels: {team: storage}", "any", "storage"));
    assert!(!selects("labels: {team: storage}", "any", "web"));
    assert!(!selects(
        "monitors: db, labels: {team: storage}",
        "db",
        "web"
    ));
}

proptest! {
    #[test]
    fn whatever_the_zone_a_window_opens_when_it_was_to_and_closes_again(
        zone in prop::sample::select(&["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"][..]),
        begin in 0_u32..1440,
        length in 1_u32..1440,
        hours in 0_i64..(3 * 366 * 24),
    ) {
        let zone: Tz = zone.parse().expect("a zone");
        let time = |minutes: u32| NaiveTime::from_hms_opt(minutes / 60 % 24, minutes % 60, 0).expect("a time");
        let times = Times { days: [true; 7], begin: time(begin), end: time(begin + length) };
        let schedule = Schedule::Weekly { times, zone };
        let now = at("2025-01-01T00:00:00Z") + TimeDelta::hours(hours);
        let next = schedule.next(now).expect("every day");
        prop_assert!(next.from > now && next.until > next.from);
        prop_assert!(next.from - now <= TimeDelta::hours(50));
        let longest = TimeDelta::minutes(i64::from(length) + 60);
        prop_assert!(next.until - next.from <= longest);
        // The one that is open may end later than this one.
        let open = schedule.current(next.from).expect("it opens");
        prop_assert!(open.until >= next.until);
        let just_before = schedule.current(next.until - TimeDelta::seconds(1));
        prop_assert!(just_before.is_some());
        if let Some(open) = schedule.current(now) {
            prop_assert!(open.from <= now && now < open.until);
        }
    }
}
