//! Translates the keys of a blackbox_exporter module to those of a monitor.
//!
//! Entries stay at their index, so that a problem with one is reported where it is written.

use crate::{
    monitors::Type,
    value::{EntryPart, FromNode, IpFamily, MERGE, Node, Path, Problems, TAKEN_OUT},
};

/// The entries of a mapping.
type Entries = Vec<(String, Node)>;

/// Bytes of a body that matchers look at where blackbox_exporter has no limit: it is kept in memory.
const MATCHED_BODY_LIMIT: &str = "64MiB";

/// Keys with a number, or numbers.
const NUMBERS: [&str; 4] = [
    "body_size_limit",
    "payload_size",
    "ttl",
    "valid_status_codes",
];

/// Keys with `true` or `false`.
const SWITCHES: [&str; 17] = [
    "allow_missing",
    "dns_over_tls",
    "dont_fragment",
    "enable_http2",
    "enable_http3",
    "fail_if_not_ssl",
    "fail_if_ssl",
    "follow_redirects",
    "insecure_skip_verify",
    "ip_protocol_fallback",
    "no_follow_redirects",
    "proxy_from_environment",
    "recursion_desired",
    "skip_resolve_phase_with_proxy",
    "starttls",
    "tls",
    "tls_enabled",
];

/// Mappings whose keys the user chooses, and whose values are text.
const FREE_NAMES: [&str; 5] = [
    "endpoint_params",
    "headers",
    "http_headers",
    "metadata",
    "proxy_connect_header",
];

/// A module in the keys of a monitor.
pub(super) struct Translated {
    pub keys: Node,
    /// Why its probes cannot succeed here, whatever the target is.
    pub obstacle: Option<&'static str>,
}

/// Translates `section`, the keys of a module of `prober`, which is at `path`.
pub(super) fn translate(
    prober: Type,
    section: &Node,
    path: &Path,
    problems: &Problems,
) -> Translated {
    let mut translation = Translation {
        prober,
        path,
        problems,
        obstacle: None,
    };
    let keys = match section {
        Node::Map(entries) => {
            let mut entries = convert_scalars(entries, false);
            translation.edit(&mut entries);
            translation.add_defaults(&mut entries);
            Node::Map(entries)
        }
        Node::Null => {
            let mut entries = Vec::new();
            translation.add_defaults(&mut entries);
            Node::Map(entries)
        }
        // Whoever reads it says what is wrong.
        other => other.clone(),
    };
    Translated {
        keys,
        obstacle: translation.obstacle,
    }
}

/// The entries with scalars of the kind that their keys ask for, as Go's YAML library reads them: a number is a
/// text where text is wanted, and `yes` is `true` where that is wanted.
fn convert_scalars(entries: &[(String, Node)], is_free: bool) -> Entries {
    let convert = |(key, node): &(String, Node)| {
        let node = match &**key {
            key if !is_free && NUMBERS.contains(&key) => node.clone(),
            key if !is_free && SWITCHES.contains(&key) => as_switch(node),
            key => as_text(node, is_free || FREE_NAMES.contains(&key)),
        };
        (key.clone(), node)
    };
    entries.iter().map(convert).collect()
}

fn as_switch(node: &Node) -> Node {
    let Node::Text(word) = node else {
        return node.clone();
    };
    match &*word.to_ascii_lowercase() {
        "y" | "yes" | "on" => Node::Bool(true),
        "n" | "no" | "off" => Node::Bool(false),
        _ => node.clone(),
    }
}

fn as_text(node: &Node, is_free: bool) -> Node {
    match node {
        Node::Int(number) => Node::Text(number.to_string()),
        Node::Bool(value) => Node::Text(value.to_string()),
        Node::List(items) => Node::List(items.iter().map(|item| as_text(item, is_free)).collect()),
        Node::Map(entries) => Node::Map(convert_scalars(entries, is_free)),
        other => other.clone(),
    }
}

/// The value of `key` in `entries`, or in what `<<` merges into them.
fn find<'n>(entries: &'n [(String, Node)], key: &str) -> Option<&'n Node> {
    let own = entries.iter().find(|(name, _)| name == key);
    if let Some((_, node)) = own {
        return Some(node);
    }
    let merged = entries.iter().find(|(name, _)| name == MERGE);
    merged.and_then(|(_, node)| match node {
        Node::Map(entries) => find(entries, key),
        Node::List(items) => items.iter().find_map(|item| match item {
            Node::Map(entries) => find(entries, key),
            _ => None,
        }),
        _ => None,
    })
}

