//! Parses durations in the formats of Go and of Prometheus.

use std::time::Duration;

use crate::value::{Node, format_duration};

/// Seconds of each unit.
const UNITS: [(&str, f64); 10] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
    ("d", 86_400.0),
    ("w", 604_800.0),
    ("y", 31_536_000.0),
];

/// The duration that `text` stands for, such as `1m30s`, `1.5h` or `0`.
#[must_use]
pub(super) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let (_, size) = UNITS.iter().find(|(unit, _)| *unit == &rest[..end])?;
        seconds += number * size;
        rest = &rest[end..];
    }
    Duration::try_from_secs_f64(seconds).ok()
}

/// The text of `duration` in a configuration, at least a millisecond.
#[must_use]
pub(super) fn node(duration: Duration) -> Node {
    Node::Text(format_duration(duration.max(Duration::from_millis(1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_go_and_prometheus_are_read() {
        for (text, millis) in [
            ("0", Some(0)),
            ("1m30s", Some(90_000)),
            ("1.5h", Some(5_400_000)),
            ("500ms", Some(500)),
            ("1d", Some(86_400_000)),
            ("2w", Some(1_209_600_000)),
            ("250us", Some(0)),
            ("", None),
            ("5", None),
            ("s", None),
            ("5 s", None),
            ("1e9s", None),
            ("99999999999999999999y", None),
        ] {
            let millis = millis.map(Duration::from_millis);
            let read = parse(text)
                .map(|d| Duration::from_millis(d.as_secs() * 1000 + u64::from(d.subsec_millis())));
            assert_eq!(read, millis, "{text:?}");
        }
    }
}
