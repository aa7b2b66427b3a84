//! `/etc/resolv.conf`: which name servers to ask, and how (`resolv.conf(5)`).

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6},
    time::Duration,
};

use hickory_proto::rr::Name;
use nix::net::if_::if_nametoindex;

use super::name::parse_name;

/// The configuration of a resolver.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ResolvConf {
    /// At least one.
    pub servers: Vec<SocketAddr>,
    /// Domains in which relative names are looked up.
    pub search: Vec<Name>,
    pub options: Options,
}

/// The `options` that have a meaning here; all others are ignored, as the C library ignores what it
/// does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the file has as many switches"
)]
pub(super) struct Options {
    /// Minimum number of dots with which a name is tried unchanged before the search list.
    pub(crate) ndots: usize,
    /// Time to wait for the last server that was asked.
    pub timeout: Duration,
    /// Number of times each server is asked.
    pub attempts: usize,
    /// Begin with another server each time.
    pub rotate: bool,
    /// Ask over TCP.
    pub(crate) use_vc: bool,
    /// Announce that longer datagrams are welcome.
    pub edns0: bool,
    /// Never ask for IPv6 addresses.
    pub(crate) no_aaaa: bool,
    /// Ask for the addresses of both families one after the other.
    pub(crate) single_request: bool,
    /// Do not ask for names without a dot as they are.
    pub(crate) no_tld_query: bool,
    /// Do not read the file again when it changes.
    pub(crate) no_reload: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
            rotate: false,
            use_vc: false,
            edns0: false,
            no_aaaa: false,
            single_request: false,
            no_tld_query: false,
            no_reload: false,
        }
    }
}

/// Settings of the process and the machine that add to the file.
#[derive(Debug, Default)]
pub(super) struct Environment {
    /// The variable `LOCALDOMAIN`: the search list in place of the file's.
    pub(crate) local_domain: Option<String>,
    /// The variable `RES_OPTIONS`: more options.
    pub options: Option<String>,
    /// The name of this host, whose domain is searched unless the file names others.
    pub(crate) host_name: Option<String>,
}

/// As many servers as the C library asks (MAXNS).
const MAX_SERVERS: usize = 3;
/// The C library's upper limits (RES_MAXNDOTS, RES_MAXRETRANS, RES_MAXRETRY).
const MAX_NDOTS: usize = 15;
const MAX_TIMEOUT_SECONDS: usize = 30;
const MAX_ATTEMPTS: usize = 5;

const PORT: u16 = 53;

impl ResolvConf {
    /// Reads the text of the file.
    pub(super) fn parse(text: &str, environment: &Environment) -> Self {
        let mut servers = Vec::new();
        let mut search = None;
        let mut options = Options::default();
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") if servers.len() < MAX_SERVERS => {
                    servers.extend(words.next().and_then(server));
                }
                // Each takes the place of those before it.
                Some("search") => search = Some(words.filter_map(parse_name).collect()),
                Some("domain") => search = Some(words.take(1).filter_map(parse_name).collect()),
                Some("options") => words.for_each(|word| options.set(word)),
                _ => {}
            }
        }
        if servers.is_empty() {
            servers.push((Ipv4Addr::LOCALHOST, PORT).into());
        }
        if let Some(domains) = &environment.local_domain {
            search = Some(domains.split_whitespace().filter_map(parse_name).collect());
        }
        if let Some(more) = &environment.options {
            more.split_whitespace().for_each(|word| options.set(word));
        }
        let search = search.unwrap_or_else(|| {
            let host_name = environment.host_name.as_deref().unwrap_or_default();
            let domain = host_name.trim().split_once('.').map(|(_, domain)| domain);
            domain.and_then(parse_name).into_iter().collect()
        });
        Self {
            servers,
            search,
            options,
        }
    }
}

impl Options {
    fn set(&mut self, word: &str) {
        let (option, value) = word.split_once(':').unwrap_or((word, ""));
        // As atoi(3) reads a number.
        let digits = value.len() - value.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number = value[..digits].parse::<usize>();
        let up_to = |most: usize| {
            number
                .unwrap_or(if digits == 0 { 0 } else { most })
                .min(most)
        };
        match option {
            "ndots" => self.ndots = up_to(MAX_NDOTS),
            "timeout" => {
                let seconds = up_to(MAX_TIMEOUT_SECONDS).max(1);
                self.timeout = Duration::from_secs(seconds as u64);
            }
            "attempts" => self.attempts = up_to(MAX_ATTEMPTS).max(1),
            "rotate" => self.rotate = true,
            "use-vc" => self.use_vc = true,
            "edns0" => self.edns0 = true,
            "no-aaaa" => self.no_aaaa = true,
            "single-request" | "single-request-reopen" => self.single_request = true,
            "no-tld-query" => self.no_tld_query = true,
            "no-reload" => self.no_reload = true,
            _ => {}
        }
    }
}

