//! The rare keys of `type: http`, boxed, so that monitors without them need less memory.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue, header};
use url::{Host, Url};

use super::encoding::Encoding;
use crate::{
    net::{Route, http::Proxies, oauth2, tls::MinCertificateValidity},
    settings::{read_min_validity, read_proxies},
    value::{self, Fields, FromNode, Node},
};

/// Maximum number of addresses of one name that are checked.
pub(super) const MAX_ADDRESSES: usize = 32;

/// Settings that few monitors have.
#[derive(Clone, Default)]
pub(crate) struct AdvancedSettings {
    /// The encoding of the body.
    pub compression: Option<Encoding>,
    /// True if the check ends with the headers of the response.
    pub(crate) without_body: bool,
    /// The proxies that requests go through.
    pub(crate) proxies: Option<Proxies>,
    /// Settings of the token source.
    pub oauth2: Option<Box<oauth2::Settings>>,
    /// Addresses of names that are not looked up.
    pub resolve: Vec<(String, IpAddr)>,
    /// True if all addresses of the name are checked.
    pub all_addresses: bool,
    /// Minimum validity of the certificates.
    pub(crate) min_validity: MinCertificateValidity,
}

impl AdvancedSettings {
    /// Reads the keys, apart from `oauth2`.
    pub(super) fn read(fields: &mut Fields<'_>, headers: &HeaderMap) -> Self {
        let compression: Option<Encoding> = fields.optional("compression");
        if let (Some(encoding), Some(accepted)) =
            (compression, headers.get(header::ACCEPT_ENCODING))
            && !encoding.is_accepted_by(accepted)
        {
            let wrong = format!("contradicts the Accept-Encoding in headers, {encoding:?}");
            let allowed = "an encoding that it accepts, or no such header";
            fields.add_value_problem("compression", wrong.to_lowercase(), allowed);
        }
        Self {
            compression,
            without_body: !fields.optional("read_body").unwrap_or(true),
            proxies: read_proxies(fields),
            oauth2: None,
            resolve: read_resolve(fields),
            all_addresses: fields.optional("all_addresses").unwrap_or(false),
            min_validity: read_min_validity(fields),
        }
    }

    /// The settings in a box; `None` if all are the defaults.
    pub(super) fn into_option_box(self) -> Option<Box<Self>> {
        let Self {
            compression: None,
            without_body: false,
            proxies: None,
            oauth2: None,
            resolve,
            all_addresses: false,
            min_validity,
        } = &self
        else {
            return Some(Box::new(self));
        };
        (!resolve.is_empty() || *min_validity != MinCertificateValidity::default())
            .then(|| Box::new(self))
    }

    pub(super) fn check_consistency(&self, url: &Url, route: Route, fields: &Fields<'_>) {
        let source = route.source;
        let of_other_family =
            |address: &IpAddr| source.is_some_and(|source| source.is_ipv4() != address.is_ipv4());
        if self
            .resolve
            .iter()
            .any(|(_, address)| of_other_family(address))
        {
            let wrong = "IP family differs from that of source_ip_address";
            fields.add_value_problem("resolve", wrong, "addresses of that family");
        }
        if !self.all_addresses {
            return;
        }
        let host = match url.host() {
            Some(Host::Domain(name)) => name,
            _ => "",
        };
        let wrong = if host.is_empty() {
            "has no effect: the URL contains an address"
        } else if self.address_of(url).is_some() {
            "has no effect: resolve names the address"
        } else if self.proxy_of(url).is_some() {
            "has no effect: the proxy resolves the name"
        } else {
            return;
        };
        let allowed = "a name that is looked up, and no proxy";
        fields.add_value_problem("all_addresses", wrong, allowed);
    }

    /// The address that `resolve` has for the host of `url`.
    pub(super) fn address_of(&self, url: &Url) -> Option<IpAddr> {
        let host = url.domain()?;
        let mut known = self.resolve.iter();
        known
            .find(|(name, _)| name == host)
            .map(|(_, address)| *address)
    }

    pub(super) fn proxy_of(&self, url: &Url) -> Option<&std::sync::Arc<crate::net::http::Proxy>> {
        self.proxies.as_ref()?.for_url(url)
    }
}

/// The header that requests `encoding`, if none was configured.
pub(super) fn accept_encoding(encoding: Encoding) -> HeaderValue {
    HeaderValue::from_static(encoding.as_str())
}

fn read_resolve(fields: &mut Fields<'_>) -> Vec<(String, IpAddr)> {
    let as_name = |text: &str| match value::Host::from_node(&Node::Text(text.to_owned())) {
        Ok(value::Host::Name(name)) => Some(name),
        _ => None,
    };
    let check_name = |text: &str| match as_name(text) {
        Some(_) => Ok(()),
        None => Err(("invalid host name".to_owned(), "a name to look up")),
    };
    let addresses = fields.map::<IpAddr>("resolve", check_name);
    let names = addresses
        .into_iter()
        .filter_map(|(name, address)| Some((as_name(&name)?, address)));
    names.collect()
}
