//! Resolves hosts to addresses: by `/etc/hosts` first, then by the name servers.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use hickory_proto::rr::{Name, RecordType};
use parking_lot::Mutex;

use super::{
    hosts::Hosts,
    message::{Data, NOERROR, NXDOMAIN, Query, listed},
    resolv_conf::{Environment, Options, ResolvConf},
    search::Candidates,
    servers::{Servers, ServersError},
    system_files::{Paths, SystemFiles},
};
use crate::{
    check::{Failure, Phase, Rcode, Reason, StepKind, Steps},
    net::Route,
    value::IpFamily,
};

/// Looks up names.
pub struct Resolver {
    source: Source,
}

enum Source {
    System(Mutex<SystemFiles>),
    Servers(Arc<Stub>),
}

impl Resolver {
    /// Follows `/etc/resolv.conf` and `/etc/hosts`, also when they change later.
    #[must_use]
    pub fn system() -> Self {
        Self::from_files("/etc/resolv.conf", "/etc/hosts")
    }

    /// Follows other files in place of `/etc/resolv.conf` and `/etc/hosts`.
    #[must_use]
    pub fn from_files(resolv_conf: impl Into<PathBuf>, hosts: impl Into<PathBuf>) -> Self {
        let paths = Paths {
            resolv_conf: resolv_conf.into(),
            hosts: hosts.into(),
        };
        Self {
            source: Source::System(Mutex::new(SystemFiles::read(paths))),
        }
    }

    /// Asks `servers`, of which there is at least one, in this order, and reads no files.
    #[must_use]
    pub fn with_servers(servers: &[SocketAddr]) -> Self {
        let resolv_conf = ResolvConf {
            servers: servers.to_vec(),
            search: Vec::new(),
            options: Options::default(),
        };
        Self::with_configuration(&resolv_conf, Hosts::default())
    }

    /// Asks `servers` by the `search` and `options` of `resolv_conf`, the text of a `resolv.conf(5)`,
    /// behind `hosts`, the text of a `hosts(5)`.
    #[must_use]
    pub fn with_texts(servers: &[SocketAddr], resolv_conf: &str, hosts: &str) -> Self {
        let mut resolv_conf = ResolvConf::parse(resolv_conf, &Environment::default());
        resolv_conf.servers = servers.to_vec();
        Self::with_configuration(&resolv_conf, Hosts::parse(hosts))
    }

    fn with_configuration(resolv_conf: &ResolvConf, hosts: Hosts) -> Self {
        Self {
            source: Source::Servers(Arc::new(Stub::new(resolv_conf, hosts))),
        }
    }

    /// The address of `host` to check.
    ///
    /// # Errors
    /// A [`Failure`] in the phase `resolve`.
    pub async fn resolve(&self, host: &str, route: Route) -> Result<IpAddr, Failure> {
        self.resolve_told_to(host, route, &Steps::none()).await
    }

    /// The same, told to `steps`.
    ///
    /// # Errors
    /// A [`Failure`] in the phase `resolve`.
    pub(crate) async fn resolve_told_to(
        &self,
        host: &str,
        route: Route,
        steps: &Steps,
    ) -> Result<IpAddr, Failure> {
        let choice = RecordChoice::first(route);
        steps.add(StepKind::Lookup, || {
            format!("{host}, {}", choice.in_words())
        });
        let addresses = self.current().addresses(host, choice, steps).await?;
        let address = addresses[0];
        steps.add(StepKind::Address, || choice.why(address, &addresses));
        Ok(address)
    }

    /// All addresses of `host`: of the preferred family, or of both if neither is preferred.
    ///
    /// # Errors
    /// A [`Failure`] in the phase `resolve` if there is none.
    pub async fn resolve_all(&self, host: &str, route: Route) -> Result<Vec<IpAddr>, Failure> {
        self.resolve_all_told_to(host, route, &Steps::none()).await
    }

    /// The same, told to `steps`.
    ///
    /// # Errors
    /// A [`Failure`] in the phase `resolve` if there is none.
    pub(crate) async fn resolve_all_told_to(
        &self,
        host: &str,
        route: Route,
        steps: &Steps,
    ) -> Result<Vec<IpAddr>, Failure> {
        let choice = match route.family {
            IpFamily::Auto => RecordChoice::Both,
            _ => RecordChoice::first(route),
        };
        steps.add(StepKind::Lookup, || {
            format!("{host}, {}; all addresses are checked", choice.in_words())
        });
        Ok(self.current().addresses(host, choice, steps).await?)
    }

