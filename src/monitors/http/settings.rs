//! The keys of `type: http`, with blackbox_exporter's names and meanings.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method,
    header::{self, HeaderName},
};
use url::Url;

use super::Http;
use crate::{
    net::{
        Net, Route,
        http::{Client, Versions},
        tls,
    },
    value::{ByteSize, Fields, File, HttpUrl, HttpVersion, Pattern, Secret, StatusCodes},
};

/// How to check one URL.
#[derive(Clone)]
pub struct Settings {
    /// The URL, without userinfo and fragment.
    pub url: Url,
    /// The method.
    pub method: Method,
    /// All headers of the request, the one with the credentials among them.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body of the request, empty for none.
    pub body: Bytes,
    /// What the status must be one of.
    pub valid_status_codes: Vec<StatusCodes>,
    /// What the version must be one of; empty for any.
    pub valid_http_versions: Vec<HttpVersion>,
    /// Whether a redirect is followed, or is the response to judge.
    pub follow_redirects: bool,
    /// Which addresses may be used.
    pub route: Route,
    /// Whether TLS on the final response is a failure.
    pub fail_if_ssl: bool,
    /// Whether its absence is one.
    pub fail_if_not_ssl: bool,
    /// What the body must be like.
    pub body_matchers: Arc<BodyMatchers>,
    /// What the headers must be like.
    pub header_matchers: Vec<HeaderMatcher>,
    /// Bytes of body beyond which a check fails; `None` for no limit.
    pub body_size_limit: Option<u64>,
    /// How to speak TLS.
    pub tls: tls::Settings,
    /// The name to ask for in TLS and to verify, where it is not the URL's.
    pub server_name: Option<String>,
}

/// 10 MiB: past any page that people wait for, short of what hurts.
const BODY_SIZE_LIMIT: ByteSize = ByteSize(10 << 20);

pub(in crate::monitors) const USER_AGENT: &str =
    concat!("monitoringdaemon/", env!("CARGO_PKG_VERSION"));

impl Settings {
    /// `GET url` with the default of every setting.
    #[must_use]
    pub fn get(url: Url) -> Self {
        Self {
            url,
            method: Method::GET,
            headers: request_headers(HeaderMap::new(), None),
            body: Bytes::new(),
            valid_status_codes: vec![StatusCodes::SUCCESSFUL],
            valid_http_versions: Vec::new(),
            follow_redirects: true,
            route: Route::default(),
            fail_if_ssl: false,
            fail_if_not_ssl: false,
            body_matchers: Arc::default(),
            header_matchers: Vec::new(),
            body_size_limit: Some(BODY_SIZE_LIMIT.0),
            tls: tls::Settings::default(),
            server_name: None,
        }
    }

