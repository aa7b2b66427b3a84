//! Imports the monitors of Uptime Kuma that a type exists for.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    credentials, http,
    maintenance::MonitorNames,
    tables::{Row, Tables},
};
use crate::{
    check::Confirm,
    commands::import::{context::Context, entry::Keys, names::label_name, section::Section},
    value::{Node, parse_json},
};

/// Uptime Kuma's default interval in seconds.
const DEFAULT_INTERVAL: f64 = 60.0;

/// Part of the interval that a check may take if there is no timeout.
const TIMEOUT_PART: f64 = 0.8;

/// Groups within groups that are followed.
const MAX_DEPTH: usize = 10;

/// Columns that say nothing about checks: they are looks, results, or settings of other types.
const IRRELEVANT: [&str; 52] = [
    "id",
    "parent",
    "user_id",
    "weight",
    "created_date",
    "description",
    "path",
    "path_name",
    "children_ids",
    "childrenids",
    "force_inactive",
    "maintenance",
    "notification_idlist",
    "notificationidlist",
    "tags",
    "include_sensitive_data",
    "screenshot",
    "screenshot_delay",
    "custom_url",
    "push_token",
    "dns_last_result",
    "docker_container",
    "docker_host",
    "game",
    "gamedig_given_port_only",
    "gamedig_token",
    "mqtt_check_type",
    "kafka_producer_brokers",
    "kafka_producer_sasl_options",
    "kafka_producer_ssl",
    "kafka_producer_allow_auto_topic_creation",
    "rabbitmq_nodes",
    "remote_browser",
    "snmp_version",
    "location",
    "protocol",
    "subtype",
    "ping_numeric",
    "save_response",
    "save_error_response",
    "response_max_length",
    "retry_only_on_status_code_failure",
    "ws_ignore_sec_websocket_accept_header",
    "ntp_stratum_threshold",
    "ntp_time_offset_threshold",
    "ntp_root_dispersion_threshold",
    "grpc_protobuf",
    "grpc_metadata",
    "oauth_auth_method",
    "resend_interval",
    "domain_expiry_notification",
    "ping_per_request_timeout",
];

/// Imports all monitors. Returns the names of those that it made.
pub(super) fn read(tables: &Tables, context: &mut Context) -> MonitorNames {
    let mut names = MonitorNames::new();
    let by_id: BTreeMap<_, _> = tables
        .monitors
        .iter()
        .filter_map(|row| Some((row.integer("id")?, row)))
        .collect();
    for row in &tables.monitors {
        let report = context.report.clone();
        report.begin(&row.path);
        let Some(mut section) = Section::open(&row.node, row.path.clone(), &report) else {
            continue;
        };
        let name = section.text("name").unwrap_or_default();
        let (group_ids, groups): (Vec<_>, Vec<_>) = groups(row, &by_id).into_iter().unzip();
        let kind = section.text("type").unwrap_or_default();
        if kind == "group" {
            report.changed(&row.path, "became the label group of its members");
            continue;
        }
        let shown = groups
            .iter()
            .chain([&name])
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("/");
        match read_monitor(&mut section, &kind, &name, tables, context) {
            Ok(mut keys) => {
                if !groups.is_empty() {
                    keys.set_in("labels", "group", groups.join("/"));
                }
                let id = row.integer("id").unwrap_or_default();
                set_labels(tables.tags.get(&id), row, context, &mut keys);
                end(section, &kind);
                let name = context.names.choose(&[&name, &shown]);
                for id in group_ids.into_iter().chain([id]) {
                    names.entry(id).or_default().push(name.clone());
                }
                context.add_monitor(name, keys, &row.path);
            }
            Err(why) => {
                report.begin(&row.path);
                report.left_out(&row.path, why);
                context.add_remarks(&format!("Monitor {shown}"));
            }
        }
    }
    names
}

/// The groups that `row` is in by id and name, the outermost first.
fn groups(row: &Row, by_id: &BTreeMap<i128, &Row>) -> Vec<(i128, String)> {
    let mut groups = Vec::new();
    let mut seen = BTreeSet::new();
    let mut parent = row.integer("parent");
    while let Some(id) = parent {
        // A database may say that a group is in itself.
        let Some(group) = by_id
            .get(&id)
            .filter(|_| seen.insert(id) && seen.len() <= MAX_DEPTH)
        else {
            break;
        };
        groups.insert(0, (id, group.text("name").unwrap_or_default()));
        parent = group.integer("parent");
    }
    groups
}

