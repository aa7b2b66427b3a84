//! Imports the section `client` of a Gatus endpoint.

use std::time::Duration;

use crate::{
    commands::import::{entry::Keys, secrets::Secrets, section::Section},
    value::Node,
};

/// Gatus' default timeout.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Settings of `client` beside its keys.
pub(super) struct Client {
    /// The longest that a request may take.
    pub timeout: Duration,
    /// Why an endpoint with these settings cannot be checked.
    pub obstacle: Option<&'static str>,
}

/// Reads the section and sets its keys for a monitor of type `kind`.
pub(super) fn read(
    section: Option<Section<'_>>,
    kind: &str,
    owner: &str,
    secrets: &Secrets,
    keys: &mut Keys,
) -> Client {
    let mut client = Client {
        timeout: DEFAULT_TIMEOUT,
        obstacle: None,
    };
    let Some(mut section) = section else {
        return client;
    };
    if let Some(timeout) = section.duration("timeout").filter(|d| !d.is_zero()) {
        client.timeout = timeout;
    }
    let is_tls = matches!(kind, "http" | "tls" | "grpc" | "websocket");
    if is_tls {
        if section.flag("insecure") == Some(true) {
            keys.set_in("tls_config", "insecure_skip_verify", true);
        }
        if let Some(mut tls) = section.section("tls") {
            for (theirs, ours) in [
                ("certificate-file", "cert_file"),
                ("private-key-file", "key_file"),
            ] {
                if let Some(file) = tls.text(theirs) {
                    keys.set_in("tls_config", ours, file);
                }
            }
            tls.drop_keys(&["renegotiation"], "TLS is not renegotiated");
            tls.finish();
        }
    } else {
        section.drop_keys(&["insecure", "tls"], "has no effect without TLS");
    }
    if kind == "http" {
        if section.flag("ignore-redirect") == Some(true) {
            keys.set("follow_redirects", false);
        }
        let place = section.path_of("proxy-url");
        if let Some(url) = section.text("proxy-url") {
            keys.set("proxy_url", secrets.url(owner, &url, &place, None));
        }
        if let Some(oauth2) = section.section("oauth2") {
            keys.set("oauth2", read_oauth2(oauth2, owner, secrets));
        }
        section.drop_keys(&["store-cookies"], "cookies are kept within a check only");
    } else {
        section.drop_keys(
            &["ignore-redirect", "proxy-url", "oauth2", "store-cookies"],
            "has no effect except for HTTP",
        );
    }
    let network = section.text("network");
    if let (Some(family @ ("ip4" | "ip6")), "icmp") = (network.as_deref(), kind) {
        keys.set("preferred_ip_protocol", family);
        keys.set("ip_protocol_fallback", false);
    }
    section.leave_out(
        &["dns-resolver"],
        "names are looked up by the system's resolver",
    );
    for (key, obstacle) in [
        (
            "identity-aware-proxy",
            "Google's identity-aware proxy is not supported",
        ),
        ("tunnel", "SSH tunnels are not supported"),
    ] {
        if section.node(key).is_some() {
            client.obstacle = Some(obstacle);
        }
    }
    section.finish();
    client
}

fn read_oauth2(mut section: Section<'_>, owner: &str, secrets: &Secrets) -> Node {
    let mut keys = Keys::default();
    keys.set_some("client_id", section.text("client-id"));
    let place = section.path_of("client-secret");
    if let Some(secret) = section.text("client-secret") {
        let secret = secrets.reference(owner, "client_secret", &secret, &place);
        keys.set("client_secret", secret);
    }
    keys.set_some("token_url", section.text("token-url"));
    for (scope, _) in section.texts("scopes") {
        keys.push("scopes", scope);
    }
    section.finish();
    Node::Map(keys.0)
}
