//! `/etc/hosts`: names that need no name server (`hosts(5)`).

use std::{borrow::Cow, collections::HashMap, net::IpAddr};

/// The addresses of each name, in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Hosts(HashMap<Box<str>, Vec<IpAddr>>);

impl Hosts {
    /// Reads the text of the file; lines without an address at their beginning are skipped.
    pub(super) fn parse(text: &str) -> Self {
        let mut hosts = HashMap::<_, Vec<_>>::new();
        for line in text.lines() {
            let (line, _comment) = line.split_once('#').unwrap_or((line, ""));
            let mut words = line.split_whitespace();
            let Some(address) = words.next().and_then(|word| word.parse().ok()) else {
                continue;
            };
            for name in words {
                let addresses = hosts.entry(key(name).into()).or_default();
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        Self(hosts)
    }

    /// The addresses of `name`, or of the names that have to be of this machine (RFC 6761, section 6.3).
    pub(super) fn find(&self, name: &str) -> Option<Cow<'_, [IpAddr]>> {
        let name = key(name);
        if let Some(addresses) = self.0.get(&*name) {
            return Some(addresses.into());
        }
        (name == "localhost" || name.ends_with(".localhost"))
            .then(|| vec![[127, 0, 0, 1].into(), [0, 0, 0, 0, 0, 0, 0, 1].into()].into())
    }
}

/// A name in the form in which names are compared.
fn key(name: &str) -> Cow<'_, str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        name.to_ascii_lowercase().into()
    } else {
        name.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_an_address_and_its_names() {
        let text = "127.0.0.1 localhost\r\n\
            # 192.0.2.9 commented.test\r\n\
            \t192.0.2.1\tA.test my_svc # b.test\r\n\
            2001:db8::1 a.test\n\
            192.0.2.1 a.test\n\
            192.0.2.300 wrong.test\n\
            fe80::1%eth0 zone.test\n\
            192.0.2.2\n\
            \n\
            192.0.2.3 last.test";
        let hosts = Hosts::parse(text);
        let find = |name: &str| -> Vec<String> {
            let found = hosts.find(name).unwrap_or_default();
            found.iter().map(IpAddr::to_string).collect()
        };
        assert_eq!(find("a.test"), ["192.0.2.1", "2001:db8::1"]);
        assert_eq!(find("A.TEST."), ["192.0.2.1", "2001:db8::1"]);
        assert_eq!(find("my_svc"), ["192.0.2.1"]);
        assert_eq!(find("last.test"), ["192.0.2.3"]);
        assert_eq!(find("localhost"), ["127.0.0.1"]);
        assert_eq!(find("x.localhost"), ["127.0.0.1", "::1"]);
        for name in [
            "b.test",
            "commented.test",
            "wrong.test",
            "zone.test",
            "test",
            "",
        ] {
            assert!(hosts.find(name).is_none(), "{name}");
        }
    }
}
