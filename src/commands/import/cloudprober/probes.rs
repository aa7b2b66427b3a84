//! Imports Cloudprober's probes: each becomes a monitor for each of its targets.

use std::{path::Path, time::Duration};

use super::{
    http,
    targets::{self, SharedTargets, Target},
    validators,
};
use crate::{
    check::Confirm,
    commands::import::{
        context::Context,
        entry::{Entry, Keys},
        names::label_name,
        section::Section,
        yaml,
    },
    value::{self, Node},
};

/// Cloudprober's defaults.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(2);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);

/// Targets of all probes.
const MAX_MONITORS: usize = 100_000;

/// Makes monitors of the probe in `section`, or reports why not.
pub(super) fn read(
    mut section: Section<'_>,
    folder: &Path,
    shared: &SharedTargets,
    context: &mut Context,
) {
    let report = context.report.clone();
    let path = section.path().clone();
    report.begin(&path);
    let has_template = has_template(&section);
    let name = section.text("name").unwrap_or_default();
    if has_template {
        let why = "it has templates: render them with `cloudprober --dumpconfig` first";
        report.left_out(&path, why);
        context.add_remarks(&format!("Probe {name}"));
        return;
    }
    let outcome = Probe::read(&mut section, &name, folder, shared, context);
    match outcome {
        Ok(probe) => {
            end(section);
            probe.add_monitors(&name, &path, context);
        }
        Err(why) => {
            report.begin(&path);
            report.left_out(&path, why);
            context.add_remarks(&format!("Probe {name}"));
        }
    }
}

/// Reports what was not understood.
fn end(mut section: Section<'_>) {
    section.leave_out(
        &["alert"],
        "alerts are sent by Alertmanager, for example with the rule MonitorDown",
    );
    section.leave_out(&["schedule"], "use a silence in Alertmanager");
    section.leave_out(&["source_interface"], "set source_ip_address instead");
    section.leave_out(
        &["run_on"],
        "each daemon runs all of its configuration, or a shard of it",
    );
    section.drop_keys(
        &[
            "latency_distribution",
            "latency_unit",
            "latency_metric_name",
            "stats_export_interval_msec",
            "debug_options",
        ],
        "metrics have other names here; set duration_buckets for the histogram",
    );
    section.ignore(&["startup_delay_msec", "targets_update_sec"]);
    section.finish();
}

/// A probe in the making.
struct Probe {
    kind: &'static str,
    keys: Keys,
    targets: Vec<Target>,
    port: Option<u32>,
    http: Option<http::Http>,
    labels: Vec<(String, String)>,
}

impl Probe {
    fn read(
        section: &mut Section<'_>,
        name: &str,
        folder: &Path,
        shared: &SharedTargets,
        context: &Context,
    ) -> Result<Self, String> {
        if section.flag("negative_test") == Some(true) {
            return Err("negative_test: a check cannot succeed by failing".to_owned());
        }
        let kind = match section.text("type").as_deref() {
            Some("HTTP") => "http",
            Some("TCP") => "tcp",
            Some("PING") => "icmp",
            Some("DNS") => "dns",
            Some("GRPC") => "grpc",
            Some("UDP" | "UDP_LISTENER") => return Err("UDP is not supported".to_owned()),
            Some("EXTERNAL" | "STARLARK" | "EXTERNAL_GRPC" | "EXTENSION" | "USER_DEFINED") => {
                return Err("programs are not run".to_owned());
            }
            Some("BROWSER") => return Err("pages are not opened in a browser".to_owned()),
            Some("SQL") => return Err("databases are not queried".to_owned()),
            Some("SYSTEM") => {
                return Err("the system itself is not watched; use node_exporter".to_owned());
            }
            other => return Err(format!("unknown type {:?}", other.unwrap_or_default())),
        };
        let targets = section.section("targets").ok_or("it has no targets")?;
        let mut probe = Self {
            kind,
            keys: Keys::default(),
            targets: targets::read(targets, folder, shared, context)?,
            port: None,
            http: None,
            labels: read_labels(section),
        };
        if kind != "http" {
            probe.keys.set("type", kind);
        }
        let (interval, timeout) = timing(section);
        probe.keys.set("check_every", interval);
        probe.keys.set("timeout", timeout);
        match kind {
            "http" => {
                let settings = section.section("http_probe");
                let http = http::read(settings, name, context, &mut probe.keys)?;
                probe.http = Some(http);
            }
            "tcp" => probe.read_tcp(section),
            "icmp" => probe.read_ping(section, timeout),
            "dns" => probe.read_dns(section),
            _ => probe.read_grpc(section, name, context)?,
        }
        validators::read(section, kind, &mut probe.keys);
        let source = section.text("source_ip");
        probe.keys.set_some("source_ip_address", source);
        let family = match section.text("ip_version").as_deref() {
            Some("IPV4") => Some("ip4"),
            Some("IPV6") => Some("ip6"),
            _ => None,
        };
        if let Some(family) = family {
            probe.keys.set("preferred_ip_protocol", family);
            probe.keys.set("ip_protocol_fallback", false);
        }
        read_condition(section, &mut probe.keys);
        Ok(probe)
    }

