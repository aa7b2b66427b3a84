//! The keys of `type: http`, with blackbox_exporter's names and meanings.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, StatusCode, Version,
    header::{self, HeaderName},
};
use url::Url;

use super::{
    advanced::{AdvancedSettings, accept_encoding},
    encoding::Encoding,
    matchers::{BodyMatchers, HeaderMatcher},
    monitor::{Http, Preconditions},
};
use crate::{
    net::{
        Net, Route,
        http::{Client, ClientOptions, OfferedVersions, USER_AGENT},
        tls,
    },
    settings::{
        Credentials, TLS_KEYS, read_credentials, read_route, read_tls_config, refuse_headers,
    },
    value::{
        ByteSize, Endpoint, Fields, FileContents, Host, HttpUrl, HttpVersion, StatusCodes,
        TlsVersion, ZonedHttpUrl,
    },
};

/// Settings of an HTTP check.
#[derive(Clone)]
pub struct Settings {
    /// The URL, without userinfo and fragment.
    pub url: Arc<Url>,
    /// The method.
    pub method: Method,
    /// All headers of the request, the one with the credentials among them.
    pub headers: Arc<[(HeaderName, HeaderValue)]>,
    /// The body of the request, empty for none.
    pub body: Bytes,
    /// Valid status codes.
    pub valid_status_codes: Vec<StatusCodes>,
    /// Valid HTTP versions; empty for any.
    pub valid_http_versions: Vec<HttpVersion>,
    /// True if a redirect is followed, or is the response to judge.
    pub follow_redirects: bool,
    /// The IP family and source address to use.
    pub route: Route,
    /// True if TLS on the final response is a failure.
    pub fail_if_ssl: bool,
    /// True if a final response without TLS is a failure.
    pub fail_if_not_ssl: bool,
    /// Matchers of the body; `None` if there are none.
    pub(crate) body_matchers: Option<Arc<BodyMatchers>>,
    /// Matchers of the headers.
    pub(crate) header_matchers: Vec<HeaderMatcher>,
    /// Bytes of body beyond which a check fails; `None` for no limit.
    pub body_size_limit: Option<u64>,
    /// TLS settings.
    pub tls: tls::Settings,
    /// The name for SNI and verification; `None` for the host of the URL.
    pub server_name: Option<String>,
    /// The interface behind which the URL's IPv6 address is, if it has a zone.
    pub zone: Option<Arc<str>>,
    /// The HTTP versions to offer.
    pub versions: OfferedVersions,
    /// Settings that few monitors have.
    pub(crate) advanced: Option<Box<AdvancedSettings>>,
}

/// 10 MiB: past any page that people wait for, short of what hurts.
const BODY_SIZE_LIMIT: ByteSize = ByteSize(10 << 20);

impl Settings {
    /// `GET url` with the default of every setting.
    #[must_use]
    pub fn get(url: Url) -> Self {
        Self {
            url: url.into(),
            method: Method::GET,
            headers: request_headers(HeaderMap::new(), None),
            body: Bytes::new(),
            valid_status_codes: vec![StatusCodes::SUCCESSFUL],
            valid_http_versions: Vec::new(),
            follow_redirects: true,
            route: Route::default(),
            fail_if_ssl: false,
            fail_if_not_ssl: false,
            body_matchers: None,
            header_matchers: Vec::new(),
            body_size_limit: Some(BODY_SIZE_LIMIT.0),
            tls: tls::Settings::default(),
            server_name: None,
            zone: None,
            versions: OfferedVersions::Http2,
            advanced: None,
        }
    }