    /// Reads the keys; `None` where there is no URL to check.
    pub fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let url = fields.required::<HttpUrl>("url");
        let method = fields.optional("method").unwrap_or(Method::GET);
        let headers = read_headers(fields);
        let userinfo = url.as_ref().and_then(|url| url.userinfo.clone());
        let authorization = read_credentials(fields, userinfo, &headers);
        let tls = fields
            .section("tls_config")
            .map(tls::Settings::read)
            .unwrap_or_default();
        let server_name = tls.server_name.clone().or_else(|| host_name(&headers));
        let mut valid_status_codes = fields.list("valid_status_codes");
        if valid_status_codes.is_empty() {
            valid_status_codes.push(StatusCodes::SUCCESSFUL);
        }
        let mut header_matchers = fields.list_of("fail_if_header_matches", |fields| {
            HeaderMatcher::read(fields, Demand::Absent)
        });
        header_matchers.extend(fields.list_of("fail_if_header_not_matches", |fields| {
            HeaderMatcher::read(fields, Demand::Present)
        }));
        let body_size_limit = fields
            .optional("body_size_limit")
            .unwrap_or(BODY_SIZE_LIMIT);
        let settings = Self {
            method,
            headers: request_headers(headers, authorization),
            body: read_body(fields),
            valid_status_codes,
            valid_http_versions: fields.list("valid_http_versions"),
            follow_redirects: fields.optional("follow_redirects").unwrap_or(true),
            route: Route::read(fields),
            fail_if_ssl: fields.optional("fail_if_ssl").unwrap_or(false),
            fail_if_not_ssl: fields.optional("fail_if_not_ssl").unwrap_or(false),
            body_matchers: Arc::new(BodyMatchers {
                absent: fields.patterns("fail_if_body_matches_regexp"),
                present: fields.patterns("fail_if_body_not_matches_regexp"),
            }),
            header_matchers,
            body_size_limit: Some(body_size_limit.0).filter(|limit| *limit > 0),
            tls,
            server_name,
            // Last, so that what is wrong with the others is found out too.
            url: url?.url,
        };
        settings.check_consistency(fields);
        Some(settings)
    }

    fn check_consistency(&self, fields: &Fields<'_>) {
        if self.fail_if_ssl && self.fail_if_not_ssl {
            let wrong = "fails every check together with fail_if_ssl";
            fields.wrong_value("fail_if_not_ssl", wrong, "one of them");
        }
        if self.body_size_limit.is_none() && !self.body_matchers.is_empty() {
            let allowed = "a limit, as the body is kept in memory for its matchers";
            fields.wrong_value("body_size_limit", "sets no limit", allowed);
        }
    }

    /// The monitor that checks as these settings say.
    #[must_use]
    pub fn bind(self: &Arc<Self>, net: &Net) -> Http<Client> {
        // HTTP/2 has one name for TLS and for the request, so two names need HTTP/1.1.
        let versions = match self.server_name {
            Some(_) => Versions::Http1,
            None => Versions::Http2,
        };
        let anonymous = self.tls.identity.as_ref().map(|_| {
            let tls = tls::Settings {
                identity: None,
                ..self.tls.clone()
            };
            net.http_client(&tls, Versions::Http2)
        });
        Http::new(net.http_client(&self.tls, versions), self.clone()).with_anonymous(anonymous)
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("url", &HttpUrl::redacted(&self.url))
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

/// `headers`, with what every request has.
fn request_headers(
    mut headers: HeaderMap,
    authorization: Option<HeaderValue>,
) -> Vec<(HeaderName, HeaderValue)> {
    headers.extend(authorization.map(|value| (header::AUTHORIZATION, value)));
    headers
        .entry(header::USER_AGENT)
        .or_insert(HeaderValue::from_static(USER_AGENT));
    // The server closes the connection, so that the port that waits for late packets is not ours.
    headers
        .entry(header::CONNECTION)
        .or_insert(HeaderValue::from_static("close"));
    headers
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

pub(in crate::monitors) fn read_headers(fields: &mut Fields<'_>) -> HeaderMap {
    let check_name = |name: &str| match HeaderName::from_bytes(name.as_bytes()) {
        Ok(name) if name == header::CONTENT_LENGTH || name == header::TRANSFER_ENCODING => {
            Err(("follows from the body".to_owned(), "no such header here"))
        }
        Ok(_) => Ok(()),
        Err(_) => Err(("is no name of a header".to_owned(), "letters, digits and -")),
    };
    let mut headers = HeaderMap::new();
    for (name, value) in fields.map::<HeaderValue>("headers", check_name) {
        let Ok(header) = HeaderName::try_from(&name) else {
            continue;
        };
        if headers.insert(header, value).is_some() {
            let wrong = format_args!("{name} differs in case alone from another one");
            fields.wrong_value("headers", wrong, "each header once");
        }
    }
    headers
}

/// The name in the Host header, if there is one and it is the name of a host.
pub(in crate::monitors) fn host_name(headers: &HeaderMap) -> Option<String> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    let host = Url::parse(&format!("https://{host}/")).ok()?;
    host.domain().map(ToOwned::to_owned)
}

fn read_body(fields: &mut Fields<'_>) -> Bytes {
    fields.at_most_one(&["body", "body_file"]);
    let text = fields
        .optional::<Secret>("body")
        .map(|text| Bytes::from(text.reveal().to_owned()));
    let file = fields
        .optional::<File>("body_file")
        .map(|File(bytes)| Bytes::from(bytes));
    text.or(file).unwrap_or_default()
}

/// The value of the Authorization header, wherever the credentials stand.
pub(in crate::monitors) fn read_credentials(
    fields: &mut Fields<'_>,
    userinfo: Option<(String, String)>,
    headers: &HeaderMap,
) -> Option<HeaderValue> {
    let basic = fields.section("basic_auth").and_then(read_basic_auth);
    let other = fields.section("authorization").and_then(read_authorization);
    fields.at_most_one(&["basic_auth", "authorization"]);
    let from_url = userinfo.map(|(user, password)| basic_authorization(&user, &password));
    let in_header = headers.get(header::AUTHORIZATION);
    let given = [&basic, &other, &from_url]
        .into_iter()
        .flatten()
        .chain(in_header)
        .count();
    if given > 1 && (from_url.is_some() || in_header.is_some()) {
        fields.wrong(
            "has credentials in more than one place",
            "one of basic_auth, authorization, the Authorization header and the URL",
        );
    }
    basic.or(other).or(from_url)
}

fn read_basic_auth(mut fields: Fields<'_>) -> Option<HeaderValue> {
    let user = required_secret(&mut fields, "username", "username_file");
    let password = secret(&mut fields, "password", "password_file");
    fields.finish();
    let password = password.as_ref().map_or("", Secret::reveal);
    Some(basic_authorization(user?.reveal(), password))
}

/// RFC 7617.
fn basic_authorization(user: &str, password: &str) -> HeaderValue {
    let credentials = BASE64_STANDARD.encode(format!("{user}:{password}"));
    let mut value = HeaderValue::try_from(format!("Basic {credentials}"))
        .expect("base64 is made of letters, digits and three signs");
    value.set_sensitive(true);
    value
}

fn read_authorization(mut fields: Fields<'_>) -> Option<HeaderValue> {
    let scheme: String = fields
        .optional("type")
        .unwrap_or_else(|| "Bearer".to_owned());
    if scheme.eq_ignore_ascii_case("basic") {
        fields.wrong_value("type", "is basic", "any other; basic_auth is for that");
    }
    let credentials = required_secret(&mut fields, "credentials", "credentials_file");
    let value = credentials.and_then(|credentials| {
        let value = HeaderValue::try_from(format!("{scheme} {}", credentials.reveal()));
        if value.is_err() {
            fields.wrong("cannot be sent in a header", "text without line breaks");
        }
        value.ok()
    });
    fields.finish();
    value.map(|mut value| {
        value.set_sensitive(true);
        value
    })
}

/// A [`secret`] that must be there.
fn required_secret(
    fields: &mut Fields<'_>,
    inline: &'static str,
    file: &'static str,
) -> Option<Secret> {
    let problems = fields.problems().count();
    let secret = secret(fields, inline, file);
    if secret.is_none() && fields.problems().count() == problems {
        fields.wrong(
            format_args!("{inline} is missing"),
            format_args!("{inline} or {file}"),
        );
    }
    secret
}

/// A secret that stands in the configuration or in a file that it names.
fn secret(fields: &mut Fields<'_>, inline: &'static str, file: &'static str) -> Option<Secret> {
    fields.at_most_one(&[inline, file]);
    let text = fields.optional::<Secret>(inline);
    let contents = fields.optional::<File>(file);
    let contents = contents.and_then(|contents| match contents.text() {
        Ok(text) => Some(Secret::from(text.to_owned())),
        Err(wrong) => {
            fields.wrong_value(file, wrong, "text");
            None
        }
    });
    text.or(contents)
}

/// What the body of the response must be like.
#[derive(Debug, Default)]
pub struct BodyMatchers {
    /// None of them may match.
    pub absent: Vec<Pattern>,
    /// All of them must match.
    pub present: Vec<Pattern>,
}

impl BodyMatchers {
    /// Whether any body will do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.absent.is_empty() && self.present.is_empty()
    }

    /// What is wrong with `body`, without any of it.
    pub(super) fn complaint(&self, body: &[u8]) -> Option<String> {
        if let Some(pattern) = self.absent.iter().find(|pattern| pattern.matches(body)) {
            return Some(format!("the body matches \"{pattern}\""));
        }
        let missing = self.present.iter().find(|pattern| !pattern.matches(body))?;
        Some(format!("the body does not match \"{missing}\""))
    }
}

