//! Which way to go to a host: the keys that every type has that connects.

use std::net::IpAddr;

use crate::{
    check::{Failure, Phase, Reason},
    value::{Fields, FromNode, IpFamily, Node},
};

/// Which of a host's addresses to use, and from which of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Which addresses may be used.
    pub family: IpFamily,
    /// Whether those of the other family may be used where there are none of that.
    pub fallback: bool,
    /// The address that connections come from, where it is not the system's choice.
    pub source: Option<IpAddr>,
}

impl Default for Route {
    fn default() -> Self {
        Self {
            family: IpFamily::Auto,
            fallback: true,
            source: None,
        }
    }
}

impl Route {
    /// Reads `preferred_ip_protocol`, `ip_protocol_fallback` and `source_ip_address`.
    #[must_use]
    pub fn read(fields: &mut Fields<'_>) -> Self {
        let defaults = Self::default();
        let source: Option<IpAddr> = fields.optional("source_ip_address");
        let mut route = Self {
            family: fields
                .optional("preferred_ip_protocol")
                .unwrap_or(defaults.family),
            fallback: fields
                .optional("ip_protocol_fallback")
                .unwrap_or(defaults.fallback),
            source,
        };
        let Some(source) = source else { return route };
        // From an address of one family, those of the other cannot be reached.
        let family = if source.is_ipv4() {
            IpFamily::Ip4
        } else {
            IpFamily::Ip6
        };
        if route.family != IpFamily::Auto && route.family != family {
            let wrong = format_args!("{source} is of the other family than preferred_ip_protocol");
            fields.wrong_value("source_ip_address", wrong, "an address of that family");
        }
        route.family = family;
        route.fallback = false;
        route
    }

    /// Whether an address that needs no lookup may be used.
    pub(super) fn check(self, address: IpAddr) -> Result<(), Failure> {
        let wanted = match self.family {
            _ if self.fallback => return Ok(()),
            IpFamily::Ip4 if address.is_ipv6() => "an IPv4",
            IpFamily::Ip6 if address.is_ipv4() => "an IPv6",
            _ => return Ok(()),
        };
        let error = format!("{address} is not {wanted} address");
        Err(Failure::new(Phase::Resolve, Reason::DnsNotFound, error))
    }
}

impl FromNode for IpAddr {
    const ALLOWED: &'static str = "an IPv4 or IPv6 address";

    fn from_node(node: &Node) -> Result<Self, String> {
        let text = String::from_node(node)?;
        text.parse().map_err(|_| format!("{text:?} is no address"))
    }
}
