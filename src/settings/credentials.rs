//! Credentials of requests: `basic_auth`, `authorization`, `oauth2`, or the URL's userinfo.

use http::{HeaderMap, HeaderValue, header};

use super::read_oauth2;
use crate::{
    net::oauth2,
    value::{Fields, Secret, basic_authorization},
};

/// The source of the Authorization header.
pub(crate) enum Credentials {
    /// The configuration.
    Static(HeaderValue),
    /// A token endpoint.
    OAuth2(Box<oauth2::Settings>),
}

/// The credentials, wherever they stand.
pub(crate) fn read_credentials(
    fields: &mut Fields<'_>,
    userinfo: Option<(String, String)>,
    headers: &HeaderMap,
) -> Option<Credentials> {
    let oauth2 = fields.section("oauth2");
    let has_oauth2 = oauth2.is_some();
    let oauth2 = oauth2.and_then(read_oauth2);
    fields.at_most_one(&["basic_auth", "authorization", "oauth2"]);
    let known = known(fields, userinfo, headers, has_oauth2);
    match oauth2 {
        Some(oauth2) => Some(Credentials::OAuth2(Box::new(oauth2))),
        None => known.map(Credentials::Static),
    }
}

/// The value of the Authorization header, if the configuration has it.
pub(crate) fn read_known_credentials(
    fields: &mut Fields<'_>,
    userinfo: Option<(String, String)>,
    headers: &HeaderMap,
) -> Option<HeaderValue> {
    fields.at_most_one(&["basic_auth", "authorization"]);
    known(fields, userinfo, headers, false)
}

fn known(
    fields: &mut Fields<'_>,
    userinfo: Option<(String, String)>,
    headers: &HeaderMap,
    has_oauth2: bool,
) -> Option<HeaderValue> {
    let basic = fields.section("basic_auth").and_then(read_basic_auth);
    let other = fields.section("authorization").and_then(read_authorization);
    let from_url = userinfo.map(|(user, password)| basic_authorization(&user, &password));
    let in_header = headers.get(header::AUTHORIZATION);
    let given = [&basic, &other, &from_url]
        .into_iter()
        .flatten()
        .chain(in_header)
        .count()
        + usize::from(has_oauth2);
    if given > 1 && (from_url.is_some() || in_header.is_some()) {
        let keys = if has_oauth2 {
            "basic_auth, authorization, oauth2"
        } else {
            "basic_auth, authorization"
        };
        fields.add_problem(
            "credentials are set more than once",
            format_args!("one of {keys}, the Authorization header and the URL"),
        );
    }
    basic.or(other).or(from_url)
}

fn read_basic_auth(mut fields: Fields<'_>) -> Option<HeaderValue> {
    let user = Secret::required(&mut fields, "username", "username_file");
    let password = Secret::read(&mut fields, "password", "password_file");
    fields.reject_unknown_keys();
    let password = password.as_ref().map_or("", Secret::reveal);
    Some(basic_authorization(user?.reveal(), password))
}

fn read_authorization(mut fields: Fields<'_>) -> Option<HeaderValue> {
    let scheme: String = fields
        .optional("type")
        .unwrap_or_else(|| "Bearer".to_owned());
    if scheme.eq_ignore_ascii_case("basic") {
        fields.add_value_problem("type", "basic is set with basic_auth", "another scheme");
    }
    let credentials = Secret::required(&mut fields, "credentials", "credentials_file");
    let value = credentials.and_then(|credentials| {
        let value = HeaderValue::try_from(format!("{scheme} {}", credentials.reveal()));
        if value.is_err() {
            fields.add_problem(
                "contains characters that a header cannot have",
                "text without line breaks",
            );
        }
        value.ok()
    });
    fields.reject_unknown_keys();
    value.map(|mut value| {
        value.set_sensitive(true);
        value
    })
}
