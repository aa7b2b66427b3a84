//! Imports the modules of blackbox_exporter: each becomes a template.

use std::time::Duration;

use super::http_client::{self, copy_headers, copy_same, read_tls};
use crate::{
    commands::import::{
        context::Context,
        entry::{Entry, Keys},
        secrets::Secrets,
        section::{Section, scalar_text},
    },
    value::Node,
};

/// The probers, each of which is a type here.
const PROBERS: [&str; 7] = ["http", "tcp", "icmp", "dns", "grpc", "unix", "websocket"];

/// A module that became a template.
#[derive(Clone, Debug)]
pub(super) struct Module {
    /// Its name, and that of the template.
    pub name: String,
    /// The type of its monitors.
    pub prober: &'static str,
    /// Its own timeout.
    pub timeout: Option<Duration>,
    /// True if it speaks TLS whatever the target is.
    pub tls: bool,
}

/// Makes templates of the modules in `section`, the top of blackbox.yml.
pub(super) fn read(mut section: Section<'_>, context: &mut Context) -> Vec<Module> {
    let mut modules = Vec::new();
    let entries = section.section("modules").map(Section::into_entries);
    for (name, node, path) in entries.unwrap_or_default() {
        let report = context.report.clone();
        report.begin(&path);
        let Some(mut module) = Section::open(node, path.clone(), &report) else {
            continue;
        };
        let word = module.text("prober").unwrap_or_default();
        let Some(prober) = PROBERS.iter().find(|known| **known == word) else {
            let detail = format!(
                "unknown prober {word:?}: expected one of {}",
                PROBERS.join(", ")
            );
            report.left_out(&path, detail);
            context.add_remarks(&format!("Module {name}"));
            continue;
        };
        let mut keys = Keys::default();
        keys.set("type", *prober);
        let timeout = module
            .duration("timeout")
            .filter(|timeout| !timeout.is_zero());
        keys.set_some("timeout", timeout);
        for other in PROBERS.iter().filter(|other| *other != prober) {
            let why = format!("has no effect with prober: {prober}");
            module.drop_keys(&[other], &why);
        }
        if *prober != "unix" {
            // Its default, which is another one here.
            keys.set("preferred_ip_protocol", "ip6");
        }
        if let Some(settings) = module.section(prober) {
            let secrets = context.secrets.clone();
            read_settings(prober, settings, name, &secrets, &mut keys);
        }
        let tls = keys.get("tls") == Some(&Node::Bool(true));
        if matches!(*prober, "tcp" | "unix" | "grpc") && !tls {
            let starts_tls = matches!(keys.get("query_response"), Some(Node::List(_)));
            if !starts_tls && keys.get("tls_config").is_some() {
                keys.0.retain(|(key, _)| key != "tls_config");
                report.changed(&path, "tls_config has no effect without tls: true");
            }
        }
        module.finish();
        let comments = report.take_comments();
        report.carried_over(
            &path,
            format!("template {}", crate::commands::import::yaml::scalar(name)),
        );
        let template = context.template_names.choose(&[name]);
        context.configuration.templates.push(Entry {
            name: template,
            comments,
            keys,
            origin: path,
        });
        modules.push(Module {
            name: name.to_owned(),
            prober,
            timeout,
            tls,
        });
    }
    section.finish();
    modules
}