    /// Reads the keys; `None` without a URL.
    pub fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let url = fields.required::<ZonedHttpUrl>("url");
        let zone = url.as_ref().and_then(|url| url.zone.clone());
        let url = url.map(|url| url.url);
        let method = fields.optional("method").unwrap_or(Method::GET);
        let mut headers = read_headers(fields);
        let userinfo = url.as_ref().and_then(|url| url.userinfo.clone());
        let credentials = read_credentials(fields, userinfo, &headers);
        let tls = read_tls_config(fields);
        let server_name = tls.server_name.clone().or_else(|| host_name(&headers));
        let mut valid_status_codes = fields.list("valid_status_codes");
        if valid_status_codes.is_empty() {
            valid_status_codes.push(StatusCodes::SUCCESSFUL);
        }
        let header_matchers = HeaderMatcher::read_all(fields);
        let body_size_limit = fields
            .optional("body_size_limit")
            .unwrap_or(BODY_SIZE_LIMIT);
        let mut advanced = AdvancedSettings::read(fields, &headers);
        if let Some(encoding) = advanced.compression {
            let accepted = headers.entry(header::ACCEPT_ENCODING);
            accepted.or_insert_with(|| accept_encoding(encoding));
        }
        let authorization = match credentials {
            Some(Credentials::Static(value)) => Some(value),
            Some(Credentials::OAuth2(oauth2)) => {
                advanced.oauth2 = Some(oauth2);
                None
            }
            None => None,
        };
        let settings = Self {
            method,
            headers: request_headers(headers, authorization),
            body: read_body(fields),
            valid_status_codes,
            valid_http_versions: fields.list("valid_http_versions"),
            follow_redirects: fields.optional("follow_redirects").unwrap_or(true),
            route: read_route(fields),
            fail_if_ssl: fields.optional("fail_if_ssl").unwrap_or(false),
            fail_if_not_ssl: fields.optional("fail_if_not_ssl").unwrap_or(false),
            body_matchers: BodyMatchers::read(fields).map(Arc::new),
            header_matchers,
            body_size_limit: Some(body_size_limit.0).filter(|limit| *limit > 0),
            tls,
            server_name,
            versions: read_versions(fields),
            zone,
            advanced: advanced.into_option_box(),
            // Last, so that the problems of the others are reported too.
            url: url?.url.into(),
        };
        settings.check_consistency(fields);
        settings.warn(fields);
        Some(settings)
    }

    /// The zone of the address in `url`, if it is that of these settings.
    pub(super) fn zone_of(&self, url: &Url) -> Option<Arc<str>> {
        let zone = self.zone.clone();
        zone.filter(|_| self.url.host() == url.host())
    }

    /// The most memory that the body of a response can take, in bytes.
    pub(super) fn max_body_memory(&self) -> u64 {
        let advanced = self.advanced.as_ref();
        if advanced.is_some_and(|advanced| advanced.without_body) {
            return 0;
        }
        let compression = advanced.and_then(|advanced| advanced.compression);
        let decoding = compression.map_or(0, Encoding::max_memory);
        // Without a limit there are no matchers.
        let body = self.body_size_limit.unwrap_or_default();
        let matching = self.body_matchers.as_ref();
        decoding.saturating_add(matching.map_or(0, |matchers| matchers.max_memory(body)))
    }

    fn check_consistency(&self, fields: &Fields<'_>) {
        if self.fail_if_ssl && self.fail_if_not_ssl {
            let wrong = "cannot be used together with fail_if_ssl";
            fields.add_value_problem("fail_if_not_ssl", wrong, "");
        }
        if self.body_size_limit.is_none() && self.body_matchers.is_some() {
            let allowed = "a limit, because the body is kept in memory";
            fields.add_value_problem(
                "body_size_limit",
                "0 (no limit) is not allowed with body matchers",
                allowed,
            );
        }
        let is_without_body = self
            .advanced
            .as_ref()
            .is_some_and(|advanced| advanced.without_body);
        if is_without_body && self.body_matchers.is_some() {
            let wrong = "body matchers need the body";
            fields.add_value_problem("read_body", wrong, "true, or no matchers");
        }
        self.check_versions(fields);
        if let Some(advanced) = &self.advanced {
            advanced.check_consistency(&self.url, self.route, fields);
        }
    }

    /// Checks what the versions of HTTP have to do with other keys.
    fn check_versions(&self, fields: &Fields<'_>) {
        let valid = &self.valid_http_versions;
        let accepts = |version| valid.contains(&HttpVersion(version));
        let key = "valid_http_versions";
        match self.versions {
            OfferedVersions::Http3 => {
                if valid.iter().any(|version| version.0 != Version::HTTP_3) {
                    let wrong = "has older versions, which enable_http3 rules out";
                    fields.add_value_problem(key, wrong, "HTTP/3.0 alone with enable_http3");
                }
                self.check_http3(fields);
            }
            _ if accepts(Version::HTTP_3) => {
                let wrong = "has HTTP/3.0, which needs enable_http3: true";
                fields.add_value_problem(key, wrong, "HTTP/1.0, HTTP/1.1 or HTTP/2.0");
            }
            OfferedVersions::Http1 if accepts(Version::HTTP_2) => {
                let wrong = "has HTTP/2.0, which enable_http2 rules out";
                fields.add_value_problem(key, wrong, "HTTP/1.0 and HTTP/1.1");
            }
            OfferedVersions::Http1 | OfferedVersions::Http2 => {}
        }
    }

    /// Checks what HTTP/3 needs.
    fn check_http3(&self, fields: &Fields<'_>) {
        let key = "enable_http3";
        if self.url.scheme() == "http" {
            fields.add_value_problem(key, "the URL starts with http://", "an https:// URL");
        }
        if self.tls.versions.max < TlsVersion::Tls13 {
            let wrong = "tls_config.max_version rules out TLS 1.3, which HTTP/3 needs";
            fields.add_value_problem(key, wrong, "max_version: TLS13 or none");
        }
        let advanced = self.advanced.as_ref();
        if advanced.is_some_and(|advanced| advanced.proxies.is_some()) {
            let wrong = "proxies forward no HTTP/3";
            fields.add_value_problem(key, wrong, "neither proxy_url nor proxy_from_environment");
        }
    }

    fn warn(&self, fields: &Fields<'_>) {
        // Not of 304, which has no place to go to.
        let redirects = self.valid_status_codes.iter();
        if self.follow_redirects
            && redirects.clone().all(StatusCodes::are_redirects)
            && !redirects
                .clone()
                .any(|codes| codes.contains(StatusCode::NOT_MODIFIED))
        {
            let message = "redirects are followed, so the first response is not judged; \
                           it is with follow_redirects: false";
            fields.warn("valid_status_codes", message);
        }
        if self.url.scheme() == "http" && !self.fail_if_not_ssl {
            for key in TLS_KEYS {
                let message = "the URL starts with http://, so this has no effect unless a \
                               redirect leads to https://";
                fields.warn_unless_shared(key, message);
            }
        }
    }

    /// The monitor that checks as these settings say.
    #[must_use]
    pub fn bind(self: &Arc<Self>, net: &Net) -> Http<Client> {
        let advanced = self.advanced.as_deref();
        let client = |tls: &tls::Settings| {
            net.http_client(ClientOptions {
                tls,
                versions: self.versions,
            })
        };
        let client_without_identity = self.tls.identity.as_ref().map(|_| {
            let tls = tls::Settings {
                identity: None,
                ..self.tls.clone()
            };
            client(&tls)
        });
        let preconditions = advanced.and_then(|advanced| {
            let tokens = advanced.oauth2.as_ref().map(|oauth2| net.tokens(oauth2));
            let connector = advanced.all_addresses.then(|| net.connector());
            let needed = tokens.is_some() || connector.is_some();
            needed.then(|| Box::new(Preconditions { tokens, connector }))
        });
        Http {
            client_without_identity,
            preconditions,
            ..Http::new(client(&self.tls), self.clone())
        }
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
) -> Arc<[(HeaderName, HeaderValue)]> {
    /// Those of most monitors, which share them.
    static USUAL: OnceLock<Arc<[(HeaderName, HeaderValue)]>> = OnceLock::new();
    let has_own = !headers.is_empty() || authorization.is_some();
    headers.extend(authorization.map(|value| (header::AUTHORIZATION, value)));
    headers
        .entry(header::USER_AGENT)
        .or_insert(HeaderValue::from_static(USER_AGENT));
    // The server closes the connection, so that TIME_WAIT does not use up local ports.
    headers
        .entry(header::CONNECTION)
        .or_insert(HeaderValue::from_static("close"));
    let all = headers.iter();
    let all = all.map(|(name, value)| (name.clone(), value.clone()));
    if has_own {
        all.collect()
    } else {
        USUAL.get_or_init(|| all.collect()).clone()
    }
}