/// Tags are labels; one that is there several times has all values.
fn set_labels(tags: Option<&Vec<(String, String)>>, row: &Row, context: &Context, keys: &mut Keys) {
    let mut labels: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (name, value) in tags.into_iter().flatten() {
        let value = if value.is_empty() { "true" } else { value };
        labels.entry(name.clone()).or_default().push(value);
    }
    for (name, values) in labels {
        let name = label_name(&name, &row.path, &context.report);
        keys.set_in("labels", &name, values.join(","));
    }
}

/// The keys of a monitor.
fn read_monitor(
    section: &mut Section<'_>,
    kind: &str,
    owner: &str,
    tables: &Tables,
    context: &Context,
) -> Result<Keys, String> {
    let is_paused = section.flag("active") == Some(false);
    if section.flag("upside_down") == Some(true) {
        return Err("upside down: a check cannot succeed by failing".to_owned());
    }
    let mut keys = match kind {
        "http" | "keyword" | "json-query" => http::read(section, kind, owner, tables, context)?,
        "port" => read_port(section)?,
        "ping" => read_ping(section),
        "dns" => read_dns(section)?,
        "websocket-upgrade" => read_websocket(section, owner, context)?,
        "grpc-keyword" => read_grpc(section)?,
        "smtp" => read_smtp(section)?,
        kind => return Err(reason(kind)),
    };
    let interval = section
        .number("interval")
        .filter(|seconds| *seconds > 0.0)
        .unwrap_or(DEFAULT_INTERVAL);
    let timeout = section
        .number("timeout")
        .filter(|seconds| *seconds > 0.0)
        .unwrap_or(interval * TIMEOUT_PART)
        .min(interval);
    for (key, seconds) in [("check_every", interval), ("timeout", timeout)] {
        if let Ok(duration) = Duration::try_from_secs_f64(seconds) {
            keys.set(key, duration);
        }
    }
    if section.flag("ignore_tls") == Some(true) {
        let speaks_tls = match kind {
            "websocket-upgrade" => {
                matches!(keys.get("target"), Some(Node::Text(url)) if url.starts_with("wss"))
            }
            "http" | "keyword" | "json-query" => true,
            _ => keys.get("tls") == Some(&Node::Bool(true)) || keys.get("starttls").is_some(),
        };
        if speaks_tls {
            keys.set_in("tls_config", "insecure_skip_verify", true);
        }
    }
    match section.text("ip_family").as_deref() {
        Some("ipv4") => set_family(&mut keys, "ip4"),
        Some("ipv6") => set_family(&mut keys, "ip6"),
        _ => {}
    }
    read_retries(section, interval, &mut keys);
    if is_paused {
        keys.set("enabled", false);
    }
    read_expiry(section, &keys);
    Ok(keys)
}

fn set_family(keys: &mut Keys, family: &str) {
    keys.set("preferred_ip_protocol", family);
    keys.set("ip_protocol_fallback", false);
}

/// Retries before a monitor is down.
fn read_retries(section: &mut Section<'_>, interval: f64, keys: &mut Keys) {
    let retries = section.number("maxretries").unwrap_or_default();
    let every = section.number("retry_interval").unwrap_or_default();
    if retries < 1.0 {
        return;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the number is bounded"
    )]
    let failures = (retries + 1.0).min(f64::from(Confirm::MAX_RESULTS)) as u32;
    keys.set_in("confirm", "failures", failures);
    if every > 0.0
        && every < interval
        && let Ok(every) = Duration::try_from_secs_f64(every)
    {
        keys.set_in("confirm", "retry_every", every);
    }
}

/// Notifications before a certificate expires.
fn read_expiry(section: &mut Section<'_>, keys: &Keys) {
    let is_wanted = section.flag("expiry_notification") == Some(true);
    let is_https = matches!(keys.get("url"), Some(Node::Text(url) | Node::FromEnvironment(url))
        if url.starts_with("https"));
    if is_wanted && is_https {
        let detail = "the rules in the repository have an alert for certificates";
        section.drop_keys(&["expiry_notification"], detail);
    }
}

fn host_and_port(section: &mut Section<'_>, default: Option<u16>) -> Result<String, String> {
    let host = section.text("hostname").unwrap_or_default();
    let port = section
        .text("port")
        .filter(|port| !port.is_empty())
        .or_else(|| default.map(|port| port.to_string()))
        .ok_or("it has no port")?;
    Ok(if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    })
}

