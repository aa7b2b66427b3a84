//! `oauth2`, as Prometheus has it.

use super::{read_proxies, read_tls_config};
use crate::{
    net::oauth2,
    value::{Fields, HttpUrl, Secret},
};

/// Parameters that have keys of their own, or none.
const RESERVED: [&str; 4] = ["grant_type", "client_id", "client_secret", "scope"];

/// Reads the mapping `oauth2`.
pub(crate) fn read_oauth2(mut fields: Fields<'_>) -> Option<oauth2::Settings> {
    let client_id = fields.required::<String>("client_id");
    let secret = Secret::read(&mut fields, "client_secret", "client_secret_file");
    let url = fields.required::<HttpUrl>("token_url");
    if url.as_ref().is_some_and(|url| url.userinfo.is_some()) {
        let allowed = "client_id and client_secret";
        fields.add_value_problem("token_url", "contains credentials", allowed);
    }
    let scopes: Vec<String> = fields.list("scopes");
    if scopes
        .iter()
        .any(|scope| scope.is_empty() || scope.contains(' '))
    {
        fields.add_value_problem(
            "scopes",
            "item is empty or contains several scopes",
            "one scope per item",
        );
    }
    let mut parameters = Vec::new();
    if !scopes.is_empty() {
        parameters.push(("scope".to_owned(), scopes.join(" ")));
    }
    let check_name = |name: &str| {
        if RESERVED.contains(&name) {
            return Err(("reserved parameter".to_owned(), "another parameter"));
        }
        Ok(())
    };
    let further = fields
        .map::<Secret>("endpoint_params", check_name)
        .into_iter()
        .map(|(name, value)| (name, value.reveal().to_owned()));
    parameters.extend(further);
    let tls = read_tls_config(&mut fields);
    let proxies = read_proxies(&mut fields);
    fields.reject_unknown_keys();
    Some(oauth2::Settings {
        grant: oauth2::Grant {
            url: url?.url,
            client_id: client_id?,
            client_secret: secret.map_or_else(String::new, |secret| secret.reveal().to_owned()),
            parameters,
        },
        tls,
        proxies,
    })
}
