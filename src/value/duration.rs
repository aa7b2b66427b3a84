//! Durations: a number of seconds, or a text with units such as `1m30s`.

use std::{ops::RangeInclusive, time::Duration};

use super::{FromNode, Node, node::unexpected_kind, units};

/// Units as in Prometheus; a year is 365 days.
const UNITS: [(&str, f64); 7] = [
    ("y", 365.0 * 86_400.0),
    ("w", 7.0 * 86_400.0),
    ("d", 86_400.0),
    ("h", 3_600.0),
    ("m", 60.0),
    ("s", 1.0),
    ("ms", 0.001),
];

/// The resolution of timers.
const MIN_DURATION: Duration = Duration::from_millis(1);
const MAX_DURATION: Duration = Duration::from_secs(366 * 86_400);

impl FromNode for Duration {
    const EXPECTED: &'static str = "seconds (5, 0.5) or a value with a unit (500ms, 5s, 1m30s, 1h, 1d, 2w, 1y) from 1ms to 366d";

    fn from_node(node: &Node) -> Result<Self, String> {
        read_duration(node, MIN_DURATION..=MAX_DURATION)
    }
}

/// Reads a duration within `range`.
///
/// # Errors
/// The problem with `node`.
pub(crate) fn read_duration(
    node: &Node,
    range: RangeInclusive<Duration>,
) -> Result<Duration, String> {
    let seconds = match node {
        Node::Text(text) => parse(text).ok_or_else(|| format!("invalid duration {text:?}"))?,
        Node::Int(_) | Node::Float(_) => f64::from_node(node)?,
        _ => return Err(unexpected_kind(node)),
    };
    let duration = Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|duration| range.contains(duration));
    duration.ok_or_else(|| match node {
        Node::Text(text) => format!("{text:?} is out of range"),
        _ => format!("{seconds} is out of range"),
    })
}

/// Seconds in `text`: numbers with units, each unit at most once, the larger ones first.
fn parse(text: &str) -> Option<f64> {
    let mut seconds = 0.0;
    let mut larger_first = UNITS.iter();
    for (number, unit) in units::split(text)? {
        let (_, size) = larger_first.find(|(name, _)| *name == unit)?;
        seconds += number * size;
    }
    Some(seconds)
}

/// `duration` with units, to the millisecond: `1m30s`, `500ms`.
#[must_use]
pub(crate) fn format_duration(duration: Duration) -> String {
    let mut digits = itoa::Buffer::new();
    let mut text = String::with_capacity(8);
    let mut append = |count: u64, unit| {
        if count > 0 {
            text.push_str(digits.format(count));
            text.push_str(unit);
        }
    };
    let mut seconds = duration.as_secs();
    for (unit, size) in [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)] {
        append(seconds / size, unit);
        seconds %= size;
    }
    append(duration.subsec_millis().into(), "ms");
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(node: &Node, expected: Result<u64, &str>) {
        let read =
            Duration::from_node(node).map(|d| u64::try_from(d.as_millis()).expect("bounded"));
        assert_eq!(read, expected.map_err(str::to_owned), "{node:?}");
    }

    #[test]
    fn a_number_is_seconds() {
        check(&Node::Int(5), Ok(5_000));
        check(&Node::Float(0.5), Ok(500));
        check(&Node::Int(0), Err("0 is out of range"));
        check(&Node::Int(-1), Err("-1 is out of range"));
        check(&Node::Float(0.000_9), Err("0.0009 is out of range"));
        check(&Node::Float(f64::NAN), Err("NaN is out of range"));
        check(&Node::Float(f64::INFINITY), Err("inf is out of range"));
        check(
            &Node::Int(i128::MAX),
            Err("170141183460469230000000000000000000000 is out of range"),
        );
        check(&Node::Bool(true), Err("found a boolean"));
    }

    #[test]
    fn a_text_has_units() {
        for (text, millis) in [
            ("500ms", 500),
            ("5s", 5_000),
            ("1.5s", 1_500),
            ("1m30s", 90_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
            ("1d1h1m1s1ms", 90_061_001),
            ("2w", 14 * 86_400_000),
            ("1y", 365 * 86_400_000),
            ("1w1d", 8 * 86_400_000),
        ] {
            check(&Node::Text(text.into()), Ok(millis));
        }
        for text in [
            "", "5", "s", "5 s", "5S", "5x", "1s1m", "1s1s", "1.2.3s", "-5s", "+5s", "5s ", "٣s",
            "1e3s", "1w1y", "1W", "1M",
        ] {
            check(
                &Node::Text(text.into()),
                Err(&format!("invalid duration {text:?}")),
            );
        }
        check(&Node::Text("0s".into()), Err("\"0s\" is out of range"));
        check(&Node::Text("367d".into()), Err("\"367d\" is out of range"));
    }

    proptest! {
        #[test]
        fn what_is_formatted_reads_back(millis in 1_u64..=366 * 86_400_000) {
            let duration = Duration::from_millis(millis);
            let text = Node::Text(format_duration(duration));
            let read = Duration::from_node(&text).expect("our own text");
            prop_assert_eq!(read.as_micros().div_ceil(1000), duration.as_millis());
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            let _ = Duration::from_node(&Node::Text(text));
        }
    }
}