fn read_port(section: &mut Section<'_>) -> Result<Keys, String> {
    let mut keys = Keys::default();
    let alert = section.text("expected_tls_alert");
    if alert.is_some_and(|alert| !alert.is_empty() && alert != "none") {
        return Err("an alert of TLS cannot be expected".to_owned());
    }
    let target = host_and_port(section, None)?;
    match section.text("smtp_security").as_deref() {
        Some("starttls") => {
            keys.set("type", "tls");
            keys.set("target", target);
            keys.set("starttls", "smtp");
        }
        Some("secure") => {
            keys.set("type", "tcp");
            keys.set("target", target);
            keys.set("tls", true);
        }
        _ => {
            keys.set("type", "tcp");
            keys.set("target", target);
        }
    }
    Ok(keys)
}

fn read_ping(section: &mut Section<'_>) -> Keys {
    let mut keys = Keys::default();
    keys.set("type", "icmp");
    keys.set("target", section.text("hostname").unwrap_or_default());
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the numbers are bounded"
    )]
    let whole = |number: f64| number.clamp(0.0, 100_000.0) as u32;
    if let Some(size) = section.number("packet_size").map(whole) {
        keys.set("payload_size", size);
    }
    if let Some(count @ 2..) = section.number("ping_count").map(whole) {
        keys.set("count", count);
        // One reply is enough there.
        keys.set("max_packet_loss", Node::Float(0.99));
        let seconds = section
            .number("ping_per_request_timeout")
            .filter(|s| *s > 0.0);
        let reply = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        keys.set_some("reply_timeout", reply);
    }
    keys
}

fn read_dns(section: &mut Section<'_>) -> Result<Keys, String> {
    let mut keys = Keys::default();
    keys.set("type", "dns");
    let place = section.path_of("dns_resolve_server");
    let listed = section.text("dns_resolve_server").unwrap_or_default();
    let mut servers = listed.split(',').map(str::trim).filter(|s| !s.is_empty());
    let server = servers.next().ok_or("it has no server")?;
    if servers.next().is_some() {
        let detail = "only the first server is asked; add a monitor for each of them";
        section.report().left_out(&place, detail);
    }
    let port = section
        .text("port")
        .filter(|port| !port.is_empty())
        .unwrap_or_else(|| "53".to_owned());
    keys.set(
        "target",
        match (server.contains(':'), port.as_str()) {
            (_, "53") => server.to_owned(),
            (true, port) => format!("[{server}]:{port}"),
            (false, port) => format!("{server}:{port}"),
        },
    );
    let kind = section.text("dns_resolve_type").unwrap_or_default();
    keys.set("query_name", section.text("hostname").unwrap_or_default());
    // There is an error if there is no record.
    let regex = format!(r"\s{}\s", regex_syntax::escape(&kind));
    keys.set("query_type", kind);
    let mut rules = Keys::default();
    rules.push("fail_if_none_matches_regexp", regex);
    keys.set("validate_answer_rrs", rules);
    read_conditions(section);
    Ok(keys)
}

/// Conditions of version 2, which are JSON.
fn read_conditions(section: &mut Section<'_>) {
    let Some((node, path)) = section.node("conditions") else {
        return;
    };
    let parsed;
    let list = match node {
        Node::Text(text) => {
            parsed = parse_json(text).unwrap_or(Node::Null);
            &parsed
        }
        node => node,
    };
    if matches!(list, Node::List(items) if !items.is_empty()) {
        let detail = "write them as regular expressions in validate_answer_rrs";
        section.report().left_out(&path, detail);
    }
}

fn read_websocket(
    section: &mut Section<'_>,
    owner: &str,
    context: &Context,
) -> Result<Keys, String> {
    let mut keys = Keys::default();
    keys.set("type", "websocket");
    let place = section.path_of("url");
    let url = section.text("url").unwrap_or_default();
    let url = context.secrets.url(owner, &url, &place, Some(&mut keys));
    keys.set("target", url);
    http::read_headers(section, owner, context, &mut keys);
    credentials::read(section, owner, context, &mut keys)?;
    if keys.get("oauth2").is_some() {
        return Err("WebSockets have no OAuth 2.0".to_owned());
    }
    let protocols = section.text("ws_subprotocol").unwrap_or_default();
    for protocol in protocols
        .split(',')
        .map(str::trim)
        .filter(|p| !p.is_empty())
    {
        keys.push("subprotocols", protocol);
    }
    // Of the close, whose code is here not judged.
    section.ignore(&["accepted_statuscodes_json", "accepted_statuscodes"]);
    Ok(keys)
}

