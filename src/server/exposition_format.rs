//! The format of metrics that a scraper is sent (<https://prometheus.io/docs/instrumenting/content_negotiation/>).

use http::{HeaderMap, HeaderValue, header::ACCEPT};

use crate::metrics::{Format, LabelNames, Syntax};

/// The format of a response with metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ExpositionFormat {
    version: Version,
    /// The scheme that the scraper asks for, if names are written by it.
    escaping: Option<Escaping>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    /// The text format 0.0.4.
    Text0,
    /// The text format 1.0.0.
    Text1,
    /// `OpenMetrics` 0.0.1.
    OpenMetrics0,
    /// `OpenMetrics` 1.0.0.
    OpenMetrics1,
    Protobuf,
}

/// A scheme for names that are not letters, digits and `_`. Such names are left out unless UTF-8 is allowed, so a page
/// without them is one of the other schemes too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escaping {
    AllowUtf8,
    Underscores,
    Values,
}

impl Escaping {
    /// The scheme with this name. `dots` is not one that is written: it changes names with `_`.
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "allow-utf-8" => Self::AllowUtf8,
            "underscores" => Self::Underscores,
            "values" => Self::Values,
            _ => return None,
        })
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Values => "values",
        }
    }
}

/// The formats of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// Every format.
    All,
    /// The text formats.
    Text,
}

impl ExpositionFormat {
    const DEFAULT: Self = Self {
        version: Version::Text0,
        escaping: None,
    };

    /// The best format of those in `offer` for a scraper with these `headers`; the text format 0.0.4 if it accepts
    /// none, as Prometheus' exporters do.
    pub(super) fn negotiate(headers: &HeaderMap, offer: Offer) -> Self {
        let values = headers.get_all(ACCEPT).iter();
        let ranges = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| split_unquoted(value, ','))
            .filter_map(MediaRange::parse);
        let mut best: Option<(Preference, Self)> = None;
        for range in ranges {
            let preference = Preference {
                weight: range.weight,
                is_specific: range.kind != "*/*" && range.kind != "text/*",
            };
            let Some(format) = range.format().filter(|format| format.is_in(offer)) else {
                continue;
            };
            // The first of equal ones.
            if best.is_none_or(|(other, _)| preference.exceeds(other)) {
                best = Some((preference, format));
            }
        }
        best.map_or(Self::DEFAULT, |(_, format)| format)
    }

    fn is_in(self, offer: Offer) -> bool {
        offer == Offer::All || self.version != Version::Protobuf
    }

    /// The format in which the page is written.
    pub(super) fn page(self) -> Format {
        Format {
            syntax: match self.version {
                Version::Text0 | Version::Text1 => Syntax::Text,
                Version::OpenMetrics0 | Version::OpenMetrics1 => Syntax::OpenMetrics,
                Version::Protobuf => Syntax::Protobuf,
            },
            names: match self.escaping {
                Some(Escaping::AllowUtf8) => LabelNames::Utf8,
                _ => LabelNames::Plain,
            },
        }
    }

    /// The content type of the response.
    pub(super) fn content_type(self) -> HeaderValue {
        let mut text = match self.version {
            Version::Text0 => "text/plain; version=0.0.4; charset=utf-8",
            Version::Text1 => "text/plain; version=1.0.0; charset=utf-8",
            Version::OpenMetrics0 => "application/openmetrics-text; version=0.0.1; charset=utf-8",
            Version::OpenMetrics1 => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Version::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
        .to_owned();
        if let Some(escaping) = self.escaping {
            text.push_str("; escaping=");
            text.push_str(escaping.as_str());
        }
        HeaderValue::try_from(text).expect("it is ASCII")
    }
}

/// The preference of a scraper for a format.
#[derive(Clone, Copy)]
struct Preference {
    weight: f64,
    is_specific: bool,
}

impl Preference {
    fn exceeds(self, other: Self) -> bool {
        self.weight > other.weight
            || self.weight >= other.weight && self.is_specific && !other.is_specific
    }
}

