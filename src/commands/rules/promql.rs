//! Writes numbers in PromQL.

/// The matcher of the bucket with this upper bound, as the daemon writes it and as Prometheus 3 stores it.
pub(super) fn le(bound: f64) -> String {
    let ours = bound.to_string();
    if bound.fract() != 0.0 {
        return format!("le=\"{ours}\"");
    }
    if bound < 1e6 {
        return format!(r#"le=~"{ours}|{ours}[.]0""#);
    }
    let theirs = format!("{bound:e}");
    let (digits, exponent) = theirs.split_once('e').expect("it was asked for");
    let digits = digits.replace('.', "[.]");
    format!(r#"le=~"{ours}|{digits}e[+]{exponent:0>2}""#)
}

/// `number` with at most so many decimals, and no zeros at their end.
pub(super) fn decimal(number: f64, decimals: usize) -> String {
    let text = format!("{number:.decimals$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    text.to_owned()
}
