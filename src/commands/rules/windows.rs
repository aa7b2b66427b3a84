//! The windows over which burn rates are calculated.

use std::time::Duration;

/// Checks that a window must contain to say anything.
const MIN_CHECKS: u32 = 4;

/// The short windows of `burn_rates.yml`, and the long one for checks that are rarer than these.
const WINDOWS: [(&str, Duration); 5] = [
    ("5m", Duration::from_mins(5)),
    ("30m", Duration::from_mins(30)),
    ("2h", Duration::from_hours(2)),
    ("6h", Duration::from_hours(6)),
    ("4d", Duration::from_hours(4 * 24)),
];

/// The shortest window that says anything about checks at this interval.
pub(super) fn shortest_window(check_every: Duration) -> &'static str {
    let needed = check_every * MIN_CHECKS;
    let long_enough = WINDOWS.iter().find(|(_, window)| *window >= needed);
    long_enough.unwrap_or(&WINDOWS[WINDOWS.len() - 1]).0
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_rules_and_the_runbook_have_the_same_windows() {
        let windows: BTreeSet<_> = WINDOWS.iter().map(|(name, _)| *name).collect();
        let rules = include_str!("burn_rates.yml");
        let selectors = rules.split("{shortest_window").skip(1);
        let selected = selectors.flat_map(|selector| {
            let value = selector.split('"').nth(1).expect("a value in quotes");
            value.split('|')
        });
        assert_eq!(selected.collect::<BTreeSet<_>>(), windows);
        let runbook = include_str!("../../../docs/runbook.md");
        for window in windows {
            assert!(rules.contains(&format!("ratio{window}\n")), "{window}");
            assert!(runbook.contains(&format!("| `{window}` |")), "{window}");
        }
    }
}
