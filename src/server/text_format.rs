//! The text format that a scraper is sent (<https://prometheus.io/docs/instrumenting/content_negotiation/>).

use http::{HeaderMap, HeaderValue, header::ACCEPT};

use crate::metrics::LabelNames;

/// The label names that a scraper with these `headers` can read.
pub(super) fn label_names(headers: &HeaderMap) -> LabelNames {
    let values = headers.get_all(ACCEPT).iter();
    let mut ranges = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    if ranges.any(reads_utf8_names) {
        LabelNames::Utf8
    } else {
        LabelNames::Plain
    }
}

/// Returns whether `range`, one of those in Accept, is the text format with names that are not escaped.
fn reads_utf8_names(range: &str) -> bool {
    let mut parts = range.split(';').map(str::trim);
    let is_text = parts
        .next()
        .is_some_and(|kind| kind.eq_ignore_ascii_case("text/plain"));
    let (mut is_unescaped, mut is_wanted) = (false, true);
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        let value = value.trim().trim_matches('"');
        match name.trim() {
            name if name.eq_ignore_ascii_case("escaping") => {
                is_unescaped = value.eq_ignore_ascii_case("allow-utf-8");
            }
            name if name.eq_ignore_ascii_case("q") => {
                is_wanted = value.parse::<f64>().is_ok_and(|weight| weight > 0.0);
            }
            _ => {}
        }
    }
    is_text && is_unescaped && is_wanted
}

/// The content type of a page with such names.
pub(super) fn content_type(names: LabelNames) -> HeaderValue {
    HeaderValue::from_static(match names {
        LabelNames::Plain => PLAIN,
        LabelNames::Utf8 => "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
    })
}

/// The format of the metrics of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProbeFormat {
    /// The text format 0.0.4.
    Text,
    /// OpenMetrics 1.0, which for gauges is the same but for its end.
    OpenMetrics,
}

impl ProbeFormat {
    pub fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Text => PLAIN,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        })
    }
}

/// The format that a scraper with these `headers` likes better.
pub(super) fn probe_format(headers: &HeaderMap) -> ProbeFormat {
    let values = headers.get_all(ACCEPT).iter();
    let ranges = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let (mut open, mut text) = (0.0, 0.0);
    for range in ranges {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parts
            .filter_map(|part| part.split_once('='))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
            .map_or(1.0, |(_, weight)| weight.trim().parse().unwrap_or(0.0));
        match &*kind {
            "application/openmetrics-text" => open = f64::max(open, weight),
            "text/plain" => text = f64::max(text, weight),
            _ => {}
        }
    }
    if open > 0.0 && open >= text {
        ProbeFormat::OpenMetrics
    } else {
        ProbeFormat::Text
    }
}

const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_type_is_that_of_the_text_format() {
        assert!(PLAIN.starts_with(prometheus::TEXT_FORMAT));
    }

    #[test]
    fn label_names_follow_the_accept_header() {
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                            application/openmetrics-text;version=0.0.1;q=0.5,\
                            text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                            text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, expected) in [
            (prometheus_3, LabelNames::Utf8),
            ("Text/Plain; Escaping=\"allow-utf-8\"", LabelNames::Utf8),
            ("text/plain;escaping=allow-utf-8;q=0", LabelNames::Plain),
            (
                "text/plain;version=1.0.0;escaping=underscores",
                LabelNames::Plain,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8,text/plain",
                LabelNames::Plain,
            ),
            ("*/*", LabelNames::Plain),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(label_names(&headers), expected, "{accept}");
        }
        assert_eq!(label_names(&HeaderMap::new()), LabelNames::Plain);
    }
}