    fn read_tcp(&mut self, section: &mut Section<'_>) {
        let Some(mut tcp) = section.section("tcp_probe") else {
            return;
        };
        self.port = port(&mut tcp);
        if tcp.flag("tls_handshake") == Some(true) {
            self.keys.set("tls", true);
            if let Some(tls) = tcp.section("tls_config") {
                http::read_tls(tls, &mut self.keys);
            }
        } else {
            tcp.drop_keys(&["tls_config"], "has no effect without tls_handshake");
        }
        tcp.ignore(&["resolve_first", "interval_between_targets_msec"]);
        tcp.finish();
    }

    /// Packets are sent as Cloudprober does, and each must be answered.
    fn read_ping(&mut self, section: &mut Section<'_>, timeout: Duration) {
        let mut ping = section.section("ping_probe");
        let mut number = |key, default: u32| {
            let value = ping.as_mut().and_then(|ping| ping.number(key));
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the number is bounded"
            )]
            let value = value.map_or(default, |value| value.clamp(0.0, 100_000.0) as u32);
            value
        };
        let count = number("packets_per_probe", 2).max(1);
        let interval = Duration::from_millis(number("packets_interval_msec", 25).max(1).into());
        let size = number("payload_size", 56);
        if count > 1 {
            self.keys.set("count", count);
            self.keys.set("interval", interval);
            let sending = interval.saturating_mul(count - 1);
            let margin = Duration::from_millis(10);
            let left = timeout.saturating_sub(sending + margin);
            self.keys
                .set("reply_timeout", left.max(Duration::from_millis(1)));
        }
        self.keys.set("payload_size", size);
        if let Some(mut ping) = ping {
            if ping.flag("disable_fragmentation") == Some(true) {
                self.keys.set("dont_fragment", true);
            }
            ping.ignore(&[
                "resolve_targets_interval",
                "use_datagram_socket",
                "disable_integrity_check",
            ]);
            ping.finish();
        }
    }

    fn read_dns(&mut self, section: &mut Section<'_>) {
        let mut dns = section.section("dns_probe");
        let mut text = |key| dns.as_mut().and_then(|dns| dns.text(key));
        let name = text("resolved_domain").unwrap_or_else(|| "www.google.com.".to_owned());
        self.keys.set("query_name", name);
        let kind = text("query_type").unwrap_or_else(|| "MX".to_owned());
        self.keys.set("query_type", kind);
        if let Some(class) = text("query_class") {
            self.keys.set("query_class", class);
        }
        match text("dns_proto").as_deref() {
            Some("TCP") => self.keys.set("transport_protocol", "tcp"),
            Some("TCP_TLS") => self.keys.set("transport_protocol", "tls"),
            _ => {}
        }
        let Some(mut dns) = dns else { return };
        if dns.flag("recursion_desired") == Some(false) {
            self.keys.set("recursion_desired", false);
        }
        let place = dns.path_of("min_answers");
        match dns.number("min_answers") {
            Some(answers) if answers >= 1.0 => {
                let mut rules = Keys::default();
                rules.push("fail_if_none_matches_regexp", ".");
                self.keys.set("validate_answer_rrs", rules);
                if answers > 1.0 {
                    let detail = "at least one answer is required; numbers of them are not judged";
                    dns.report().changed(&place, detail);
                }
            }
            _ => {}
        }
        if dns.number("requests_per_probe").unwrap_or(1.0) > 1.0 {
            let place = dns.path_of("requests_per_probe");
            let detail = "a check sends one query; shorten check_every for more";
            dns.report().changed(&place, detail);
        }
        dns.ignore(&["resolve_first", "requests_interval_msec"]);
        dns.finish();
    }

    fn read_grpc(
        &mut self,
        section: &mut Section<'_>,
        name: &str,
        context: &Context,
    ) -> Result<(), String> {
        let mut grpc = section
            .section("grpc_probe")
            .ok_or("it has no grpc_probe")?;
        if grpc.text("method").as_deref() != Some("HEALTH_CHECK") {
            return Err("only the health service of gRPC can be called (HEALTH_CHECK)".to_owned());
        }
        for key in ["oauth_config", "alts_config"] {
            if grpc.node(key).is_some() {
                return Err(format!("{key} is not supported for gRPC"));
            }
        }
        self.port = port(&mut grpc);
        let service = grpc.text("health_check_service");
        self.keys
            .set_some("service", service.filter(|service| !service.is_empty()));
        if grpc.flag("insecure_transport") != Some(true) {
            self.keys.set("tls", true);
            if let Some(tls) = grpc.section("tls_config") {
                http::read_tls(tls, &mut self.keys);
            }
        }
        for mut header in grpc.sections("headers") {
            let key = header.text("name").unwrap_or_default();
            let place = header.path_of("value");
            let value = header.text("value").unwrap_or_default();
            let value = context.secrets.header(name, &key, &value, &place);
            self.keys.set_in("metadata", &key, value);
            header.finish();
        }
        grpc.leave_out(
            &["health_check_ignore_status"],
            "the service must be serving",
        );
        grpc.ignore(&[
            "num_conns",
            "disable_reuse_conn",
            "default_lb_config",
            "connect_timeout_msec",
            "uri_scheme",
            "blob_size",
            "tls_config",
        ]);
        grpc.finish();
        Ok(())
    }

    /// Adds a monitor for each target: with a template for what they share, if there are several.
    fn add_monitors(self, name: &str, path: &value::Path, context: &mut Context) {
        let report = context.report.clone();
        let comments = report.take_comments();
        let is_single = self.targets.len() == 1;
        let template = (!is_single).then(|| {
            let template = context.template_names.choose(&[name]);
            context.configuration.templates.push(Entry {
                name: template.clone(),
                comments: comments.clone(),
                keys: self.keys.clone(),
                origin: path.clone(),
            });
            template
        });
        for target in &self.targets {
            if context.configuration.monitors.len() >= MAX_MONITORS {
                report.left_out(path, format!("more than {MAX_MONITORS} targets"));
                break;
            }
            let mut keys = Keys::default();
            keys.set_some("extends", template.clone());
            let both = format!("{name}/{}", target.name);
            let names: &[&str] = if is_single { &[name, &both] } else { &[&both] };
            let monitor = context.names.choose(names);
            self.set_target(target, &monitor, path, context, &mut keys);
            if is_single {
                let (kind, others): (Vec<_>, Vec<_>) = self
                    .keys
                    .0
                    .iter()
                    .cloned()
                    .partition(|(key, _)| key == "type");
                keys.0.splice(0..0, kind);
                keys.0.extend(others);
            }
            report.begin(path);
            for (label, value) in &self.labels {
                match substituted(value, target) {
                    Some(value) => {
                        keys.set_in("labels", &label_name(label, path, &report), value);
                    }
                    None => report.left_out(
                        path,
                        format!("additional_label {label}: unknown token in its value"),
                    ),
                }
            }
            let mut own = report.take_comments();
            if is_single {
                own.splice(0..0, comments.clone());
            }
            report.carried_over(path, format!("monitor {}", yaml::scalar(&monitor)));
            context.configuration.monitors.push(Entry {
                name: monitor,
                comments: own,
                keys,
                origin: path.clone(),
            });
        }
    }

    fn set_target(
        &self,
        target: &Target,
        monitor: &str,
        path: &value::Path,
        context: &Context,
        keys: &mut Keys,
    ) {
        if let Some(http) = &self.http {
            let url = http.url(target);
            let url = context.secrets.url(monitor, &url, path, Some(keys));
            keys.set("url", url);
            if let Some(ip) = &target.ip {
                let host = target.host.as_ref().unwrap_or(&target.name);
                keys.set(
                    "resolve",
                    Node::Map(vec![(host.clone(), Node::Text(ip.clone()))]),
                );
            }
            return;
        }
        let host = target
            .ip
            .as_ref()
            .or(target.host.as_ref())
            .unwrap_or(&target.name);
        let port = self.port.or(target.port);
        let text = match (port, self.kind) {
            (Some(port), "tcp" | "grpc" | "dns") if host.contains(':') => {
                format!("[{host}]:{port}")
            }
            (Some(port), "tcp" | "grpc" | "dns") => format!("{host}:{port}"),
            _ => host.clone(),
        };
        keys.set("target", text);
    }
}

