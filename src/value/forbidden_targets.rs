//! Networks that checks must not connect to, and targets that may be probed on request.

use std::{fmt, net::IpAddr, sync::Arc};

use ipnet::IpNet;

use super::{FromNode, Host, Node};

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

/// The targets that may be probed: networks, and patterns of names.
#[derive(Clone, Debug, Default)]
pub struct AllowedTargets(Arc<[AllowedTarget]>);

/// One entry of `allowed_targets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedTarget {
    /// Whatever has an address in these networks.
    Networks(ForbiddenNetworks),
    /// A host by its name, whatever its address is.
    Name(String),
    /// Every host below a domain, written as `*.example.com`.
    Below(String),
    /// A socket of this machine, written as `unix:/path`.
    Socket(String),
}

impl AllowedTargets {
    /// True if a host of this name may be probed, whatever its address is.
    #[must_use]
    pub(crate) fn has_name(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        self.0.iter().any(|entry| match entry {
            AllowedTarget::Name(allowed) => *allowed == name,
            AllowedTarget::Below(domain) => name
                .strip_suffix(domain.as_str())
                .is_some_and(|host| host.len() > 1 && host.ends_with('.')),
            AllowedTarget::Networks(_) | AllowedTarget::Socket(_) => false,
        })
    }

    /// Returns true if `address` may be probed.
    #[must_use]
    pub(crate) fn has_address(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|entry| match entry {
            AllowedTarget::Networks(allowed) => {
                let mut networks = allowed.networks.iter();
                networks.any(|network| network.contains(&address))
            }
            _ => false,
        })
    }

    /// True if the socket at `path` may be probed.
    #[must_use]
    pub(crate) fn has_socket(&self, path: &str) -> bool {
        let mut entries = self.0.iter();
        entries.any(|entry| matches!(entry, AllowedTarget::Socket(allowed) if allowed == path))
    }
}

impl From<Vec<AllowedTarget>> for AllowedTargets {
    fn from(entries: Vec<AllowedTarget>) -> Self {
        Self(entries.into())
    }
}

impl FromNode for AllowedTarget {
    const EXPECTED: &'static str = "a network such as 10.0.0.0/8, an address, one of link-local, metadata, \
                                   loopback, private, a name such as www.example.com or *.example.com, or \
                                   unix:PATH";

    fn from_node(node: &Node) -> Result<Self, String> {
        let text = String::from_node(node)?;
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Self::Socket(path.to_owned()));
        }
        if let Ok(networks) = ForbiddenNetworks::from_node(node) {
            return Ok(Self::Networks(networks));
        }
        let name = text.trim_end_matches('.').to_ascii_lowercase();
        let (domain, of): (_, fn(String) -> Self) = match name.strip_prefix("*.") {
            Some(domain) => (domain, Self::Below),
            None => (&*name, Self::Name),
        };
        match domain.parse::<Host>() {
            Ok(Host::Name(domain)) if !domain.contains(['*', ':']) => Ok(of(domain)),
            _ => Err(format!("invalid target {text:?}")),
        }
    }
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

    #[test]
    fn a_target_is_allowed_by_its_name_or_its_address() {
        let read = |text: &&str| AllowedTarget::from_node(&Node::Text((*text).to_owned()));
        let entries: Result<Vec<_>, _> = [
            "10.0.0.0/8",
            "www.example.com",
            "*.Example.org.",
            "unix:/run/a",
        ]
        .iter()
        .map(read)
        .collect();
        let allowed = AllowedTargets::from(entries.expect("targets"));
        for (name, expected) in [
            ("www.example.com", true),
            ("WWW.example.com.", true),
            ("example.com", false),
            ("a.www.example.com", false),
            ("a.example.org", true),
            ("a.b.example.org", true),
            ("example.org", false),
            (".example.org", false),
            ("badexample.org", false),
        ] {
            assert_eq!(allowed.has_name(name), expected, "{name}");
        }
        let address = |text: &str| allowed.has_address(text.parse().expect("an address"));
        assert!(address("10.1.2.3") && address("::ffff:10.1.2.3") && !address("11.0.0.1"));
        assert!(allowed.has_socket("/run/a") && !allowed.has_socket("/run/b"));
        for wrong in ["", "a b", "*.", "*", "a*.example.com", "unix:"] {
            assert!(read(&wrong).is_err(), "{wrong:?}");
        }
    }
}
