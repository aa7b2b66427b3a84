//! Imports maintenances of Uptime Kuma: each becomes a window for the monitors that it is for.

use std::{collections::BTreeMap, time::Duration};

use chrono::{NaiveDateTime, Utc};

use super::tables::Tables;
use crate::{
    commands::import::{
        context::Context,
        entry::Keys,
        section::{Section, scalar_text},
        windows::{TimeOfDay, set_weekly},
    },
    value::{Node, parse_json},
};

/// Columns that say nothing about times, or are those of another strategy.
const IRRELEVANT: [&str; 13] = [
    "id",
    "description",
    "user_id",
    "last_start_date",
    "start_date",
    "end_date",
    "start_time",
    "end_time",
    "weekdays",
    "days_of_month",
    "interval_day",
    "cron",
    "duration",
];

/// Names of imported monitors by the id of the monitor, and by those of the groups that it is in.
pub(super) type MonitorNames = BTreeMap<i128, Vec<String>>;

/// Imports all maintenances.
pub(super) fn read(tables: &Tables, monitors: &MonitorNames, context: &mut Context) {
    let report = context.report.clone();
    for row in &tables.maintenance {
        report.begin(&row.path);
        let Some(mut section) = Section::open(&row.node, row.path.clone(), &report) else {
            continue;
        };
        let title = section.text("title").unwrap_or_default();
        if let Some(why) = reason_to_drop(&mut section) {
            report.changed(&row.path, why);
            context.add_remarks(&format!("Maintenance {title}"));
            continue;
        }
        let maintained = row
            .integer("id")
            .and_then(|id| tables.maintained.get(&id))
            .into_iter()
            .flatten();
        let mut names: Vec<&String> = Vec::new();
        for name in maintained.filter_map(|id| monitors.get(id)).flatten() {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let keys = if names.is_empty() {
            Err("none of its monitors was imported".to_owned())
        } else {
            read_times(&mut section)
        };
        match keys {
            Ok(mut keys) => {
                for name in names {
                    keys.push("monitors", regex_syntax::escape(name));
                }
                section.ignore(&IRRELEVANT);
                section.finish();
                let name = context.window_names.choose(&[&title]);
                context.add_window(name, keys, &row.path);
            }
            Err(why) => {
                report.left_out(&row.path, why);
                context.add_remarks(&format!("Maintenance {title}"));
            }
        }
    }
}

/// Why the maintenance has no effect any more, if that is so.
fn reason_to_drop(section: &mut Section<'_>) -> Option<&'static str> {
    if section.flag("active") == Some(false) {
        return Some("is not active");
    }
    let end = section.text("end_date").and_then(|text| moment(&text));
    end.filter(|end| *end < Utc::now().naive_utc())
        .map(|_| "has ended")
}

fn read_times(section: &mut Section<'_>) -> Result<Keys, String> {
    let mut keys = Keys::default();
    let strategy = section.text("strategy").unwrap_or_default();
    match strategy.as_str() {
        "manual" => return Err("has no times: use a silence in Alertmanager".to_owned()),
        "single" => {
            let (from, until) = (section.text("start_date"), section.text("end_date"));
            keys.set("from", from.ok_or("has no start")?);
            keys.set("until", until.ok_or("has no end")?);
        }
        "recurring-weekday" => {
            let days = list(section, "weekdays");
            let days: Vec<_> = days.iter().filter_map(|day| day.parse().ok()).collect();
            if days.is_empty() {
                return Err("has no days".to_owned());
            }
            let (start, duration) = start_and_duration(section)?;
            set_weekly(&mut keys, &days, start, duration);
        }
        "recurring-interval" => {
            let days = section.number("interval_day").unwrap_or(1.0);
            if days > 1.0 {
                return Err(format!("once in {days} days cannot be expressed"));
            }
            let (start, duration) = start_and_duration(section)?;
            set_weekly(&mut keys, &[], start, duration);
        }
        "recurring-day-of-month" => {
            let (start, duration) = start_and_duration(section)?;
            // Uptime Kuma knows of the last four days, but acts on the last one only.
            let days: Vec<_> = list(section, "days_of_month")
                .into_iter()
                .map(|day| {
                    if day == "lastDay1" {
                        "L".to_owned()
                    } else {
                        day
                    }
                })
                .filter(|day| !day.starts_with("lastDay"))
                .collect();
            if days.is_empty() {
                return Err("has no days".to_owned());
            }
            keys.set("cron", start.cron(&days.join(","), "*"));
            keys.set("duration", duration);
        }
        "cron" => {
            let seconds = section.number("duration").unwrap_or_default();
            let duration = Duration::try_from_secs_f64(seconds).unwrap_or_default();
            if duration.is_zero() {
                return Err("has no duration".to_owned());
            }
            keys.set(
                "cron",
                section.text("cron").ok_or("has no cron expression")?,
            );
            keys.set("duration", duration);
        }
        other => return Err(format!("unknown strategy {other:?}")),
    }
    if strategy != "single" {
        read_limits(section)?;
    }
    match section.text("timezone").as_deref() {
        None | Some("" | "SAME_AS_SERVER") => {
            let detail = "the time zone of the server is not in the database: UTC is assumed";
            section.report().changed(section.path(), detail);
        }
        Some(zone) => keys.set("time_zone", zone),
    }
    Ok(keys)
}

/// Reads the first and the last day of a window that recurs, which it does not have here.
fn read_limits(section: &mut Section<'_>) -> Result<(), String> {
    let start = section.text("start_date").and_then(|text| moment(&text));
    if start.is_some_and(|start| start > Utc::now().naive_utc()) {
        return Err("begins later, and a window that recurs has no first day".to_owned());
    }
    if section.text("end_date").is_some_and(|end| !end.is_empty()) {
        section.leave_out(&["end_date"], "a window that recurs has no last day");
    }
    Ok(())
}

fn start_and_duration(section: &mut Section<'_>) -> Result<(TimeOfDay, Duration), String> {
    let mut time = |column| {
        let text = section.text(column).unwrap_or_default();
        TimeOfDay::parse(&text).ok_or_else(|| format!("invalid {column} {text:?}"))
    };
    let (start, end) = (time("start_time")?, time("end_time")?);
    let duration = start.until(end);
    if duration.is_zero() {
        return Err("ends when it starts".to_owned());
    }
    Ok((start, duration))
}

/// The items of a list in JSON.
fn list(section: &mut Section<'_>, column: &'static str) -> Vec<String> {
    let text = section.text(column).unwrap_or_default();
    match parse_json(&text) {
        Ok(Node::List(items)) => items.iter().filter_map(scalar_text).collect(),
        _ => Vec::new(),
    }
}

/// A moment in the time zone of the maintenance.
fn moment(text: &str) -> Option<NaiveDateTime> {
    const FORMATS: [&str; 4] = [
        "%Y-%m-%d %H:%M",
        "%Y-%m-%d %H:%M:%S",
        "%Y-%m-%dT%H:%M",
        "%Y-%m-%dT%H:%M:%S",
    ];
    let mut formats = FORMATS.iter();
    formats.find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
}