fn is_true(entries: &[(String, Node)], key: &str) -> bool {
    matches!(find(entries, key), Some(Node::Bool(true)))
}

fn text<'n>(entries: &'n [(String, Node)], key: &str) -> Option<&'n str> {
    match find(entries, key) {
        Some(Node::Text(text)) => Some(text),
        _ => None,
    }
}

/// Takes out the entry `key`, and leaves the others at their places.
fn take_out(entries: &mut Entries, key: &str) {
    for_each_mapping(entries, &mut |entries| {
        for (name, node) in entries.iter_mut().filter(|(name, _)| name == key) {
            TAKEN_OUT.clone_into(name);
            *node = Node::Null;
        }
    });
}

/// Replaces the value of the entry `key`, and its name.
fn replace(entries: &mut Entries, key: &str, new_key: &str, value: &Node) {
    for_each_mapping(entries, &mut |entries| {
        for (name, node) in entries.iter_mut().filter(|(name, _)| name == key) {
            new_key.clone_into(name);
            *node = value.clone();
        }
    });
}

/// Calls `edit` with the entries, and with those that `<<` merges into them.
fn for_each_mapping(entries: &mut Entries, edit: &mut impl FnMut(&mut Entries)) {
    edit(entries);
    for (_, node) in entries.iter_mut().filter(|(name, _)| name == MERGE) {
        let merged = match node {
            Node::List(items) => items.iter_mut().collect(),
            node => vec![node],
        };
        for node in merged {
            if let Node::Map(entries) = node {
                for_each_mapping(entries, edit);
            }
        }
    }
}

/// Calls `edit` with the mapping under `key`.
fn for_section(entries: &mut Entries, key: &str, edit: &mut impl FnMut(&mut Entries)) {
    for_each_mapping(entries, &mut |entries| {
        for (_, node) in entries.iter_mut().filter(|(name, _)| name == key) {
            if let Node::Map(entries) = node {
                edit(entries);
            }
        }
    });
}

struct Translation<'t> {
    prober: Type,
    path: &'t Path,
    problems: &'t Problems,
    obstacle: Option<&'static str>,
}

