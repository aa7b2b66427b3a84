//! A badge: the name of a monitor and its state.

use askama::Template;

use super::{assets::STYLE, format, uptime::uptime};
use crate::{check::State, history::MonitorHistory};

#[derive(Template)]
#[template(path = "badge.svg", config = "src/status/askama.toml")]
struct Badge<'a> {
    name: String,
    value: &'a str,
    name_width: usize,
    value_width: usize,
    colour: &'a str,
}

/// The badge of `monitor`.
pub(super) fn render(monitor: &MonitorHistory) -> String {
    let state = monitor.state();
    let uptime = uptime(&monitor.snapshot().recent).map(format::percent);
    let value = format!("{} {}", state.as_str(), uptime.unwrap_or_default());
    let value = value.trim_end();
    // Two characters that XML cannot represent.
    let name = monitor.name.replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}");
    let badge = Badge {
        name_width: width(&name),
        value_width: width(value),
        value,
        name,
        colour: colour(state),
    };
    badge.render().expect("a String takes all")
}

/// The colour of `state` on the page, in its light version.
fn colour(state: State) -> &'static str {
    let property = format!("--{}: ", state.as_str());
    let value = STYLE.split_once(&property).map(|(_, value)| value);
    let value = value.and_then(|value| value.split_once(';'));
    value.map_or("#57606a", |(value, _)| value)
}

/// Width of `text`, which the picture stretches or squeezes to fit.
fn width(text: &str) -> usize {
    12 + 7 * text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_the_colours_of_the_page() {
        for state in State::ALL {
            let own = format!("--{state}: ");
            let colour = colour(*state);
            assert!(STYLE.contains(&own), "{state} has no colour");
            assert!(colour.len() == 7 && colour.starts_with('#'), "{colour}");
        }
        assert_ne!(colour(State::Up), colour(State::Down));
        assert_ne!(colour(State::Down), colour(State::Unknown));
    }
}
