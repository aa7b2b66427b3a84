//! The settings of Prometheus' HTTP client, which modules and discovery have.

use crate::{
    commands::import::{
        entry::Keys,
        secrets::{Secrets, is_secret_name},
        section::Section,
    },
    value::{Node, Path},
};

/// Keys whose values mean the same here.
const SAME: [&str; 4] = [
    "no_proxy",
    "proxy_from_environment",
    "enable_http2",
    "follow_redirects",
];

/// Copies the settings in `section` to `keys`; secrets are named after `owner`.
pub(super) fn copy(section: &mut Section<'_>, owner: &str, secrets: &Secrets, keys: &mut Keys) {
    copy_same(section, &SAME, keys);
    copy_credentials(section, owner, secrets, keys);
    if let Some(oauth2) = section.section("oauth2") {
        keys.set("oauth2", read_oauth2(oauth2, owner, secrets));
    }
    if let Some(tls) = section.section("tls_config") {
        keys.set("tls_config", read_tls(tls, owner, secrets));
    }
    if let Some((node, path)) = section.node("proxy_url")
        && let Node::Text(url) = node
    {
        keys.set("proxy_url", secrets.url(owner, url, &path, None));
    }
    if let Some(headers) = section.section("proxy_connect_header") {
        let headers = headers
            .into_entries()
            .into_iter()
            .map(|(name, node, path)| {
                let node = secret_texts(node, &path, &|text, path| {
                    secrets.header(owner, name, text, path)
                });
                (name.to_owned(), node)
            });
        keys.set("proxy_connect_header", Node::Map(headers.collect()));
    }
    copy_headers(section, "http_headers", owner, secrets, keys);
}

/// Copies the values of `same` to `keys`.
pub(super) fn copy_same(section: &mut Section<'_>, same: &[&'static str], keys: &mut Keys) {
    for key in same {
        if let Some((node, _)) = section.node(key)
            && !matches!(node, Node::List(items) if items.is_empty())
        {
            keys.set(key, node.clone());
        }
    }
}

/// Copies `basic_auth`, `authorization` and the older `bearer_token`.
fn copy_credentials(section: &mut Section<'_>, owner: &str, secrets: &Secrets, keys: &mut Keys) {
    if let Some(mut basic) = section.section("basic_auth") {
        let mut inner = Keys::default();
        copy_same(
            &mut basic,
            &["username", "username_file", "password_file"],
            &mut inner,
        );
        copy_secret(
            &mut basic, "password", owner, "password", secrets, &mut inner,
        );
        basic.finish();
        keys.set("basic_auth", inner);
    }
    if let Some(mut authorization) = section.section("authorization") {
        let mut inner = Keys::default();
        copy_same(
            &mut authorization,
            &["type", "credentials_file"],
            &mut inner,
        );
        copy_secret(
            &mut authorization,
            "credentials",
            owner,
            "credentials",
            secrets,
            &mut inner,
        );
        authorization.finish();
        keys.set("authorization", inner);
    }
    if let Some((node, path)) = section.node("bearer_token")
        && let Node::Text(token) = node
    {
        let token = secrets.reference(owner, "bearer_token", token, &path);
        keys.set_in("authorization", "credentials", token);
        section
            .report()
            .changed(&path, "became authorization.credentials");
    }
    if let Some((node, path)) = section.node("bearer_token_file") {
        keys.set_in("authorization", "credentials_file", node.clone());
        section
            .report()
            .changed(&path, "became authorization.credentials_file");
    }
}

fn read_oauth2(mut section: Section<'_>, owner: &str, secrets: &Secrets) -> Keys {
    let mut keys = Keys::default();
    copy_same(
        &mut section,
        &["client_id", "client_secret_file", "token_url", "scopes"],
        &mut keys,
    );
    copy_secret(
        &mut section,
        "client_secret",
        owner,
        "client_secret",
        secrets,
        &mut keys,
    );
    for (name, value, path) in section.text_map("endpoint_params") {
        if name == "grant_type" {
            if value != "client_credentials" {
                let detail = "only client_credentials is supported";
                section.report().left_out(&path, detail);
            }
            continue;
        }
        let value = if is_secret_name(&name) {
            secrets.reference(owner, &name, &value, &path)
        } else {
            Node::Text(value)
        };
        keys.set_in("endpoint_params", &name, value);
    }
    let mut client = Keys::default();
    copy(
        &mut section,
        &format!("{owner}_oauth2"),
        secrets,
        &mut client,
    );
    keys.0.extend(client.0);
    section.leave_out(
        &[
            "client_certificate_key",
            "client_certificate_key_file",
            "signature_algorithm",
            "iss",
        ],
        "tokens are asked for with a client secret only",
    );
    section.finish();
    keys
}

