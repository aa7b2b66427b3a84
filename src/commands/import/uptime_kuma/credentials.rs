//! Imports credentials and proxies of Uptime Kuma monitors.

use super::tables::{Row, Tables};
use crate::commands::import::{context::Context, entry::Keys, section::Section};

/// Sets the credentials of a monitor.
///
/// # Errors
/// Why the monitor cannot be checked.
pub(super) fn read(
    section: &mut Section<'_>,
    owner: &str,
    context: &Context,
    keys: &mut Keys,
) -> Result<(), String> {
    let secrets = &context.secrets;
    let username = section.text("basic_auth_user").unwrap_or_default();
    let place = section.path_of("basic_auth_pass");
    let password = section.text("basic_auth_pass").unwrap_or_default();
    let method = section.text("auth_method").unwrap_or_default();
    // Before there were methods, a name was enough.
    let method = match method.as_str() {
        "" if !username.is_empty() => "basic",
        method => method,
    };
    match method {
        "" | "null" => {}
        "basic" => {
            keys.set_in("basic_auth", "username", username);
            let password = secrets.reference(owner, "password", &password, &place);
            keys.set_in("basic_auth", "password", password);
        }
        "bearer" => {
            let place = section.path_of("bearer_token");
            let token = section.text("bearer_token").unwrap_or_default();
            let token = secrets.reference(owner, "bearer_token", &token, &place);
            keys.set_in("authorization", "credentials", token);
        }
        "oauth2-cc" => read_oauth2(section, owner, context, keys),
        "mtls" => read_certificates(section, owner, context, keys),
        "ntlm" => return Err("NTLM is not supported".to_owned()),
        method => return Err(format!("unknown method of authentication {method:?}")),
    }
    Ok(())
}

fn read_oauth2(section: &mut Section<'_>, owner: &str, context: &Context, keys: &mut Keys) {
    let mut oauth2 = Keys::default();
    oauth2.set_some("client_id", section.text("oauth_client_id"));
    let place = section.path_of("oauth_client_secret");
    let secret = section.text("oauth_client_secret").unwrap_or_default();
    let secret = context
        .secrets
        .reference(owner, "client_secret", &secret, &place);
    oauth2.set("client_secret", secret);
    oauth2.set_some("token_url", section.text("oauth_token_url"));
    let scopes = section.text("oauth_scopes").unwrap_or_default();
    for scope in scopes.split_whitespace() {
        oauth2.push("scopes", scope);
    }
    if let Some(audience) = section
        .text("oauth_audience")
        .filter(|text| !text.is_empty())
    {
        oauth2.set_in("endpoint_params", "audience", audience);
    }
    keys.set("oauth2", oauth2);
}

fn read_certificates(section: &mut Section<'_>, owner: &str, context: &Context, keys: &mut Keys) {
    for (column, key) in [("tls_cert", "cert"), ("tls_ca", "ca")] {
        if let Some(text) = section.text(column).filter(|text| !text.is_empty()) {
            keys.set_in("tls_config", key, text);
        }
    }
    let place = section.path_of("tls_key");
    if let Some(key) = section.text("tls_key").filter(|text| !text.is_empty()) {
        let key = context.secrets.reference(owner, "key", &key, &place);
        keys.set_in("tls_config", "key", key);
    }
}

/// Sets the proxy of a monitor.
///
/// # Errors
/// Why the monitor cannot be checked.
pub(super) fn read_proxy(
    section: &mut Section<'_>,
    owner: &str,
    tables: &Tables,
    context: &Context,
    keys: &mut Keys,
) -> Result<(), String> {
    #[expect(clippy::cast_possible_truncation, reason = "ids are whole numbers")]
    let id = section.number("proxy_id").map(|id| id as i128);
    let Some(proxy) = id.and_then(|id| tables.proxies.get(&id)) else {
        return Ok(());
    };
    if proxy.integer("active") == Some(0) {
        return Ok(());
    }
    let url = proxy_url(proxy)?;
    let url = context.secrets.url(owner, &url, &proxy.path, None);
    keys.set("proxy_url", url);
    Ok(())
}

fn proxy_url(proxy: &Row) -> Result<String, String> {
    let protocol = proxy.text("protocol").unwrap_or_default();
    let scheme = match protocol.as_str() {
        "http" | "https" | "socks5h" => &protocol,
        // There, the proxy looks up names for both.
        "socks" | "socks5" => "socks5h",
        _ => return Err(format!("a proxy of kind {protocol:?} is not supported")),
    };
    let encode = |text: String| {
        percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let host = proxy.text("host").unwrap_or_default();
    let port = proxy.integer("port").unwrap_or_default();
    let userinfo = if proxy.integer("auth") == Some(1) {
        let username = encode(proxy.text("username").unwrap_or_default());
        let password = encode(proxy.text("password").unwrap_or_default());
        format!("{username}:{password}@")
    } else {
        String::new()
    };
    Ok(format!("{scheme}://{userinfo}{host}:{port}"))
}