/// Copies the settings of a prober.
fn read_settings(
    prober: &str,
    mut section: Section<'_>,
    owner: &str,
    secrets: &Secrets,
    keys: &mut Keys,
) {
    const ROUTE: [&str; 3] = [
        "preferred_ip_protocol",
        "ip_protocol_fallback",
        "source_ip_address",
    ];
    let same: &[&'static str] = match prober {
        "http" => &[
            "valid_status_codes",
            "valid_http_versions",
            "fail_if_ssl",
            "fail_if_not_ssl",
            "method",
            "fail_if_body_matches_regexp",
            "fail_if_body_not_matches_regexp",
            "fail_if_body_json_matches_cel",
            "fail_if_body_json_not_matches_cel",
            "fail_if_header_matches",
            "fail_if_header_not_matches",
            "body_file",
            "compression",
            "body_size_limit",
        ],
        "tcp" | "unix" | "grpc" => &["tls", "service"],
        "icmp" => &["payload_size", "dont_fragment", "ttl"],
        "dns" => &[
            "dns_over_tls",
            "transport_protocol",
            "query_class",
            "query_name",
            "query_type",
            "recursion_desired",
            "valid_rcodes",
            "validate_answer_rrs",
            "validate_authority_rrs",
            "validate_additional_rrs",
        ],
        _ => &[],
    };
    copy_same(&mut section, same, keys);
    if prober != "unix" {
        copy_same(&mut section, &ROUTE, keys);
    }
    match prober {
        "http" => read_http(&mut section, owner, secrets, keys),
        "websocket" => {
            if let Some(mut client) = section.section("http_config") {
                http_client::copy(&mut client, owner, secrets, keys);
                // Settings of the client that a WebSocket has no use for.
                for key in [
                    "oauth2",
                    "proxy_url",
                    "no_proxy",
                    "proxy_from_environment",
                    "proxy_connect_header",
                    "enable_http2",
                    "follow_redirects",
                ] {
                    let before = keys.0.len();
                    keys.0.retain(|(name, _)| name != key);
                    if keys.0.len() < before {
                        let detail = "WebSockets have no such setting";
                        client.report().left_out(&client.path_of(key), detail);
                    }
                }
                client.finish();
            }
            copy_headers(&mut section, "headers", owner, secrets, keys);
        }
        "grpc" => copy_headers(&mut section, "metadata", owner, secrets, keys),
        "dns" => warn_of_all_match(&mut section),
        _ => {}
    }
    if matches!(prober, "tcp" | "unix" | "grpc" | "dns")
        && let Some(tls) = section.section("tls_config")
    {
        keys.set("tls_config", read_tls(tls, owner, secrets));
    }
    if matches!(prober, "tcp" | "unix" | "websocket") {
        for mut step in section.sections("query_response") {
            let mut inner = Keys::default();
            copy_same(
                &mut step,
                &["expect", "expect_bytes", "labels", "starttls"],
                &mut inner,
            );
            if let Some((node, path)) = step.node("send") {
                let text = scalar_text(node);
                let node = text.map_or_else(
                    || node.clone(),
                    |text| secrets.text(owner, "send", &text, &path),
                );
                inner.set("send", node);
            }
            step.finish();
            keys.push("query_response", inner);
        }
    }
    section.finish();
}

/// The keys of proxies.
const PROXIES: [&str; 4] = [
    "proxy_url",
    "no_proxy",
    "proxy_from_environment",
    "proxy_connect_header",
];

fn read_http(section: &mut Section<'_>, owner: &str, secrets: &Secrets, keys: &mut Keys) {
    http_client::copy(section, owner, secrets, keys);
    copy_headers(section, "headers", owner, secrets, keys);
    let place = section.path_of("body");
    if let Some(body) = section.text("body") {
        keys.set("body", secrets.text(owner, "body", &body, &place));
    }
    let place = section.path_of("no_follow_redirects");
    if let Some(no_redirects) = section.flag("no_follow_redirects") {
        keys.set("follow_redirects", !no_redirects);
        section.report().changed(&place, "became follow_redirects");
    }
    if section.flag("skip_resolve_phase_with_proxy") == Some(false) {
        section.drop_keys(
            &["skip_resolve_phase_with_proxy"],
            "the names of targets behind a proxy are looked up by the proxy",
        );
    }
    if section.flag("enable_http3") == Some(true) {
        keys.set("enable_http3", true);
        section.drop_keys(&PROXIES, "nothing goes through a proxy over HTTP/3");
        keys.0.retain(|(key, _)| !PROXIES.contains(&key.as_str()));
    }
}

/// `fail_if_all_match_regexp` does the opposite in blackbox_exporter.
fn warn_of_all_match(section: &mut Section<'_>) {
    for key in [
        "validate_answer_rrs",
        "validate_authority_rrs",
        "validate_additional_rrs",
    ] {
        if let Some(mut rules) = section.section(key)
            && let Some((_, path)) = rules.node("fail_if_all_match_regexp")
        {
            let detail = "fails if all records match, as its name says; in blackbox_exporter it fails if \
                          not all of them match";
            rules.report().changed(&path, detail);
        }
    }
}