/// The condition of the first alert says when a probe is down.
fn read_condition(section: &mut Section<'_>, keys: &mut Keys) {
    let report = section.report();
    let Some((node, path)) = section.repeated("alert").into_iter().next() else {
        return;
    };
    let condition =
        Section::open(node, path, report).and_then(|mut alert| alert.section("condition"));
    let Some(mut condition) = condition else {
        return;
    };
    let mut number = |key| {
        let number = condition
            .text(key)
            .and_then(|text| text.parse::<u32>().ok());
        number.map(|number| number.min(Confirm::MAX_RESULTS))
    };
    let (failures, total) = (number("failures"), number("total"));
    if let Some(failures) = failures.filter(|failures| *failures > 0) {
        keys.set_in("confirm", "failures", failures);
        if let Some(total) = total.filter(|total| *total > failures) {
            keys.set_in("confirm", "of", total);
        }
    }
}

fn port(section: &mut Section<'_>) -> Option<u32> {
    section.text("port").and_then(|port| port.parse().ok())
}

/// The interval and the timeout, in either of their forms.
fn timing(section: &mut Section<'_>) -> (Duration, Duration) {
    let mut read = |text, millis, default| {
        let duration = section.duration(text);
        let millis = section
            .number(millis)
            .filter(|millis| *millis > 0.0)
            .and_then(|millis| Duration::try_from_secs_f64(millis / 1000.0).ok());
        duration.or(millis).unwrap_or(default)
    };
    let interval = read("interval", "interval_msec", DEFAULT_INTERVAL);
    let timeout = read("timeout", "timeout_msec", DEFAULT_TIMEOUT);
    (interval, timeout.min(interval))
}

