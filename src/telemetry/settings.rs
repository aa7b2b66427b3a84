//! The section `telemetry` of the configuration.

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderMap, header};
use url::Url;

use super::{metric_source::Temporality, stats::Signal};
use crate::{
    check::TraceId,
    net::{http::Proxies, tls},
    settings::{read_known_credentials, read_proxies, read_tls_config, refuse_headers},
    value::{Fields, FromNode, HttpUrl, Node, read_duration},
};

/// The section `telemetry`: what is exported, and where to. By default, nothing is.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `telemetry.resource`: attributes of everything that is exported.
    pub resource: BTreeMap<String, String>,
    /// `telemetry.traces`
    pub traces: Option<TraceSettings>,
    /// `telemetry.logs`
    pub logs: Option<ExporterSettings>,
    /// `telemetry.metrics`
    pub metrics: Option<MetricSettings>,
}

/// Settings of traces.
#[derive(Clone, Debug)]
pub struct TraceSettings {
    /// Where they are sent.
    pub exporter: ExporterSettings,
    /// `sample.failures`: the share of failed checks whose traces are exported.
    pub failures: SampleRatio,
    /// `sample.successes`: the share of other checks.
    pub successes: SampleRatio,
}

/// Settings of metrics.
#[derive(Clone, Debug)]
pub struct MetricSettings {
    /// Where they are sent.
    pub exporter: ExporterSettings,
    /// `every`: the time from one export to the next.
    pub every: Duration,
    /// `temporality`: what counters and histograms refer to.
    pub temporality: Temporality,
}

/// Where a signal is sent, and how.
#[derive(Clone)]
pub struct ExporterSettings {
    /// The URL that requests are sent to.
    pub url: Url,
    /// Headers of each request, the one with the credentials among them.
    pub headers: HeaderMap,
    /// True if requests are compressed.
    pub compresses: bool,
    /// The longest time that one request may take.
    pub timeout: Duration,
    /// TLS settings.
    pub tls: tls::Settings,
    /// The proxies that requests go through.
    pub(crate) proxies: Option<Proxies>,
}

impl std::fmt::Debug for ExporterSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExporterSettings")
            .field("url", &HttpUrl::redacted(&self.url))
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// The settings of `signal`, if it is exported.
    pub(super) fn exporter(&self, signal: Signal) -> Option<&ExporterSettings> {
        match signal {
            Signal::Traces => self.traces.as_ref().map(|traces| &traces.exporter),
            Signal::Logs => self.logs.as_ref(),
            Signal::Metrics => self.metrics.as_ref().map(|metrics| &metrics.exporter),
        }
    }

    /// Number of signals that are queued.
    #[must_use]
    pub(crate) fn queues(&self) -> usize {
        usize::from(self.traces.is_some()) + usize::from(self.logs.is_some())
    }

    /// Returns true if deltas of metrics are exported.
    #[must_use]
    pub(crate) fn has_deltas(&self) -> bool {
        let metrics = self.metrics.as_ref();
        metrics.is_some_and(|metrics| metrics.temporality == Temporality::Delta)
    }

    /// Reads the section.
    #[must_use]
    pub fn read(mut fields: Fields<'_>) -> Self {
        let resource = fields.map("resource", check_attribute_name);
        let traces = fields.section("traces").and_then(TraceSettings::read);
        let logs = fields.section("logs").and_then(|mut fields| {
            let exporter = ExporterSettings::read(&mut fields, Signal::Logs);
            fields.reject_unknown_keys();
            exporter
        });
        let metrics = fields.section("metrics").and_then(MetricSettings::read);
        fields.reject_unknown_keys();
        Self {
            resource: resource.into_iter().collect(),
            traces,
            logs,
            metrics,
        }
    }
}

fn check_attribute_name(name: &str) -> Result<(), (String, &'static str)> {
    let is_right = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > 200 || !name.chars().all(is_right) {
        let expected = "a name such as deployment.environment.name";
        return Err(("invalid attribute name".to_owned(), expected));
    }
    Ok(())
}

impl TraceSettings {
    fn read(mut fields: Fields<'_>) -> Option<Self> {
        let (mut failures, mut successes) = (None, None);
        if let Some(mut sample) = fields.section("sample") {
            failures = sample.optional("failures");
            successes = sample.optional("successes");
            sample.reject_unknown_keys();
        }
        let exporter = ExporterSettings::read(&mut fields, Signal::Traces);
        fields.reject_unknown_keys();
        Some(Self {
            exporter: exporter?,
            failures: failures.unwrap_or(SampleRatio::ALL),
            successes: successes.unwrap_or(SampleRatio::new(0.01)),
        })
    }
}

impl MetricSettings {
    fn read(mut fields: Fields<'_>) -> Option<Self> {
        let every = fields.optional::<ExportInterval>("every");
        let temporality = fields.optional("temporality").unwrap_or_default();
        let exporter = ExporterSettings::read(&mut fields, Signal::Metrics);
        fields.reject_unknown_keys();
        Some(Self {
            exporter: exporter?,
            every: every.map_or(Duration::from_secs(60), |every| every.0),
            temporality,
        })
    }
}

