//! Accept-Encoding (RFC 9110, section 12.5.3).

/// The codings of a header with their weights, in order. An invalid weight counts as 0.
pub(crate) fn weighted_codings(header: &str) -> impl Iterator<Item = (&str, f64)> {
    header.split(',').map(weighted_coding)
}

fn weighted_coding(item: &str) -> (&str, f64) {
    let (coding, parameters) = item.split_once(';').unwrap_or((item, ""));
    let weight = match parameters.trim().split_once('=') {
        None if parameters.trim().is_empty() => 1.0,
        Some((name, weight)) if name.trim().eq_ignore_ascii_case("q") => {
            weight.trim().parse().unwrap_or(0.0)
        }
        _ => 0.0,
    };
    (coding.trim(), weight)
}
