//! Address families, named as in blackbox_exporter.

use super::{FromNode, Node};

/// The preferred address family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IpFamily {
    /// IPv4 if the name has such an address, otherwise IPv6.
    #[default]
    Auto,
    /// IPv4.
    Ip4,
    /// IPv6.
    Ip6,
}

impl FromNode for IpFamily {
    const EXPECTED: &'static str = "auto, ip4 or ip6";

    fn from_node(node: &Node) -> Result<Self, String> {
        match String::from_node(node)?.as_str() {
            "auto" => Ok(Self::Auto),
            "ip4" => Ok(Self::Ip4),
            "ip6" => Ok(Self::Ip6),
            other => Err(format!("unknown IP family {other:?}")),
        }
    }
}