/// Parses an address, possibly with a zone.
fn server(text: &str) -> Option<SocketAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some((address, PORT).into());
    }
    let (address, zone) = text.split_once('%')?;
    let zone = match zone.parse() {
        Ok(index) => index,
        Err(_) => if_nametoindex(zone).ok()?,
    };
    Some(SocketAddrV6::new(address.parse().ok()?, PORT, 0, zone).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> ResolvConf {
        ResolvConf::parse(text, &Environment::default())
    }

    #[track_caller]
    fn assert_servers(text: &str, expected: &[&str]) {
        let servers = read(text).servers;
        let servers: Vec<_> = servers.iter().map(SocketAddr::to_string).collect();
        assert_eq!(servers, expected, "{text:?}");
    }

    #[track_caller]
    fn assert_search(conf: &ResolvConf, expected: &[&str]) {
        let search: Vec<_> = conf.search.iter().map(Name::to_ascii).collect();
        assert_eq!(search, expected);
    }

    #[test]
    fn the_first_three_servers_count() {
        assert_servers(
            "# nameserver 192.0.2.7\n; nameserver 192.0.2.8\r\n\
             nameserver 192.0.2.1 # the best\r\nnameserver\t2001:db8::1;\n\
             nameserver nonsense\nnameserver\nnameservers 192.0.2.9\n \
             nameserver 192.0.2.2\nnameserver 192.0.2.3\n",
            &["192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.2:53"],
        );
        assert_servers("", &["127.0.0.1:53"]);
    }

    #[test]
    fn a_server_may_have_a_zone() {
        assert_servers("nameserver fe80::1%7", &["[fe80::1%7]:53"]);
        let loopback = if_nametoindex("lo").expect("there is always a loopback");
        let expected = format!("[fe80::1%{loopback}]:53");
        assert_servers("nameserver fe80::1%lo", &[&expected]);
        assert_servers("nameserver fe80::1%no-such-if", &["127.0.0.1:53"]);
    }

    #[test]
    fn the_last_search_list_counts() {
        let conf = read("search a.test b_c.test\ndomain d.test\nsearch e.test F.test. # g\n");
        assert_search(&conf, &["e.test.", "F.test."]);
        assert_search(&read("search e.test\ndomain d.test x"), &["d.test."]);
        assert_search(&read(""), &[]);
    }

    #[test]
    fn the_environment_adds_to_the_file() {
        let environment = Environment {
            local_domain: None,
            options: Some("ndots:3 rotate".to_owned()),
            host_name: Some("host.of.test\n".to_owned()),
        };
        let conf = ResolvConf::parse("options ndots:2 use-vc", &environment);
        assert_search(&conf, &["of.test."]);
        assert_eq!(conf.options.ndots, 3);
        assert!(conf.options.rotate && conf.options.use_vc);
        let conf = ResolvConf::parse("search a.test", &environment);
        assert_search(&conf, &["a.test."]);
        let environment = Environment {
            local_domain: Some("b.test c.test".to_owned()),
            ..environment
        };
        let conf = ResolvConf::parse("search a.test", &environment);
        assert_search(&conf, &["b.test.", "c.test."]);
    }

    #[test]
    fn options_are_bounded_and_unknown_ones_ignored() {
        let options = |text: &str| read(&format!("options {text}")).options;
        let given = options("debug timeout:2 attempts:3x ndots:5 edns0 no-aaaa trust-ad inet6 a:b");
        let expected = Options {
            ndots: 5,
            timeout: Duration::from_secs(2),
            attempts: 3,
            edns0: true,
            no_aaaa: true,
            ..Options::default()
        };
        assert_eq!(given, expected);
        let given = options("timeout:99999999999999999999 attempts:77 ndots:77");
        assert_eq!(given.timeout, Duration::from_secs(30));
        assert_eq!((given.attempts, given.ndots), (5, 15));
        let given = options("timeout:0 attempts:0 ndots:0");
        assert_eq!(given.timeout, Duration::from_secs(1));
        assert_eq!((given.attempts, given.ndots), (1, 0));
        assert_eq!(
            options("single-request no-tld-query no-reload"),
            Options {
                single_request: true,
                no_tld_query: true,
                no_reload: true,
                ..Options::default()
            }
        );
    }
}
