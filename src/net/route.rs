//! Which way to go to a host.

use std::net::IpAddr;

use crate::{
    check::{Failure, Phase, Reason},
    value::IpFamily,
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
    /// Whether an address that needs no lookup may be used.
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