/// What one header of the response must be like.
#[derive(Clone, Debug)]
pub struct HeaderMatcher {
    header: HeaderName,
    pattern: Pattern,
    allow_missing: bool,
    demand: Demand,
}

/// Whether a header must match, or must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Demand {
    Present,
    Absent,
}

impl HeaderMatcher {
    fn read(mut fields: Fields<'_>, demand: Demand) -> Option<Self> {
        let name: Option<String> = fields.required("header");
        let pattern = fields.required_pattern("regexp");
        let allow_missing = fields.optional("allow_missing").unwrap_or(false);
        let header = name.and_then(|name| {
            let header = HeaderName::try_from(name);
            if header.is_err() {
                fields.wrong_value("header", "is no name of a header", "letters, digits and -");
            }
            header.ok()
        });
        fields.finish();
        Some(Self {
            header: header?,
            pattern: pattern?,
            allow_missing,
            demand,
        })
    }

    /// What is wrong with `headers`, without their values.
    pub(super) fn complaint(&self, headers: &HeaderMap) -> Option<String> {
        let Self {
            header, pattern, ..
        } = self;
        let mut values = headers.get_all(header).iter().peekable();
        if values.peek().is_none() {
            return (!self.allow_missing).then(|| format!("the header {header} is missing"));
        }
        let matches = values.any(|value| pattern.matches(value.as_bytes()));
        match (self.demand, matches) {
            (Demand::Absent, true) => Some(format!("the header {header} matches \"{pattern}\"")),
            (Demand::Present, false) => {
                Some(format!("the header {header} does not match \"{pattern}\""))
            }
            _ => None,
        }
    }
}
