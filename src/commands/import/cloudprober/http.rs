//! Imports Cloudprober's probes over HTTP.

use super::targets::{Target, read_map};
use crate::{
    commands::import::{context::Context, entry::Keys, section::Section},
    value::{Node, parse_json},
};

/// The settings that all targets of a probe share.
pub(super) struct Http {
    scheme: Option<String>,
    path: Option<String>,
    port: Option<u32>,
}

/// Reads `http_probe` and sets its keys.
///
/// # Errors
/// Why the probe cannot be a monitor.
pub(super) fn read(
    section: Option<Section<'_>>,
    owner: &str,
    context: &Context,
    keys: &mut Keys,
) -> Result<Http, String> {
    let mut http = Http {
        scheme: None,
        path: None,
        port: None,
    };
    let Some(mut section) = section else {
        return Ok(http);
    };
    let protocol = section.text("protocol");
    http.scheme = section
        .text("scheme")
        .or(protocol)
        .map(|scheme| scheme.to_lowercase());
    http.path = section.text("relative_url");
    http.port = section.text("port").and_then(|port| port.parse().ok());
    keys.set_some(
        "method",
        section.text("method").filter(|method| method != "GET"),
    );
    read_headers(&mut section, owner, context, keys);
    read_body(&mut section, owner, context, keys);
    if let Some(oauth) = section.section("oauth_config") {
        read_oauth(oauth, keys)?;
    }
    if section.flag("disable_http2") == Some(true) {
        keys.set("enable_http2", false);
    }
    if section.flag("disable_cert_validation") == Some(true) {
        keys.set_in("tls_config", "insecure_skip_verify", true);
    }
    if let Some(tls) = section.section("tls_config") {
        read_tls(tls, keys);
    }
    let place = section.path_of("proxy_url");
    if let Some(url) = section.text("proxy_url") {
        keys.set("proxy_url", context.secrets.url(owner, &url, &place, None));
    }
    let place = section.path_of("proxy_connect_header");
    for (name, value) in read_map(&mut section, "proxy_connect_header") {
        let value = context.secrets.header(owner, &name, &value, &place);
        keys.set_in("proxy_connect_header", &name, value);
    }
    let place = section.path_of("max_redirects");
    match section.number("max_redirects") {
        Some(0.0) => keys.set("follow_redirects", false),
        Some(10.0) | None => {}
        Some(_) => context
            .report
            .changed(&place, "up to 10 redirects are followed"),
    }
    let requests = section.number("requests_per_probe").unwrap_or(1.0);
    if requests > 1.0 {
        let place = section.path_of("requests_per_probe");
        let detail = "a check sends one request; shorten check_every for more";
        context.report.changed(&place, detail);
    }
    section.leave_out(
        &["export_response_as_metrics", "response_metrics_options"],
        "responses are not exported as metrics",
    );
    section.drop_keys(
        &["keep_alive", "max_idle_conns"],
        "each check uses a new connection",
    );
    section.drop_keys(&["latency_breakdown"], "all phases are always measured");
    section.ignore(&[
        "resolve_first",
        "interval_between_targets_msec",
        "requests_interval_msec",
    ]);
    section.finish();
    Ok(http)
}

fn read_headers(section: &mut Section<'_>, owner: &str, context: &Context, keys: &mut Keys) {
    let place = section.path_of("header");
    let mut headers = read_map(section, "header");
    let mut first = headers.is_empty().then(|| section.path_of("headers"));
    for mut header in section.sections("headers") {
        let name = header.text("name").unwrap_or_default();
        headers.push((name, header.text("value").unwrap_or_default()));
        header.finish();
    }
    if let Some(agent) = section.text("user_agent") {
        headers.push(("User-Agent".to_owned(), agent));
    }
    let place = first.take().unwrap_or(place);
    for (name, value) in headers {
        let value = context.secrets.header(owner, &name, &value, &place);
        keys.set_in("headers", &name, value);
    }
}

/// Several bodies are one, joined by `&`; the type of the content is guessed.
fn read_body(section: &mut Section<'_>, owner: &str, context: &Context, keys: &mut Keys) {
    if let Some(file) = section.text("body_file") {
        keys.set("body_file", file);
    }
    let place = section.path_of("body");
    let parts: Vec<_> = section
        .texts("body")
        .into_iter()
        .map(|(text, _)| text)
        .collect();
    if parts.is_empty() {
        return;
    }
    let body = parts.join("&");
    let has_type = matches!(keys.get("headers"), Some(Node::Map(headers))
        if headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")));
    let is_form = !body.contains(char::is_whitespace)
        && body.split('&').all(|parameter| parameter.contains('='));
    if !has_type && parse_json(&body).is_ok() {
        keys.set_in("headers", "Content-Type", "application/json");
    } else if !has_type && is_form {
        keys.set_in(
            "headers",
            "Content-Type",
            "application/x-www-form-urlencoded",
        );
    }
    keys.set("body", context.secrets.text(owner, "body", &body, &place));
}

/// A token in a file is the one source of tokens that there is here too.
fn read_oauth(mut section: Section<'_>, keys: &mut Keys) -> Result<(), String> {
    let mut token = section.section("bearer_token");
    let file = token.as_mut().and_then(|token| token.text("file"));
    match file {
        Some(file) => keys.set_in("authorization", "credentials_file", file),
        None => return Err("of oauth_config, only bearer_token.file is supported".to_owned()),
    }
    if let Some(token) = token {
        token.finish();
    }
    Ok(())
}

/// Reads `tls_config`.
pub(super) fn read_tls(mut section: Section<'_>, keys: &mut Keys) {
    for (theirs, ours) in [
        ("ca_cert_file", "ca_file"),
        ("tls_cert_file", "cert_file"),
        ("tls_key_file", "key_file"),
        ("server_name", "server_name"),
    ] {
        if let Some(text) = section.text(theirs) {
            keys.set_in("tls_config", ours, text);
        }
    }
    if section.flag("disable_cert_validation") == Some(true) {
        keys.set_in("tls_config", "insecure_skip_verify", true);
    }
    for (theirs, ours) in [
        ("min_tls_version", "min_version"),
        ("max_tls_version", "max_version"),
    ] {
        let place = section.path_of(theirs);
        let version = section.text(theirs);
        match version.as_deref() {
            Some("TLS_1_2") => keys.set_in("tls_config", ours, "TLS12"),
            Some("TLS_1_3") => keys.set_in("tls_config", ours, "TLS13"),
            Some("TLS_1_0" | "TLS_1_1") => {
                let detail = "TLS 1.2 is the oldest version that is supported";
                section.report().changed(&place, detail);
            }
            _ => {}
        }
    }
    section.drop_keys(&["reload_interval_sec"], "files are watched");
    section.finish();
}

impl Http {
    /// The URL of `target`.
    #[must_use]
    pub(super) fn url(&self, target: &Target) -> String {
        let scheme = self
            .scheme
            .as_ref()
            .or(target.scheme.as_ref())
            .map_or("http", String::as_str);
        let host = target.host.as_ref().unwrap_or(&target.name);
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.clone()
        };
        let port = self
            .port
            .or(target.port)
            .map_or(String::new(), |port| format!(":{port}"));
        let path = self.path.as_ref().or(target.path.as_ref());
        let path = match path {
            Some(path) if path.starts_with('/') || path.is_empty() => path.clone(),
            Some(path) => format!("/{path}"),
            None => String::new(),
        };
        format!("{scheme}://{host}{port}{path}")
    }
}
