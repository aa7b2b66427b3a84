//! Networks that checks must not connect to.

use std::{fmt, net::IpAddr, sync::Arc};

use ipnet::IpNet;

use super::{FromNode, Node};

/// The networks of `forbid_targets`.
#[derive(Clone, Debug, Default)]
pub struct ForbiddenTargets(Arc<[ForbiddenNetworks]>);

/// An entry of `forbid_targets`: a network, or the name of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForbiddenNetworks {
    text: String,
    networks: Vec<IpNet>,
}

/// The names of networks.
const NAMED: [(&str, &[&str]); 4] = [
    // RFC 3927 and RFC 4291.
    ("link-local", &["169.254.0.0/16", "fe80::/10"]),
    // Metadata services of clouds, which hand out credentials: most clouds, AWS over IPv6, Alibaba,
    // Azure and Oracle.
    (
        "metadata",
        &[
            "169.254.169.254/32",
            "fd00:ec2::254/128",
            "100.100.100.200/32",
            "168.63.129.16/32",
            "192.0.0.192/32",
        ],
    ),
    // The unspecified address also leads to this machine.
    (
        "loopback",
        &["127.0.0.0/8", "0.0.0.0/8", "::1/128", "::/128"],
    ),
    // RFC 1918 and RFC 4193.
    (
        "private",
        &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"],
    ),
];

impl ForbiddenTargets {
    /// The entry that forbids `address`, if there is one. An IPv4-mapped IPv6 address counts as the
    /// IPv4 address.
    #[must_use]
    pub fn find(&self, address: IpAddr) -> Option<&ForbiddenNetworks> {
        let address = address.to_canonical();
        self.0.iter().find(|entry| {
            entry
                .networks
                .iter()
                .any(|network| network.contains(&address))
        })
    }
}

impl From<Vec<ForbiddenNetworks>> for ForbiddenTargets {
    fn from(entries: Vec<ForbiddenNetworks>) -> Self {
        Self(entries.into())
    }
}

impl fmt::Display for ForbiddenNetworks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromNode for ForbiddenNetworks {
    const EXPECTED: &'static str = "a network such as 10.0.0.0/8, an address, or one of link-local, \
                                   metadata, loopback, private";

    fn from_node(node: &Node) -> Result<Self, String> {
        let text = String::from_node(node)?;
        let named = NAMED.iter().find(|(name, _)| *name == text);
        let networks = match named {
            Some((_, networks)) => networks.iter().filter_map(|text| network(text)).collect(),
            None => vec![network(&text).ok_or_else(|| format!("invalid network {text:?}"))?],
        };
        Ok(Self { text, networks })
    }
}

/// Parses a network or a single address.
fn network(text: &str) -> Option<IpNet> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forbidden(entries: &[&str], address: &str) -> Option<String> {
        let read = |text: &&str| ForbiddenNetworks::from_node(&Node::Text((*text).to_owned()));
        let entries: Result<Vec<_>, _> = entries.iter().map(read).collect();
        let targets = ForbiddenTargets::from(entries.expect("networks"));
        let address = address.parse().expect("an address");
        targets.find(address).map(ToString::to_string)
    }

    #[test]
    fn an_address_is_forbidden_by_a_network_an_address_or_a_name() {
        for (entry, address) in [
            ("10.0.0.0/8", "10.255.0.1"),
            ("192.0.2.7", "192.0.2.7"),
            ("fd00::/8", "fd12::1"),
            ("link-local", "169.254.1.1"),
            ("link-local", "fe80::1"),
            ("metadata", "169.254.169.254"),
            ("metadata", "fd00:ec2::254"),
            ("metadata", "100.100.100.200"),
            ("metadata", "::ffff:169.254.169.254"),
            ("loopback", "127.0.0.9"),
            ("loopback", "::"),
            ("private", "172.31.255.255"),
            ("private", "fd00::1"),
        ] {
            let found = forbidden(&[entry], address);
            assert_eq!(found.as_deref(), Some(entry), "{address}");
        }
        for (entry, address) in [
            ("10.0.0.0/8", "11.0.0.1"),
            ("metadata", "169.254.169.253"),
            ("private", "172.32.0.0"),
            ("link-local", "::1"),
        ] {
            assert_eq!(forbidden(&[entry], address), None, "{address}");
        }
        assert_eq!(forbidden(&[], "127.0.0.1"), None);
    }

    #[test]
    fn every_named_network_is_one() {
        for (name, networks) in NAMED {
            for text in networks {
                assert!(network(text).is_some(), "{name}: {text}");
            }
        }
        for text in ["", "example.com", "10.0.0.0/33", "metadat"] {
            assert!(ForbiddenNetworks::from_node(&Node::Text(text.to_owned())).is_err());
        }
    }
}