/// Reads `tls_config`.
pub(super) fn read_tls(mut section: Section<'_>, owner: &str, secrets: &Secrets) -> Keys {
    let mut keys = Keys::default();
    copy_same(
        &mut section,
        &[
            "ca",
            "ca_file",
            "cert",
            "cert_file",
            "key_file",
            "server_name",
            "insecure_skip_verify",
        ],
        &mut keys,
    );
    copy_secret(&mut section, "key", owner, "key", secrets, &mut keys);
    for key in ["min_version", "max_version"] {
        let Some((node, path)) = section.node(key) else {
            continue;
        };
        let is_old = matches!(node, Node::Text(text) if matches!(text.as_str(), "TLS10" | "TLS11"));
        match (key, is_old) {
            ("min_version", true) => {
                let detail = "TLS 1.2 is the oldest version that is supported";
                section.report().changed(&path, detail);
            }
            (_, true) => {
                let detail = "TLS 1.0 and 1.1 are not supported";
                section.report().left_out(&path, detail);
            }
            _ => keys.set(key, node.clone()),
        }
    }
    section.finish();
    keys
}

/// Copies a secret text.
fn copy_secret(
    section: &mut Section<'_>,
    key: &'static str,
    owner: &str,
    word: &str,
    secrets: &Secrets,
    keys: &mut Keys,
) {
    let place = section.path_of(key);
    if let Some(text) = section.text(key) {
        keys.set(key, secrets.reference(owner, word, &text, &place));
    }
}

/// Copies headers in either of Prometheus' forms: a text each, or `values`, `secrets` and `files`.
pub(super) fn copy_headers(
    section: &mut Section<'_>,
    key: &'static str,
    owner: &str,
    secrets: &Secrets,
    keys: &mut Keys,
) {
    let Some(headers) = section.section(key) else {
        return;
    };
    let header = |name: &str, node: &Node, path: &Path| {
        secret_texts(node, path, &|text, path| {
            secrets.header(owner, name, text, path)
        })
    };
    let report = section.report();
    for (name, node, path) in headers.into_entries() {
        let value = if let Node::Map(_) = node {
            let Some(mut parts) = Section::open(node, path.clone(), report) else {
                continue;
            };
            let mut inner = Keys::default();
            copy_same(&mut parts, &["files"], &mut inner);
            if let Some((values, path)) = parts.node("values") {
                // What is not among the secrets is not meant as one.
                let values = secret_texts(values, &path, &|text, path| {
                    if is_secret_name(name) {
                        secrets.header(owner, name, text, path)
                    } else {
                        Node::Text(text.to_owned())
                    }
                });
                inner.set("values", values);
            }
            if let Some((values, path)) = parts.node("secrets") {
                let values = secret_texts(values, &path, &|text, path| {
                    secrets.reference(owner, name, text, path)
                });
                inner.set("secrets", values);
            }
            parts.finish();
            Node::Map(inner.0)
        } else {
            header(name, node, &path)
        };
        keys.set_in(key, name, value);
    }
}

/// `node` with each of its texts replaced.
fn secret_texts(node: &Node, path: &Path, replace: &dyn Fn(&str, &Path) -> Node) -> Node {
    match node {
        Node::List(items) => {
            let items = items
                .iter()
                .enumerate()
                .map(|(index, item)| secret_texts(item, &path.item(index), replace));
            Node::List(items.collect())
        }
        node => match crate::commands::import::section::scalar_text(node) {
            Some(text) => replace(&text, path),
            None => node.clone(),
        },
    }
}
