//! Imports maintenance windows of Gatus, which are for all endpoints or for one.

use super::variables::has_reference;
use crate::commands::import::{
    context::Context,
    entry::Keys,
    section::Section,
    windows::{TimeOfDay, set_weekly},
};

/// Days of the week as Gatus calls them, from Sunday on.
const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

/// Makes a window of `section`, for all monitors or for the one called `monitor`.
pub(super) fn read(mut section: Section<'_>, monitor: Option<&str>, context: &mut Context) {
    let report = context.report.clone();
    let path = section.path().clone();
    let shown = monitor.unwrap_or("all monitors");
    report.begin(&path);
    if section.flag("enabled") == Some(false) {
        report.changed(&path, "is disabled");
        context.add_remarks(&format!("Maintenance of {shown}"));
        return;
    }
    match read_times(&mut section) {
        Ok(mut keys) => {
            if let Some(monitor) = monitor {
                keys.push("monitors", regex_syntax::escape(monitor));
            }
            section.finish();
            let name = context.window_names.choose(&[shown]);
            context.add_window(name, keys, &path);
        }
        Err(why) => {
            report.left_out(&path, why);
            context.add_remarks(&format!("Maintenance of {shown}"));
        }
    }
}

fn read_times(section: &mut Section<'_>) -> Result<Keys, String> {
    let start = section.text("start").ok_or("start is missing")?;
    let duration = section.text("duration").ok_or("duration is missing")?;
    let zone = section.text("timezone").unwrap_or_default();
    let mut days = Vec::new();
    for (day, _) in section.texts("every") {
        if has_reference(&day) {
            return Err("a day is in a variable".to_owned());
        }
        let number = DAYS.iter().position(|known| *known == day);
        days.push(number.ok_or_else(|| format!("unknown day {day:?}"))?);
    }
    if has_reference(&start) || has_reference(&duration) {
        return Err("its times are in variables".to_owned());
    }
    let start = TimeOfDay::parse(&start).ok_or_else(|| format!("invalid start {start:?}"))?;
    let duration = section
        .duration("duration")
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| format!("invalid duration {duration:?}"))?;
    let mut keys = Keys::default();
    set_weekly(&mut keys, &days, start, duration);
    if !zone.is_empty() {
        keys.set("time_zone", zone);
    }
    Ok(keys)
}