    /// The addresses of `host` of one family; none if it has none, or does not exist.
    ///
    /// # Errors
    /// A [`Failure`] if no name server can tell.
    pub async fn lookup_family(
        &self,
        host: &str,
        family: IpFamily,
    ) -> Result<Vec<IpAddr>, Failure> {
        let family = match family {
            IpFamily::Auto | IpFamily::Ip4 => Family::Ip4,
            IpFamily::Ip6 => Family::Ip6,
        };
        let choice = RecordChoice::Type(family.record_type());
        let found = self.current().addresses(host, choice, &Steps::none()).await;
        none_if_not_found(found)
    }

    /// The hosts and ports that offer the service `name`, by its SRV records (RFC 2782); none if it
    /// has none, or does not exist.
    ///
    /// # Errors
    /// A [`Failure`] if no name server can tell.
    pub async fn lookup_srv(&self, name: &str) -> Result<Vec<(String, u16)>, Failure> {
        let records = self.lookup_records(name, RecordType::SRV).await?;
        let services = records.into_iter().filter_map(|data| match data {
            Data::Service { target, port } => Some((target.to_ascii(), port)),
            _ => None,
        });
        Ok(services.collect())
    }

    /// The hosts that take mail for `name`, by its MX records; none if it has none, or does not exist.
    ///
    /// # Errors
    /// A [`Failure`] if no name server can tell.
    pub(crate) async fn lookup_mx(&self, name: &str) -> Result<Vec<String>, Failure> {
        self.lookup_hosts(name, RecordType::MX).await
    }

    /// The name servers of the zone `name`, by its NS records; none if it has none, or does not exist.
    ///
    /// # Errors
    /// A [`Failure`] if no name server can tell.
    pub(crate) async fn lookup_ns(&self, name: &str) -> Result<Vec<String>, Failure> {
        self.lookup_hosts(name, RecordType::NS).await
    }

    async fn lookup_hosts(
        &self,
        name: &str,
        record_type: RecordType,
    ) -> Result<Vec<String>, Failure> {
        let records = self.lookup_records(name, record_type).await?;
        let hosts = records.into_iter().filter_map(|data| match data {
            Data::Host(host) => Some(host.to_ascii()),
            _ => None,
        });
        Ok(hosts.collect())
    }

    async fn lookup_records(
        &self,
        name: &str,
        record_type: RecordType,
    ) -> Result<Vec<Data>, Failure> {
        let choice = RecordChoice::Type(record_type);
        let found = self.current().search(name, choice, &Steps::none()).await;
        none_if_not_found(found)
    }

    fn current(&self) -> Arc<Stub> {
        match &self.source {
            Source::Servers(stub) => stub.clone(),
            Source::System(files) => files.lock().current(),
        }
    }
}

/// The records that a lookup is for.
#[derive(Clone, Copy, Debug)]
enum RecordChoice {
    /// Those of this type.
    Type(RecordType),
    /// The addresses of this family, or those of the other one if there are none.
    Prefer(Family),
    /// The addresses of both families, IPv4 before IPv6.
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Ip4,
    Ip6,
}

/// The reason why there are no records.
enum NotFound {
    NoSuchName,
    /// The name exists, or the one that it is an alias for may exist.
    NoRecords {
        what: &'static str,
        alias: Option<Name>,
    },
    NotInHosts(RecordChoice),
    Refused(Rcode),
    Failed(Failure),
}

/// A resolver with the configuration of one moment.
pub(super) struct Stub {
    hosts: Hosts,
    servers: Servers,
    search: Vec<Name>,
    options: Options,
}

impl Stub {
    pub(super) fn new(resolv_conf: &ResolvConf, hosts: Hosts) -> Self {
        Self {
            hosts,
            servers: Servers::new(&resolv_conf.servers, resolv_conf.options),
            search: resolv_conf.search.clone(),
            options: resolv_conf.options,
        }
    }

    /// Returns whether `resolv.conf` must be read again when it changes.
    pub(super) fn follows_resolv_conf(&self) -> bool {
        !self.options.no_reload
    }