/// One of the media ranges of Accept that the client wants.
struct MediaRange<'h> {
    /// In lower case.
    kind: String,
    version: Option<&'h str>,
    escaping: Option<&'h str>,
    proto: Option<&'h str>,
    encoding: Option<&'h str>,
    weight: f64,
}

impl<'h> MediaRange<'h> {
    /// Parses a range; `None` if it is not wanted, or its weight cannot be read.
    fn parse(text: &'h str) -> Option<Self> {
        let mut parts = split_unquoted(text, ';').map(str::trim);
        let mut range = Self {
            kind: parts.next()?.to_ascii_lowercase(),
            version: None,
            escaping: None,
            proto: None,
            encoding: None,
            weight: 1.0,
        };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim();
            let unquoted = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
            let value = unquoted.unwrap_or(value);
            match &*name.trim().to_ascii_lowercase() {
                "version" => range.version = Some(value),
                "escaping" => range.escaping = Some(value),
                "proto" => range.proto = Some(value),
                "encoding" => range.encoding = Some(value),
                "q" => range.weight = value.parse().ok()?,
                _ => {}
            }
        }
        (range.weight > 0.0 && range.weight <= 1.0).then_some(range)
    }

    /// The format that it asks for, if that is known.
    fn format(&self) -> Option<ExpositionFormat> {
        let allows_utf8 = self.escaping == Some("allow-utf-8");
        let version = match &*self.kind {
            "*/*" | "text/*" => return Some(ExpositionFormat::DEFAULT),
            "text/plain" => match self.version {
                Some("1.0.0") => Version::Text1,
                None if allows_utf8 => Version::Text1,
                None | Some("0.0.4") => Version::Text0,
                Some(_) => return None,
            },
            "application/openmetrics-text" => match self.version {
                Some("1.0.0") => Version::OpenMetrics1,
                None | Some("0.0.1") => Version::OpenMetrics0,
                Some(_) => return None,
            },
            "application/vnd.google.protobuf" => {
                let is_family = self.proto == Some("io.prometheus.client.MetricFamily");
                if !is_family || self.encoding != Some("delimited") {
                    return None;
                }
                Version::Protobuf
            }
            _ => return None,
        };
        // Older versions have no schemes.
        let has_escaping = !matches!(version, Version::Text0 | Version::OpenMetrics0);
        let escaping = self.escaping.filter(|_| has_escaping);
        Some(ExpositionFormat {
            version,
            escaping: escaping.and_then(Escaping::from_name),
        })
    }
}