impl Translation<'_> {
    /// Adds a problem with the value of `key`.
    fn complain(&self, entries: &[(String, Node)], key: &str, wrong: &str, allowed: &str) {
        let index = entries.iter().position(|(name, _)| name == key);
        let path = match index {
            Some(index) => self.path.entry(key, index),
            None => self.path.clone(),
        };
        self.problems.add(path, EntryPart::Value, wrong, allowed);
    }

    fn edit(&mut self, entries: &mut Entries) {
        self.edit_address_choice(entries);
        match self.prober {
            Type::Http => self.edit_http(entries),
            Type::Tcp | Type::Unix => edit_dialogue(entries),
            Type::Dns => edit_dns(entries),
            Type::Icmp => {
                if matches!(find(entries, "payload_size"), Some(Node::Int(0))) {
                    take_out(entries, "payload_size");
                }
            }
            Type::Grpc => {
                if !is_true(entries, "tls") {
                    take_out(entries, "tls_config");
                }
            }
            Type::Websocket => self.edit_websocket(entries),
            Type::Tls => {}
        }
        self.edit_tls_versions(entries);
    }

    /// Of two families, anything but `ip6` and nothing is IPv4. From an address of our own, only its family can
    /// be reached.
    fn edit_address_choice(&self, entries: &mut Entries) {
        const KEY: &str = "preferred_ip_protocol";
        if self.prober == Type::Unix {
            return;
        }
        let has_source =
            text(entries, "source_ip_address").is_some_and(|source| !source.is_empty());
        if !has_source {
            take_out_empty(entries, "source_ip_address");
        }
        match text(entries, KEY) {
            Some(_) if has_source => take_out(entries, KEY),
            Some("ip6") | None => {}
            Some("") => take_out(entries, KEY),
            Some(_) => replace(entries, KEY, KEY, &Node::Text("ip4".to_owned())),
        }
    }

    fn edit_http(&mut self, entries: &mut Entries) {
        for key in ["method", "compression", "body", "body_file", "proxy_url"] {
            take_out_empty(entries, key);
        }
        if let Some(Node::Bool(is_refused)) = find(entries, "no_follow_redirects").cloned() {
            let follows = Node::Bool(!is_refused);
            if find(entries, "follow_redirects").is_some() {
                replace(entries, "follow_redirects", "follow_redirects", &follows);
                take_out(entries, "no_follow_redirects");
            } else {
                replace(entries, "no_follow_redirects", "follow_redirects", &follows);
            }
        }
        self.edit_bearer_token(entries);
        self.edit_http3(entries);
        // A proxy is always left to look up the name.
        take_out(entries, "skip_resolve_phase_with_proxy");
        for_section(entries, "oauth2", &mut |oauth2| {
            for_section(oauth2, "endpoint_params", &mut |parameters| {
                if text(parameters, "grant_type") == Some("client_credentials") {
                    take_out(parameters, "grant_type");
                }
            });
        });
        let is_unlimited = match find(entries, "body_size_limit") {
            Some(Node::Int(limit)) => *limit <= 0,
            Some(Node::Text(limit)) => limit == "0",
            _ => false,
        };
        if is_unlimited {
            take_out(entries, "body_size_limit");
        }
    }

    /// `bearer_token` and `bearer_token_file`, which are `authorization` by now.
    fn edit_bearer_token(&self, entries: &mut Entries) {
        let keys = [
            ("bearer_token", "credentials"),
            ("bearer_token_file", "credentials_file"),
        ];
        let given: Vec<_> = keys
            .into_iter()
            .filter(|(key, _)| find(entries, key).is_some())
            .collect();
        let others = ["authorization", "basic_auth", "oauth2"];
        let other = others.iter().find(|key| find(entries, key).is_some());
        match (&given[..], other) {
            ([], _) => {}
            ([(key, inner)], None) => {
                let token = find(entries, key).cloned().unwrap_or(Node::Null);
                let authorization = Node::Map(vec![((*inner).to_owned(), token)]);
                replace(entries, key, "authorization", &authorization);
            }
            (given, other) => {
                let (excess, _) = given[given.len() - 1];
                let names: Vec<_> = given
                    .iter()
                    .map(|(key, _)| *key)
                    .chain(other.copied())
                    .collect();
                let wrong = format!("{} cannot be used together", names.join(" and "));
                self.complain(entries, excess, &wrong, "one of them");
                for (key, _) in given {
                    take_out(entries, key);
                }
            }
        }
    }

    /// `enable_http3`, and what it excludes.
    fn edit_http3(&mut self, entries: &mut Entries) {
        let versions: Vec<String> = match find(entries, "valid_http_versions") {
            Some(Node::List(items)) => items
                .iter()
                .filter_map(|item| String::from_node(item).ok())
                .collect(),
            _ => Vec::new(),
        };
        let is_http3 = |version: &String| version == "HTTP/3.0" || version == "HTTP/3";
        if is_true(entries, "enable_http3") {
            if versions.iter().any(|version| !is_http3(version)) {
                let wrong = "HTTP/3 cannot be used together with older versions";
                let allowed = "HTTP/3.0 alone with enable_http3";
                self.complain(entries, "valid_http_versions", wrong, allowed);
                take_out(entries, "valid_http_versions");
            }
            if find(entries, "enable_http2") != Some(&Node::Bool(false)) {
                let wrong = "enable_http3 and enable_http2 cannot be used together";
                self.complain(entries, "enable_http3", wrong, "enable_http2: false");
                take_out(entries, "enable_http2");
            }
            // They are for TCP.
            for key in [
                "proxy_url",
                "no_proxy",
                "proxy_from_environment",
                "proxy_connect_header",
            ] {
                take_out(entries, key);
            }
            if !cfg!(feature = "http3") {
                self.obstacle = Some("HTTP/3 (enable_http3) is not in this build");
                take_out(entries, "valid_http_versions");
                take_out(entries, "enable_http3");
            }
        } else if versions.iter().any(is_http3) {
            let wrong = "HTTP/3 without enable_http3";
            self.complain(
                entries,
                "valid_http_versions",
                wrong,
                "HTTP/1.0, HTTP/1.1 or HTTP/2.0",
            );
            take_out(entries, "valid_http_versions");
        }
    }

    /// `http_config`, of which some keys count, and steps with keys that do not.
    fn edit_websocket(&self, entries: &mut Entries) {
        const HONOURED: [&str; 5] = [
            "authorization",
            "basic_auth",
            "bearer_token",
            "bearer_token_file",
            "tls_config",
        ];
        if let Some(Node::Map(config)) = find(entries, "http_config") {
            let config = config.clone();
            take_out(entries, "http_config");
            for key in HONOURED {
                let value = find(&config, key).filter(|value| **value != Node::Null);
                entries.extend(value.map(|value| (key.to_owned(), value.clone())));
            }
            self.edit_bearer_token(entries);
        }
        for_each_step(entries, |step| {
            for key in ["labels", "expect_bytes", "starttls"] {
                take_out(step, key);
            }
        });
    }

    /// Versions of TLS that are no longer spoken here: as the oldest that is wanted they change nothing.
    fn edit_tls_versions(&mut self, entries: &mut Entries) {
        let is_old = |version: Option<&str>| matches!(version, Some("TLS10" | "TLS11"));
        let over_quic = is_true(entries, "enable_http3");
        let mut is_unsupported = false;
        let mut rules_out_quic = false;
        for_section(entries, "tls_config", &mut |tls| {
            take_out_empty(tls, "server_name");
            if is_old(text(tls, "min_version")) {
                take_out(tls, "min_version");
            }
            if is_old(text(tls, "max_version")) {
                is_unsupported = true;
                take_out(tls, "max_version");
            }
            if over_quic && text(tls, "max_version") == Some("TLS12") {
                rules_out_quic = true;
                take_out(tls, "max_version");
            }
        });
        if rules_out_quic {
            self.obstacle = Some("HTTP/3 needs TLS 1.3, which tls_config.max_version rules out");
        }
        if is_unsupported {
            self.obstacle = Some("TLS 1.0 and TLS 1.1 (tls_config.max_version) are not supported");
        }
    }

    /// Adds the defaults of blackbox_exporter that differ from those of monitors.
    fn add_defaults(&self, entries: &mut Entries) {
        let mut add = |key: &str, value: Node| entries.push((key.to_owned(), value));
        add("type", Node::Text(self.prober.as_str().to_owned()));
        let is_missing = |entries: &Entries, key| find(entries, key).is_none();
        if self.prober != Type::Unix
            && is_missing(entries, "preferred_ip_protocol")
            && is_missing(entries, "source_ip_address")
        {
            let family = Node::Text("ip6".to_owned());
            debug_assert_eq!(IpFamily::from_node(&family), Ok(IpFamily::Ip6));
            entries.push(("preferred_ip_protocol".to_owned(), family));
        }
        if self.prober == Type::Http && is_missing(entries, "body_size_limit") {
            const MATCHERS: [&str; 4] = [
                "fail_if_body_matches_regexp",
                "fail_if_body_not_matches_regexp",
                "fail_if_body_json_matches_cel",
                "fail_if_body_json_not_matches_cel",
            ];
            let is_matched = MATCHERS.iter().any(|key| find(entries, key).is_some());
            let limit = if is_matched {
                Node::Text(MATCHED_BODY_LIMIT.to_owned())
            } else {
                Node::Int(0)
            };
            entries.push(("body_size_limit".to_owned(), limit));
        }
    }
}

