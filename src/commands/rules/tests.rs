use std::time::Duration;

use super::{
    promql::{decimal, le},
    windows::shortest_window,
};
use crate::text::quoted;

#[test]
fn a_window_has_four_checks_or_is_the_longest() {
    for (seconds, expected) in [
        (1, "5m"),
        (75, "5m"),
        (76, "30m"),
        (450, "30m"),
        (1_800, "2h"),
        (3_600, "6h"),
        (5_400, "6h"),
        (5_401, "4d"),
        (366 * 86_400, "4d"),
    ] {
        let window = shortest_window(Duration::from_secs(seconds));
        assert_eq!(window, expected, "{seconds}");
    }
}

#[test]
fn a_bucket_is_found_however_its_bound_is_written() {
    for (bound, expected) in [
        (0.3, r#"le="0.3""#),
        (0.0025, r#"le="0.0025""#),
        (1.0, r#"le=~"1|1[.]0""#),
        (30.0, r#"le=~"30|30[.]0""#),
        (1_500_000.0, r#"le=~"1500000|1[.]5e[+]06""#),
    ] {
        assert_eq!(le(bound), expected);
    }
}

#[test]
fn a_number_has_no_noise() {
    assert_eq!(decimal((100.0 - 99.9) / 100.0, 10), "0.001");
    assert_eq!(decimal(43_200.0, 1), "43200");
    assert_eq!(decimal(0.5, 1), "0.5");
}

#[test]
fn what_is_quoted_stays_on_one_line_of_plain_characters() {
    assert_eq!(quoted(r#"a "b" \d {{c}} %"#), r#""a \"b\" \\d {{c}} %""#);
    assert_eq!(quoted("größe 数"), "\"größe 数\"");
    assert_eq!(
        quoted("\u{2028}\u{feff}\u{1f980}"),
        r#""\u2028\ufeff\U0001f980""#
    );
}
