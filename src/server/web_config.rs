//! The web configuration file of Prometheus' exporters (exporter-toolkit).

use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::{Settings, basic_auth::Users, tls};
use crate::value::{Fields, Node};

/// The headers that can be configured, with what they can be; nothing for any text.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Content-Security-Policy", &[]),
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
];

impl Settings {
    /// Reads a web configuration, which does not say where to listen.
    #[must_use]
    pub(crate) fn read_web_config(mut fields: Fields<'_>) -> Self {
        let tls = fields.section("tls_server_config");
        let http = fields.section("http_server_config");
        let settings = Self {
            tls: tls.and_then(tls::Settings::read_web_config),
            response_headers: http.map(read_headers).unwrap_or_default(),
            // Of none, there is nobody to let in.
            users: match fields.node("basic_auth_users") {
                Some((Node::Map(users), _)) if users.is_empty() => None,
                _ => Users::read(&mut fields),
            },
            rate_limit: fields.section("rate_limit").and_then(read_rate_limit),
            ..Self::default()
        };
        fields.reject_unknown_keys();
        settings
    }
}

fn read_headers(mut fields: Fields<'_>) -> Vec<(HeaderName, HeaderValue)> {
    // There is no HTTP/2 here.
    let _ = fields.optional::<bool>("http2");
    let check_name = |name: &str| {
        let mut known = HEADERS.iter();
        if known.any(|(known, _)| known.eq_ignore_ascii_case(name)) {
            return Ok(());
        }
        let wrong = format!("HTTP header {name:?} cannot be configured");
        let expected = "Content-Security-Policy, Strict-Transport-Security, X-Content-Type-Options, \
                        X-Frame-Options or X-XSS-Protection";
        Err((wrong, expected))
    };
    let headers = fields.map::<String>("headers", check_name);
    let mut read = Vec::new();
    for (name, value) in headers.into_iter().filter(|(_, value)| !value.is_empty()) {
        let known = HEADERS
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(&name));
        let allowed = known.map_or(&[][..], |(_, allowed)| allowed);
        if !allowed.is_empty() && !allowed.contains(&&*value) {
            let wrong = format_args!("invalid value for {name}");
            fields.add_value_problem("headers", wrong, allowed.join(" or "));
            continue;
        }
        let header = (HeaderName::try_from(&name), HeaderValue::try_from(&value));
        if let (Ok(name), Ok(value)) = header {
            read.push((name, value));
        } else {
            let wrong = format_args!("invalid value for {name}");
            fields.add_value_problem("headers", wrong, "text in one line");
        }
    }
    fields.reject_unknown_keys();
    read
}

/// The interval and the burst; without an interval there is no limit.
fn read_rate_limit(mut fields: Fields<'_>) -> Option<(Duration, usize)> {
    let interval = fields.optional("interval");
    let burst = fields.optional("burst").unwrap_or(1);
    fields.reject_unknown_keys();
    Some((interval?, burst))
}