    /// The chosen addresses of `host`: at least one.
    async fn addresses(
        &self,
        host: &str,
        choice: RecordChoice,
        steps: &Steps,
    ) -> Result<Vec<IpAddr>, NotFound> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return choice.select(&[address]);
        }
        // A name that is there is not asked of DNS, in either family.
        if let Some(addresses) = self.hosts.find(host) {
            steps.add(StepKind::HostsFile, || {
                format!("{host} is {}; no name server is asked", listed(&addresses))
            });
            return choice.select(&addresses);
        }
        let records = self.search(host, choice, steps).await?;
        let addresses = records.into_iter().filter_map(|data| match data {
            Data::Address(address) => Some(address),
            _ => None,
        });
        Ok(addresses.collect())
    }

    /// The records of the first of the names that `text` may stand for which has any.
    async fn search(
        &self,
        text: &str,
        choice: RecordChoice,
        steps: &Steps,
    ) -> Result<Vec<Data>, NotFound> {
        let Some(candidates) = Candidates::new(text, &self.search, self.options) else {
            let error = format!("invalid host name {text:?}");
            let failure = Failure::new(Phase::Resolve, Reason::DnsFailure, error);
            return Err(NotFound::Failed(failure));
        };
        let mut worst: Option<NotFound> = None;
        for name in candidates.names {
            match self.ask(name, choice, steps).await {
                Err(NotFound::Failed(failure)) => return Err(NotFound::Failed(failure)),
                Err(not_found) => {
                    let is_final = candidates.starts_as_is && worst.is_some();
                    let rank = worst.as_ref().map(NotFound::rank);
                    if !is_final && rank.is_none_or(|rank| not_found.rank() > rank) {
                        worst = Some(not_found);
                    }
                }
                found => return found,
            }
        }
        Err(worst.unwrap_or(NotFound::NoSuchName))
    }

    /// The records of an absolute name: at least one.
    async fn ask(
        &self,
        name: Name,
        choice: RecordChoice,
        steps: &Steps,
    ) -> Result<Vec<Data>, NotFound> {
        match choice {
            RecordChoice::Type(record_type) => self.records(name, record_type, steps).await,
            RecordChoice::Prefer(family) => {
                let found = self
                    .records(name.clone(), family.record_type(), steps)
                    .await;
                let is_to_ask_on = match found {
                    Err(NotFound::NoRecords { .. }) => true,
                    // Some servers deny a name altogether that has no IPv6 address (RFC 4074,
                    // section 4.2), but not one that has no IPv4 address.
                    Err(NotFound::NoSuchName) => family == Family::Ip6,
                    _ => false,
                };
                if !is_to_ask_on {
                    return found;
                }
                let other = self.records(name, family.other().record_type(), steps);
                other.await.map_err(NotFound::of_either_family)
            }
            RecordChoice::Both => {
                let ip4 = self.records(name.clone(), RecordType::A, steps);
                let ip6 = self.records(name, RecordType::AAAA, steps);
                let both = if self.options.single_request {
                    (ip4.await, ip6.await)
                } else {
                    tokio::join!(ip4, ip6)
                };
                match both {
                    (Ok(ip4), Ok(ip6)) => Ok([ip4, ip6].concat()),
                    (Ok(found), Err(not_found)) | (Err(not_found), Ok(found))
                        if not_found.is_certain() =>
                    {
                        Ok(found)
                    }
                    (Err(ip4), Err(ip6)) if ip4.rank() >= ip6.rank() => Err(ip4.of_either_family()),
                    (_, Err(not_found)) => Err(not_found.of_either_family()),
                    (Err(not_found), Ok(_)) => Err(not_found),
                }
            }
        }
    }

    /// The records of an absolute name that are of one type: at least one.
    async fn records(
        &self,
        name: Name,
        record_type: RecordType,
        steps: &Steps,
    ) -> Result<Vec<Data>, NotFound> {
        if record_type == RecordType::AAAA && self.options.no_aaaa {
            return Err(NotFound::NoRecords {
                what: "IPv6 address, as resolv.conf has no-aaaa",
                alias: None,
            });
        }
        let query = Query { name, record_type };
        let response = match self.servers.ask(&query, steps).await {
            Ok(response) => response,
            Err(ServersError::Refused(rcode)) => return Err(NotFound::Refused(rcode)),
            Err(ServersError::Failed(failure)) => return Err(NotFound::Failed(failure)),
        };
        match response.rcode {
            NOERROR if !response.records.is_empty() => Ok(response.records),
            NOERROR => Err(NotFound::NoRecords {
                what: match record_type {
                    RecordType::A => "IPv4 address",
                    RecordType::AAAA => "IPv6 address",
                    RecordType::SRV => "SRV record",
                    RecordType::MX => "MX record",
                    _ => "NS record",
                },
                alias: response.alias,
            }),
            NXDOMAIN => Err(NotFound::NoSuchName),
            rcode => Err(NotFound::Refused(rcode)),
        }
    }
}