/// The parts of `text` between separators that are not in quotes.
fn split_unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |c| {
        let was_escaped = std::mem::take(&mut is_escaped);
        match c {
            '"' if !was_escaped => is_quoted = !is_quoted,
            '\\' if is_quoted && !was_escaped => is_escaped = true,
            _ => {}
        }
        c == separator && !is_quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    const PROTOBUF: &str = "application/vnd.google.protobuf; \
                            proto=io.prometheus.client.MetricFamily; encoding=delimited";
    const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

    fn headers(accept: &[&str]) -> HeaderMap {
        let values = accept.iter();
        let values = values.map(|value| HeaderValue::from_bytes(value.as_bytes()));
        values
            .map(|value| (ACCEPT, value.expect("a header")))
            .collect()
    }

    #[track_caller]
    fn check(accept: &[&str], expected: &str) {
        let format = ExpositionFormat::negotiate(&headers(accept), Offer::All);
        assert_eq!(format.content_type(), expected, "{accept:?}");
    }

    #[test]
    fn every_version_of_prometheus_gets_what_it_prefers() {
        check(
            &[
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
               text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            ],
            OPEN_METRICS,
        );
        check(
            &[
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
               application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,\
               text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            ],
            PROTOBUF,
        );
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                            application/openmetrics-text;version=0.0.1;q=0.5,\
                            text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                            text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        check(
            &[prometheus_3],
            &format!("{OPEN_METRICS}; escaping=allow-utf-8"),
        );
        check(
            &[
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
                 encoding=delimited;escaping=allow-utf-8;q=0.7",
                prometheus_3,
            ],
            &format!("{PROTOBUF}; escaping=allow-utf-8"),
        );
    }

    #[test]
    fn weights_decide_then_the_order() {
        check(
            &["application/openmetrics-text;version=1.0.0;q=0.2, text/plain;q=0.3"],
            TEXT,
        );
        check(
            &["*/*, application/openmetrics-text;version=1.0.0"],
            OPEN_METRICS,
        );
        check(
            &["text/plain;q=0.5,application/openmetrics-text;version=1.0.0;q=0.5"],
            TEXT,
        );
        check(
            &["application/openmetrics-text;version=1.0.0;q=0, */*;q=0.1"],
            TEXT,
        );
    }

    #[test]
    fn the_escaping_scheme_is_that_of_the_request_if_names_are_written_by_it() {
        for (accept, expected) in [
            (
                "text/plain;version=1.0.0;escaping=underscores",
                "text/plain; version=1.0.0; charset=utf-8; escaping=underscores",
            ),
            (
                "Text/Plain; Escaping=\"allow-utf-8\"",
                "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
            ),
            (
                "text/plain;version=1.0.0;escaping=values",
                "text/plain; version=1.0.0; charset=utf-8; escaping=values",
            ),
            (
                "text/plain;version=1.0.0;escaping=dots",
                "text/plain; version=1.0.0; charset=utf-8",
            ),
            ("text/plain;version=0.0.4;escaping=allow-utf-8", TEXT),
        ] {
            check(&[accept], expected);
        }
    }

    #[test]
    fn names_follow_the_scheme() {
        let names = |accept| {
            let format = ExpositionFormat::negotiate(&headers(&[accept]), Offer::All);
            format.page().names
        };
        let utf8 = "text/plain;version=1.0.0;escaping=allow-utf-8";
        assert_eq!(names(utf8), LabelNames::Utf8);
        for plain in [
            "text/plain;version=0.0.4;escaping=allow-utf-8",
            "text/plain;version=1.0.0;escaping=underscores",
            "text/plain;escaping=allow-utf-8;q=0",
            "*/*",
        ] {
            assert_eq!(names(plain), LabelNames::Plain, "{plain}");
        }
    }

    #[test]
    fn a_scraper_that_accepts_no_format_gets_the_text_format() {
        for accept in [
            "",
            ",,;;==",
            "image/png",
            "text/plain;q=abc",
            "application/openmetrics-text;version=1.0.0;q=NaN",
            "application/openmetrics-text;version=1.0.0;q=inf",
            "application/openmetrics-text;version=1.0.0;q=2",
            "application/openmetrics-text;version=1.0.0;q=-1",
            "application/openmetrics-text;version=3.0.0",
            "application/vnd.google.protobuf",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text",
            "application/vnd.google.protobuf;proto=other.Message;encoding=delimited",
            "x;y=\"application/openmetrics-text;version=1.0.0\"",
            "\"application/openmetrics-text;version=1.0.0",
        ] {
            check(&[accept], TEXT);
        }
        check(&[], TEXT);
        let not_ascii = HeaderValue::from_bytes(b"\xff\xfe").expect("opaque bytes");
        let headers = HeaderMap::from_iter([(ACCEPT, not_ascii)]);
        let format = ExpositionFormat::negotiate(&headers, Offer::All);
        assert_eq!(format, ExpositionFormat::DEFAULT);
    }

    #[test]
    fn parameters_may_be_quoted() {
        check(
            &[
                "application/vnd.google.protobuf; proto=\"io.prometheus.client.MetricFamily\"; encoding=\"delimited\"",
            ],
            PROTOBUF,
        );
    }

    #[test]
    fn probes_are_sent_as_text() {
        let prometheus = headers(&[
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
             application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5",
        ]);
        let format = ExpositionFormat::negotiate(&prometheus, Offer::Text);
        assert_eq!(format.content_type(), OPEN_METRICS);
    }
}
