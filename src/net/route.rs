//! The IP family and the source address of connections.

use std::net::IpAddr;

use crate::{
    check::{Failure, Phase, Reason},
    value::IpFamily,
};

/// The IP family and the source address of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The IP family and source address to use.
    pub family: IpFamily,
    /// True if the other family is used for hosts without an address of the first.
    pub fallback: bool,
    /// The source address; `None` for the system's choice.
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
    /// Fails if the family of `address`, which needs no lookup, is not allowed.
    pub(super) fn ensure_allowed(self, address: IpAddr) -> Result<(), Failure> {
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