impl RecordChoice {
    /// The one address of a host that is checked.
    fn first(route: Route) -> Self {
        match route.family {
            IpFamily::Auto => Self::Prefer(Family::Ip4),
            IpFamily::Ip4 if route.fallback => Self::Prefer(Family::Ip4),
            IpFamily::Ip6 if route.fallback => Self::Prefer(Family::Ip6),
            IpFamily::Ip4 => Self::Type(RecordType::A),
            IpFamily::Ip6 => Self::Type(RecordType::AAAA),
        }
    }

    /// The addresses that are wanted, in words.
    fn in_words(self) -> &'static str {
        match self {
            Self::Type(RecordType::A) => "IPv4 only",
            Self::Type(_) => "IPv6 only",
            Self::Prefer(Family::Ip4) => "IPv4 preferred",
            Self::Prefer(Family::Ip6) => "IPv6 preferred",
            Self::Both => "IPv4 and IPv6",
        }
    }

    /// The reason for checking `address` out of `addresses`.
    fn why(self, address: IpAddr, addresses: &[IpAddr]) -> String {
        let why = match addresses.len() {
            1 => "the only one".to_owned(),
            count => format!("the first of {count}: one check, one address"),
        };
        let fallback = match self {
            Self::Prefer(family) if !family.has(address) => ", as none is of the preferred family",
            _ => "",
        };
        format!("{address}, {why}{fallback}")
    }

    /// Selects the chosen ones of all addresses of a name: at least one.
    fn select(self, all: &[IpAddr]) -> Result<Vec<IpAddr>, NotFound> {
        let of_family = |family: Family| -> Vec<IpAddr> {
            let all = all.iter().copied();
            all.filter(|address| family.has(*address)).collect()
        };
        let found = match self {
            Self::Type(RecordType::A) => of_family(Family::Ip4),
            Self::Type(_) => of_family(Family::Ip6),
            Self::Both => [of_family(Family::Ip4), of_family(Family::Ip6)].concat(),
            Self::Prefer(family) => {
                let found = of_family(family);
                if found.is_empty() {
                    of_family(family.other())
                } else {
                    found
                }
            }
        };
        if found.is_empty() {
            return Err(NotFound::NotInHosts(self));
        }
        Ok(found)
    }
}

impl Family {
    fn other(self) -> Self {
        match self {
            Self::Ip4 => Self::Ip6,
            Self::Ip6 => Self::Ip4,
        }
    }

    fn has(self, address: IpAddr) -> bool {
        address.is_ipv4() == (self == Self::Ip4)
    }

    fn record_type(self) -> RecordType {
        match self {
            Self::Ip4 => RecordType::A,
            Self::Ip6 => RecordType::AAAA,
        }
    }
}

impl NotFound {
    /// Returns how strongly the reason suggests that the name exists.
    fn rank(&self) -> u8 {
        match self {
            Self::NoSuchName => 0,
            Self::NoRecords { .. } | Self::NotInHosts(_) => 1,
            Self::Refused(_) | Self::Failed(_) => 2,
        }
    }

    /// Returns whether it is certain that there are no records.
    fn is_certain(&self) -> bool {
        self.rank() < 2
    }

    /// The same after both families have been asked for.
    fn of_either_family(self) -> Self {
        match self {
            Self::NoRecords { alias, .. } => Self::NoRecords {
                what: "address",
                alias,
            },
            other => other,
        }
    }
}

impl From<NotFound> for Failure {
    fn from(not_found: NotFound) -> Self {
        let (reason, error) = match not_found {
            NotFound::NoSuchName => (Reason::DnsNotFound, "the name does not exist".to_owned()),
            NotFound::NoRecords { what, alias } => {
                let error = match alias {
                    Some(alias) => format!("the name is an alias for {alias}, which has no {what}"),
                    None => format!("the name has no {what}"),
                };
                (Reason::DnsNotFound, error)
            }
            NotFound::NotInHosts(choice) => {
                let family = match choice {
                    RecordChoice::Type(RecordType::A) => "IPv4 ",
                    RecordChoice::Type(_) => "IPv6 ",
                    _ => "",
                };
                let error = format!("/etc/hosts has no {family}address for the name");
                (Reason::DnsNotFound, error)
            }
            NotFound::Refused(rcode) => (
                Reason::DnsFailure,
                format!("the name server answered {rcode}"),
            ),
            NotFound::Failed(failure) => return failure,
        };
        Self::new(Phase::Resolve, reason, error)
    }
}

fn none_if_not_found<T>(found: Result<Vec<T>, NotFound>) -> Result<Vec<T>, Failure> {
    match found {
        Err(not_found) if not_found.is_certain() => Ok(Vec::new()),
        found => Ok(found?),
    }
}