pub(in crate::monitors) fn read_headers(fields: &mut Fields<'_>) -> HeaderMap {
    let own = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
    fields.headers(refuse_headers(own, "set from the body"))
}

/// The versions to offer.
fn read_versions(fields: &mut Fields<'_>) -> OfferedVersions {
    let http2 = fields.optional("enable_http2");
    let http3 = fields.optional("enable_http3").unwrap_or(false);
    if !http3 {
        return match http2 {
            Some(false) => OfferedVersions::Http1,
            Some(true) | None => OfferedVersions::Http2,
        };
    }
    if !cfg!(feature = "http3") {
        let wrong = "this program was built without HTTP/3";
        fields.add_value_problem(
            "enable_http3",
            wrong,
            "false, or a build with the feature http3",
        );
    } else if http2 == Some(true) {
        let wrong = "cannot be used together with enable_http2";
        fields.add_value_problem("enable_http3", wrong, "enable_http2: false");
    }
    OfferedVersions::Http3
}

/// The name in the Host header, if there is one and it is the name of a host.
pub(in crate::monitors) fn host_name(headers: &HeaderMap) -> Option<String> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    let url = Url::parse(&format!("https://{host}/")).ok()?;
    match Endpoint::from_url(&url)?.host {
        Host::Name(name) => Some(name),
        Host::Address(_) | Host::Zoned(_) => None,
    }
}

fn read_body(fields: &mut Fields<'_>) -> Bytes {
    fields.at_most_one(&["body", "body_file"]);
    let text = fields.optional::<Bytes>("body");
    let file = fields
        .file("body_file")
        .map(|FileContents(bytes)| Bytes::from(bytes));
    text.or(file).unwrap_or_default()
}
