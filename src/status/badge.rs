//! A badge: the name of a monitor, and how it stands.

use askama::Template;

use super::{uptime, words};
use crate::history::{Kept, Standing};

#[derive(Template)]
#[template(path = "badge.svg", config = "src/status/askama.toml")]
struct Badge<'a> {
    name: String,
    value: &'a str,
    name_width: usize,
    value_width: usize,
    colour: &'static str,
}

/// The badge of `monitor`.
pub(super) fn of(monitor: &Kept) -> String {
    let standing = monitor.standing();
    let uptime = uptime(&monitor.snapshot().recent).map(words::percent);
    let value = format!("{} {}", standing.as_str(), uptime.unwrap_or_default());
    let value = value.trim_end();
    // Two characters that XML has no form of.
    let name = monitor.name.replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}");
    let badge = Badge {
        name_width: width(&name),
        value_width: width(value),
        value,
        name,
        colour: match standing {
            Standing::Up => "#1a7f37",
            Standing::Down => "#b42318",
            Standing::Unknown => "#57606a",
        },
    };
    badge.render().expect("a String takes all")
}

/// Room for `text`, which the picture stretches or squeezes into it.
fn width(text: &str) -> usize {
    12 + 7 * text.chars().count()
}
