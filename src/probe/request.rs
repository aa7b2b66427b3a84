//! The parameters of `/probe`, as blackbox_exporter reads them.

use std::{borrow::Cow, fmt, time::Duration};

use percent_encoding::percent_decode_str;
use url::form_urlencoded;

/// The module of a request that names none.
const DEFAULT_MODULE: &str = "http_2xx";

/// Seconds that a probe may take if nobody limits it.
const DEFAULT_TIMEOUT: f64 = 120.0;

/// A request for a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeRequest {
    /// `module`
    pub module: String,
    /// `target`; empty if there is none.
    pub target: String,
    /// `hostname`
    pub hostname: Option<String>,
    /// True if the log of the probe is wanted in place of its metrics.
    pub(crate) is_debug: bool,
    /// The value of the header that tells how long the scrape may take.
    pub(crate) scrape_timeout: Option<String>,
}

/// Why a request is answered with an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadRequest {
    /// There is no such module.
    UnknownModule(String),
    /// Its prober is not known.
    UnknownProber(String),
    /// The header with the timeout is not a number.
    InvalidTimeout(String),
    /// There is no target.
    NoTarget,
    /// The module has another Host header than the parameter `hostname`.
    HostConflict {
        /// The module's.
        module: String,
        /// The parameter.
        parameter: String,
    },
    /// As many probes run as may.
    Saturated,
}

impl ProbeRequest {
    /// Reads a query, of which the first value of each parameter counts.
    #[must_use]
    pub fn parse(query: &str, scrape_timeout: Option<&str>) -> Self {
        let mut request = Self {
            module: String::new(),
            target: String::new(),
            hostname: None,
            is_debug: false,
            scrape_timeout: scrape_timeout.map(str::to_owned),
        };
        let mut seen = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if seen.contains(&name) {
                continue;
            }
            match &*name {
                "module" => request.module = value.into_owned(),
                "target" => request.target = decoded_twice(&value).into_owned(),
                "hostname" if !value.is_empty() => request.hostname = Some(value.into_owned()),
                "debug" => request.is_debug = value == "true",
                _ => {}
            }
            seen.push(name);
        }
        if request.module.is_empty() {
            DEFAULT_MODULE.clone_into(&mut request.module);
        }
        request
    }

    /// Maximum duration of the probe: that of the scrape less `offset`, but no longer than the module says.
    ///
    /// # Errors
    /// If the header is not a number of seconds.
    pub(super) fn timeout(
        &self,
        module: Option<Duration>,
        offset: Duration,
    ) -> Result<Duration, BadRequest> {
        let scrape = match self.scrape_timeout.as_deref() {
            None | Some("") => 0.0,
            Some(text) => {
                let seconds = text
                    .parse()
                    .ok()
                    .filter(|seconds: &f64| seconds.is_finite());
                seconds.ok_or_else(|| BadRequest::InvalidTimeout(text.to_owned()))?
            }
        };
        let scrape = if scrape == 0.0 {
            DEFAULT_TIMEOUT
        } else {
            scrape
        };
        let longest = scrape - offset.as_secs_f64();
        let module = module.map_or(0.0, |module| module.as_secs_f64());
        let seconds = if module > 0.0 && module < longest || longest < 0.0 {
            module
        } else {
            longest
        };
        Ok(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    }
}

/// `target`, decoded once more if it is a URL, or has a port, only then: some clients encode it twice.
fn decoded_twice(target: &str) -> Cow<'_, str> {
    let Ok(again) = percent_decode_str(target).decode_utf8() else {
        return target.into();
    };
    let gains = |part: &str| !target.contains(part) && again.contains(part);
    if gains("://") || gains(":") {
        again
    } else {
        target.into()
    }
}

/// As blackbox_exporter says it.
impl fmt::Display for BadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownModule(name) => write!(f, "Unknown module {name:?}"),
            Self::UnknownProber(name) => write!(f, "Unknown prober {name:?}"),
            Self::InvalidTimeout(text) => write!(
                f,
                "Failed to parse timeout from Prometheus header: invalid number {text:?}"
            ),
            Self::NoTarget => f.write_str("Target parameter is missing"),
            Self::HostConflict { module, parameter } => write!(
                f,
                "host header defined both in module configuration ({module}) and with URL-parameter 'hostname' ({parameter})"
            ),
            Self::Saturated => f.write_str(
                "as many probes run as may (probe.max_concurrent_probes, or those of one host); try again later",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deadline_is_that_of_blackbox_exporter() {
        for (module, header, offset, expected) in [
            (0.0, "15", 0.5, 14.5),
            (0.0, "15", 0.0, 15.0),
            (20.0, "15", 0.5, 14.5),
            (20.0, "15", 0.0, 15.0),
            (5.0, "15", 0.0, 5.0),
            (5.0, "15", 0.5, 5.0),
            (10.0, "", 0.5, 10.0),
            (10.0, "10", 0.5, 9.5),
            (9.5, "", 0.5, 9.5),
            (9.5, "", 1.0, 9.5),
            (0.0, "", 0.5, 119.5),
            (0.0, "", 0.0, 120.0),
            (5.0, "0.2", 0.5, 5.0),
            (0.0, "0.2", 0.5, 0.0),
        ] {
            let request = ProbeRequest::parse("", Some(header));
            let module = (module > 0.0).then(|| Duration::from_secs_f64(module));
            let timeout = request.timeout(module, Duration::from_secs_f64(offset));
            let expected = Duration::from_secs_f64(expected);
            assert_eq!(timeout, Ok(expected), "{module:?} {header:?} {offset}");
        }
        for header in ["x", "NaN", "inf", "1 s"] {
            let request = ProbeRequest::parse("", Some(header));
            let timeout = request.timeout(None, Duration::ZERO);
            assert!(timeout.is_err(), "{header:?}");
        }
        let request = ProbeRequest::parse("", Some("1e300"));
        assert!(request.timeout(None, Duration::ZERO).is_ok());
    }

    #[test]
    fn the_first_value_of_a_parameter_counts() {
        let request = ProbeRequest::parse(
            "target=a&target=b&module=m&hostname=&debug=true&other=x",
            None,
        );
        assert_eq!((&*request.target, &*request.module), ("a", "m"));
        assert!(request.is_debug && request.hostname.is_none());
        assert_eq!(ProbeRequest::parse("debug=1", None).module, "http_2xx");
        assert!(!ProbeRequest::parse("debug=1", None).is_debug);
    }

    #[test]
    fn a_target_may_be_encoded_twice() {
        for (query, expected) in [
            ("target=http://a.example/x%3Ay", "http://a.example/x:y"),
            ("target=http%253A%252F%252Fa.example", "http://a.example"),
            ("target=a.example%253A80", "a.example:80"),
            ("target=http://a.example/%252B", "http://a.example/%2B"),
            (
                "target=http://a.example/?q=a%2Bb",
                "http://a.example/?q=a+b",
            ),
        ] {
            assert_eq!(ProbeRequest::parse(query, None).target, expected);
        }
    }
}