fn read_labels(section: &mut Section<'_>) -> Vec<(String, String)> {
    let labels = section.sections("additional_label").into_iter();
    labels
        .map(|mut label| {
            let key = label.text("key").unwrap_or_default();
            let value = label.text("value").unwrap_or_default();
            label.finish();
            (key, value)
        })
        .collect()
}

/// `value` with `@target.name@` and the like replaced; `None` if there is something else.
fn substituted(value: &str, target: &Target) -> Option<String> {
    let mut result = String::new();
    let mut parts = value.split('@');
    result.push_str(parts.next()?);
    while let Some(token) = parts.next() {
        match token {
            "target.name" | "target" => result.push_str(&target.name),
            "target.ip" => result.push_str(target.ip.as_deref().unwrap_or_default()),
            "target.port" => {
                result.push_str(&target.port.map_or(String::new(), |port| port.to_string()));
            }
            token => {
                let label = token.strip_prefix("target.label.")?;
                let found = target.labels.iter().find(|(name, _)| name == label);
                result.push_str(found.map_or("", |(_, value)| value));
            }
        }
        result.push_str(parts.next()?);
    }
    Some(result)
}

/// Returns whether there is a template of Go in a text of the probe.
fn has_template(section: &Section<'_>) -> bool {
    fn is_in(node: &Node) -> bool {
        match node {
            Node::Text(text) => text.contains("{{"),
            Node::List(items) => items.iter().any(is_in),
            Node::Map(entries) => entries.iter().any(|(_, node)| is_in(node)),
            _ => false,
        }
    }
    section.unasked().into_iter().any(|(_, node)| is_in(node))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_targets_are_replaced() {
        let target = Target {
            name: "web".to_owned(),
            labels: vec![("dc".to_owned(), "aa".to_owned())],
            ..Target::default()
        };
        for (value, expected) in [
            ("plain", Some("plain")),
            ("@target.label.dc@", Some("aa")),
            ("x-@target.name@-y", Some("x-web-y")),
            ("@target.label.none@", Some("")),
            ("@probe@", None),
            ("a@b", None),
        ] {
            assert_eq!(substituted(value, &target).as_deref(), expected, "{value}");
        }
    }
}