/// The time from one export of metrics to the next.
struct ExportInterval(Duration);

impl FromNode for ExportInterval {
    const EXPECTED: &'static str = "a duration from 1s to 1h";

    fn from_node(node: &Node) -> Result<Self, String> {
        read_duration(node, Duration::from_secs(1)..=Duration::from_secs(3600)).map(Self)
    }
}

impl ExporterSettings {
    /// Reads the keys that all signals have; `None` without an endpoint.
    fn read(fields: &mut Fields<'_>, signal: Signal) -> Option<Self> {
        let endpoint = fields.required::<HttpUrl>("endpoint");
        let _: Option<Protocol> = fields.optional("protocol");
        let own = [
            header::HOST,
            header::CONTENT_LENGTH,
            header::CONTENT_TYPE,
            header::CONTENT_ENCODING,
            header::TRANSFER_ENCODING,
        ];
        let mut headers = fields.headers(refuse_headers(own, "set by the exporter"));
        let userinfo = endpoint.as_ref().and_then(|url| url.userinfo.clone());
        let credentials = read_known_credentials(fields, userinfo, &headers);
        headers.extend(credentials.map(|value| (header::AUTHORIZATION, value)));
        let compression = fields.optional("compression").unwrap_or(Compression::Gzip);
        let timeout = fields
            .optional("timeout")
            .unwrap_or(Duration::from_secs(10));
        let tls = read_tls_config(fields);
        let proxies = read_proxies(fields);
        let mut url = endpoint?.url;
        if url.path() == "/" {
            url.set_path(signal.path());
        }
        Some(Self {
            url,
            headers,
            compresses: compression == Compression::Gzip,
            timeout,
            tls,
            proxies,
        })
    }
}

/// The protocol between the daemon and a collector; there is one.
struct Protocol;

impl FromNode for Protocol {
    const EXPECTED: &'static str = "http/protobuf";

    fn from_node(node: &Node) -> Result<Self, String> {
        match String::from_node(node)?.as_str() {
            "http/protobuf" => Ok(Self),
            other => Err(format!("unsupported protocol {other:?}")),
        }
    }
}

/// The compression of requests.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Compression {
    Gzip,
    None,
}

impl FromNode for Compression {
    const EXPECTED: &'static str = "gzip or none";

    fn from_node(node: &Node) -> Result<Self, String> {
        match String::from_node(node)?.as_str() {
            "gzip" => Ok(Self::Gzip),
            "none" => Ok(Self::None),
            other => Err(format!("unknown compression {other:?}")),
        }
    }
}

/// A share of checks, decided by their trace ids: a greater share has all checks of a smaller one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleRatio {
    /// The least randomness of a trace id that is sampled (OpenTelemetry, "Probability Sampling", rejection threshold).
    threshold: u64,
}

impl SampleRatio {
    /// All checks.
    pub const ALL: Self = Self { threshold: 0 };

    /// A ratio from 0 to 1.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the nearest number will do, and it is not negative"
    )]
    pub fn new(ratio: f64) -> Self {
        let all = (TraceId::MAX_RANDOMNESS + 1) as f64;
        Self {
            threshold: ((1.0 - ratio.clamp(0.0, 1.0)) * all) as u64,
        }
    }

    pub(super) const fn threshold(self) -> u64 {
        self.threshold
    }
}

impl FromNode for SampleRatio {
    const EXPECTED: &'static str = "a number from 0 to 1";

    fn from_node(node: &Node) -> Result<Self, String> {
        let ratio = f64::from_node(node)?;
        if (0.0..=1.0).contains(&ratio) {
            Ok(Self::new(ratio))
        } else {
            Err(format!("{ratio} is out of range"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_what_they_are_called() {
        let trace = |randomness: u64| TraceId(u128::from(randomness).to_be_bytes());
        let (least, greatest) = (trace(0), trace(TraceId::MAX_RANDOMNESS));
        let is_sampled = |ratio: SampleRatio, id: TraceId| id.randomness() >= ratio.threshold();
        assert!(is_sampled(SampleRatio::ALL, least));
        assert_eq!(SampleRatio::new(1.0), SampleRatio::ALL);
        assert!(!is_sampled(SampleRatio::new(0.0), greatest));
        let half = SampleRatio::new(0.5);
        assert!(is_sampled(half, greatest) && is_sampled(half, trace(1 << 55)));
        assert!(!is_sampled(half, trace((1 << 55) - 1)));
        let one_percent = SampleRatio::new(0.01);
        let sampled = (0..100_000)
            .filter(|_| is_sampled(one_percent, TraceId::random()))
            .count();
        assert!((700..1_300).contains(&sampled), "{sampled} of 100000");
    }
}
