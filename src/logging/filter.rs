//! The events that are logged: by the configured level, `RUST_LOG` over it, and a maximum over both
//! for crates that could log secrets.

use std::env::{self, VarError};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{ParseError, Targets};

/// Events of these crates stay at warnings: their details hold headers, queries, addresses and
/// bodies, and so passwords and tokens, which no log line may show. A name covers every target
/// that begins with it (`hyper` is `hyper_util` too).
const SENSITIVE_TARGETS: [&str; 12] = [
    "aws_lc", "h2", "h3", "hickory", "http", "hyper", "mio", "quinn", "reqwest", "rustls", "tokio",
    "tower",
];

const SENSITIVE_MAX_LEVEL: LevelFilter = LevelFilter::WARN;

/// The reason why `RUST_LOG` is ignored.
#[derive(Debug, thiserror::Error)]
pub(super) enum FilterError {
    #[error(transparent)]
    Directive(#[from] ParseError),
    #[error(transparent)]
    Variable(VarError),
}

/// Reads a level by the name that Python or `tracing` gives it, in any case.
///
/// `CRITICAL` lies above every event that this program has: it silences errors too.
#[must_use]
pub(crate) fn parse_level(name: &str) -> Option<LevelFilter> {
    Some(match name.to_ascii_uppercase().as_str() {
        "TRACE" => LevelFilter::TRACE,
        "DEBUG" => LevelFilter::DEBUG,
        "INFO" => LevelFilter::INFO,
        "WARNING" | "WARN" => LevelFilter::WARN,
        "ERROR" => LevelFilter::ERROR,
        "CRITICAL" => LevelFilter::OFF,
        _ => return None,
    })
}

/// The filter of a configured level.
pub(super) fn from_level(level: LevelFilter) -> Targets {
    cap_sensitive(&Targets::new().with_default(level))
}

/// The filter of `RUST_LOG`; `None` if it is empty or not set.
pub(super) fn from_environment() -> Result<Option<Targets>, FilterError> {
    match env::var("RUST_LOG") {
        Ok(directives) => parse_directives(&directives),
        Err(VarError::NotPresent) => Ok(None),
        Err(error) => Err(FilterError::Variable(error)),
    }
}

fn parse_directives(directives: &str) -> Result<Option<Targets>, FilterError> {
    // An empty directive would mean ERROR for everything.
    let directives: Vec<String> = directives
        .split(',')
        .map(str::trim)
        .filter(|directive| !directive.is_empty())
        .map(translate)
        .collect();
    if directives.is_empty() {
        return Ok(None);
    }
    Ok(Some(cap_sensitive(&directives.join(",").parse()?)))
}

/// Translates a directive with dots for `::` and Python's level names to the syntax of [`Targets`].
fn translate(directive: &str) -> String {
    let level = |word: &str| parse_level(word.trim()).map(|level| level.to_string());
    match directive.split_once('=') {
        Some((target, word)) => {
            let target = target.trim().replace('.', "::");
            let level = level(word).unwrap_or_else(|| word.trim().to_owned());
            format!("{target}={level}")
        }
        None => level(directive).unwrap_or_else(|| directive.replace('.', "::")),
    }
}

fn cap_sensitive(asked: &Targets) -> Targets {
    let default = asked.default_level().unwrap_or(LevelFilter::OFF);
    let mut filter = Targets::new().with_default(default);
    for wire in SENSITIVE_TARGETS {
        // The directive for the longest prefix decides, as it does in `Targets`.
        let level = asked
            .iter()
            .filter(|(target, _)| wire.starts_with(target))
            .max_by_key(|(target, _)| target.len())
            .map_or(default, |(_, level)| level);
        filter = filter.with_target(wire, level.min(SENSITIVE_MAX_LEVEL));
    }
    for (target, level) in asked {
        let on_the_wire = SENSITIVE_TARGETS
            .iter()
            .any(|wire| target.starts_with(wire));
        let ceiling = if on_the_wire {
            SENSITIVE_MAX_LEVEL
        } else {
            LevelFilter::TRACE
        };
        filter = filter.with_target(target, level.min(ceiling));
    }
    filter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_level(name: &str, expected: Option<LevelFilter>) {
        assert_eq!(parse_level(name), expected, "{name}");
    }

    /// The most verbose level that passes for a target.
    #[track_caller]
    fn check(directives: &str, expected: &[(&str, LevelFilter)]) {
        let filter = parse_directives(directives)
            .expect("the test's directives are valid")
            .expect("the test's directives are not empty");
        check_filter(&filter, expected);
    }

    #[track_caller]
    fn check_filter(filter: &Targets, expected: &[(&str, LevelFilter)]) {
        for (target, expected) in expected {
            let passing = [
                LevelFilter::TRACE,
                LevelFilter::DEBUG,
                LevelFilter::INFO,
                LevelFilter::WARN,
                LevelFilter::ERROR,
            ]
            .into_iter()
            .find(|filter_level| {
                let level = filter_level.into_level().expect("none of them is OFF");
                filter.would_enable(target, &level)
            });
            assert_eq!(passing.unwrap_or(LevelFilter::OFF), *expected, "{target}");
        }
    }

    #[test]
    fn a_level_has_pythons_name_in_any_case() {
        check_level("debug", Some(LevelFilter::DEBUG));
        check_level("Info", Some(LevelFilter::INFO));
        check_level("WARNING", Some(LevelFilter::WARN));
        check_level("warn", Some(LevelFilter::WARN));
        check_level("ERROR", Some(LevelFilter::ERROR));
        check_level("critical", Some(LevelFilter::OFF));
        check_level("trace", Some(LevelFilter::TRACE));
        check_level("", None);
        check_level("NOTSET", None);
        check_level(" INFO", None);
    }

    #[test]
    fn a_level_alone_is_for_everything() {
        check("debug", &[("monitoringdaemon::app", LevelFilter::DEBUG)]);
        check("WARNING", &[("monitoringdaemon::app", LevelFilter::WARN)]);
        check("critical", &[("monitoringdaemon::app", LevelFilter::OFF)]);
        check("off", &[("monitoringdaemon::app", LevelFilter::OFF)]);
    }

    #[test]
    fn a_directive_is_for_its_target() {
        let expected = [
            ("monitoringdaemon::app", LevelFilter::WARN),
            ("monitoringdaemon::dispatcher", LevelFilter::DEBUG),
            ("monitoringdaemon::dispatcher::runner", LevelFilter::DEBUG),
        ];
        check("warn,monitoringdaemon::dispatcher=debug", &expected);
        check("monitoringdaemon.dispatcher=DEBUG,WARNING", &expected);
        check(" warn , monitoringdaemon.dispatcher = debug ,", &expected);
        check(
            "monitoringdaemon.dispatcher",
            &[
                ("monitoringdaemon::dispatcher", LevelFilter::TRACE),
                ("monitoringdaemon::app", LevelFilter::OFF),
            ],
        );
    }

    #[test]
    fn an_empty_variable_is_no_filter() {
        for directives in ["", " ", ",", " , "] {
            let filter = parse_directives(directives).expect("empty is not wrong");
            assert!(filter.is_none(), "{directives:?}");
        }
    }

    #[test]
    fn a_wrong_directive_is_an_error() {
        for directives in ["a=b=c", "info,a=loud", "a[{b=info"] {
            assert!(parse_directives(directives).is_err(), "{directives:?}");
        }
    }

    #[test]
    fn sensitive_targets_are_capped() {
        let wire = |level| {
            [
                ("hyper::client", level),
                ("hyper_util::client::legacy", level),
                ("h2::frame", level),
                ("reqwest::connect", level),
                ("hickory_resolver::lookup", level),
                ("rustls::client", level),
                ("tokio_rustls", level),
                ("tower_http::trace", level),
            ]
        };
        check_filter(&from_level(LevelFilter::TRACE), &wire(LevelFilter::WARN));
        check_filter(&from_level(LevelFilter::ERROR), &wire(LevelFilter::ERROR));
        check_filter(&from_level(LevelFilter::OFF), &wire(LevelFilter::OFF));
        check("trace", &wire(LevelFilter::WARN));
        check("h=trace,r=trace,t=trace", &wire(LevelFilter::WARN));
        check("h=trace,hyp=off", &[("hyper::client", LevelFilter::OFF)]);
        check(
            "hyper=error,hyper::client=trace,hyper_util=trace",
            &[
                ("hyper::server", LevelFilter::ERROR),
                ("hyper::client", LevelFilter::WARN),
                ("hyper_util::client", LevelFilter::WARN),
                ("monitoringdaemon::app", LevelFilter::OFF),
            ],
        );
    }
}