/// Calls of the health service are the ones there is a type for.
fn read_grpc(section: &mut Section<'_>) -> Result<Keys, String> {
    let mut keys = Keys::default();
    let service = section.text("grpc_service_name").unwrap_or_default();
    let keyword = section.text("keyword").unwrap_or_default();
    let body = section.text("grpc_body").unwrap_or_default();
    let is_health = service.ends_with("Health")
        && section
            .text("grpc_method")
            .is_some_and(|m| m.eq_ignore_ascii_case("check"))
        && keyword.contains("SERVING")
        && !keyword.contains("NOT")
        && section.flag("invert_keyword") != Some(true);
    if !is_health {
        return Err("only the health service of gRPC can be called".to_owned());
    }
    keys.set("type", "grpc");
    keys.set("target", section.text("grpc_url").unwrap_or_default());
    if let Ok(Node::Map(entries)) = parse_json(&body)
        && let Some((_, Node::Text(service))) = entries.iter().find(|(key, _)| key == "service")
    {
        keys.set("service", service.as_str());
    }
    if section.flag("grpc_enable_tls") == Some(true) {
        keys.set("tls", true);
    }
    Ok(keys)
}

fn read_smtp(section: &mut Section<'_>) -> Result<Keys, String> {
    let mut keys = Keys::default();
    let target = host_and_port(section, Some(25))?;
    let mut banner = Keys::default();
    banner.set("expect", "^220 ");
    banner.set("send", "QUIT\r");
    match section.text("smtp_security").as_deref() {
        Some("starttls") => {
            keys.set("type", "tls");
            keys.set("target", target);
            keys.set("starttls", "smtp");
        }
        security => {
            keys.set("type", "tcp");
            keys.set("target", target);
            if security == Some("secure") {
                keys.set("tls", true);
            }
            keys.push("query_response", banner);
        }
    }
    Ok(keys)
}

/// Why there is no monitor for a type.
fn reason(kind: &str) -> String {
    let why = match kind {
        "push" => "results are not accepted from outside",
        "manual" => "states cannot be set by hand",
        "docker" => "containers are not checked",
        "mysql" | "postgres" | "sqlserver" | "mongodb" | "redis" | "oracledb" => {
            "databases are not queried; check its port with type: tcp"
        }
        "real-browser" => "pages are not opened in a browser",
        "snmp" | "mqtt" | "rabbitmq" | "kafka-producer" | "radius" | "steam" | "gamedig"
        | "tailscale-ping" | "globalping" | "system-service" | "pm2" | "ntp" | "sip-options" => {
            "there is no such type"
        }
        _ => "unknown type",
    };
    format!("{why} (type {kind})")
}

/// Reports what was not understood, apart from values that mean nothing.
fn end(mut section: Section<'_>, kind: &str) {
    section.ignore(&IRRELEVANT);
    // Settings of other types keep their defaults.
    let unasked: Vec<_> = section
        .unasked()
        .into_iter()
        .filter(|(name, node)| {
            let is_empty = match node {
                Node::Int(0) | Node::Bool(false) | Node::Null => true,
                Node::Text(text) => matches!(text.as_str(), "" | "[]" | "{}" | "null"),
                Node::List(items) => items.is_empty(),
                Node::Map(entries) => entries.is_empty(),
                _ => false,
            };
            is_empty || is_setting_of_other_type(name, kind)
        })
        .map(|(name, _)| name)
        .collect();
    for name in unasked {
        section.acknowledge(name);
    }
    section.finish();
}

/// Returns whether a column is a setting of other types than `kind`.
fn is_setting_of_other_type(column: &str, kind: &str) -> bool {
    const HTTP: [&str; 22] = [
        "url",
        "method",
        "body",
        "headers",
        "http_body_encoding",
        "maxredirects",
        "accepted_statuscodes_json",
        "accepted_statuscodes",
        "cache_bust",
        "ignore_tls",
        "expiry_notification",
        "auth_method",
        "auth_domain",
        "auth_workstation",
        "basic_auth_user",
        "basic_auth_pass",
        "bearer_token",
        "proxy_id",
        "keyword",
        "invert_keyword",
        "json_path",
        "expected_value",
    ];
    const PREFIXES: [&str; 15] = [
        "oauth_",
        "tls_",
        "grpc_",
        "mqtt_",
        "radius_",
        "database_",
        "kafka_",
        "rabbitmq_",
        "snmp_",
        "ping_",
        "dns_",
        "ws_",
        "json_path",
        "smtp_",
        "expected_tls_",
    ];
    let is_http = matches!(kind, "http" | "keyword" | "json-query");
    let is_of_http = HTTP.contains(&column);
    (is_of_http && !(is_http && column == "url"))
        || PREFIXES.iter().any(|prefix| column.starts_with(prefix))
        || matches!(
            column,
            "hostname" | "port" | "packet_size" | "conditions" | "system_service_name"
        )
}
