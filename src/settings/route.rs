//! The keys of [`Route`], which every type has that connects.

use std::net::IpAddr;

use crate::{
    net::Route,
    value::{Fields, FromNode, IpFamily, Node},
};

/// Reads `preferred_ip_protocol`, `ip_protocol_fallback` and `source_ip_address`.
pub(crate) fn read_route(fields: &mut Fields<'_>) -> Route {
    let defaults = Route::default();
    let source: Option<IpAddr> = fields.optional("source_ip_address");
    let mut route = Route {
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
        let wrong = format_args!("{source} does not match preferred_ip_protocol");
        fields.add_value_problem("source_ip_address", wrong, "an address of that family");
    }
    route.family = family;
    route.fallback = false;
    route
}

impl FromNode for IpAddr {
    const EXPECTED: &'static str = "an IPv4 or IPv6 address";

    fn from_node(node: &Node) -> Result<Self, String> {
        let text = String::from_node(node)?;
        text.parse()
            .map_err(|_| format!("invalid IP address {text:?}"))
    }
}