/// Takes out the entry `key` if its value is an empty text.
fn take_out_empty(entries: &mut Entries, key: &str) {
    if text(entries, key) == Some("") {
        take_out(entries, key);
    }
}

/// Calls `edit` with each step of `query_response`.
fn for_each_step(entries: &mut Entries, edit: impl Fn(&mut Entries)) {
    for_each_mapping(entries, &mut |entries| {
        let lists = entries
            .iter_mut()
            .filter(|(name, _)| name == "query_response");
        for (_, node) in lists {
            let Node::List(steps) = node else { continue };
            for step in steps {
                if let Node::Map(step) = step {
                    edit(step);
                }
            }
        }
    });
}

/// Of tcp and unix: `tls_config` is there in vain without TLS, and an empty text is not sent.
fn edit_dialogue(entries: &mut Entries) {
    for_each_step(entries, |step| {
        take_out_empty(step, "send");
        take_out_empty(step, "expect_bytes");
    });
    let begins_tls = match find(entries, "query_response") {
        Some(Node::List(steps)) => steps.iter().any(|step| match step {
            Node::Map(step) => is_true(step, "starttls"),
            _ => false,
        }),
        _ => false,
    };
    if !begins_tls && !is_true(entries, "tls") {
        take_out(entries, "tls_config");
    }
}

fn edit_dns(entries: &mut Entries) {
    for key in ["transport_protocol", "query_type", "query_class"] {
        take_out_empty(entries, key);
    }
    if !is_true(entries, "dns_over_tls") {
        take_out(entries, "tls_config");
    }
    // In spite of its name, it fails unless all records match.
    for key in [
        "validate_answer_rrs",
        "validate_authority_rrs",
        "validate_additional_rrs",
    ] {
        for_section(entries, key, &mut |rules| {
            if let Some(patterns) = find(rules, "fail_if_all_match_regexp").cloned() {
                let key = "fail_if_not_all_match_regexp";
                replace(rules, "fail_if_all_match_regexp", key, &patterns);
            }
        });
    }
}
