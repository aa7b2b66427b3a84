//! From a name to the one address that is checked, by asking the name servers every time.
//!
//! No cache, so that the measured phase is a lookup and not a memory of one; no second address
//! behind the first, so that a dead one is seen.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::ResponseCode,
        rr::{RData, RecordType},
    },
    system_conf,
};
use tokio::time::Instant;

use super::Route;
use crate::{
    check::{Failure, Phase, Reason},
    value::IpFamily,
};

/// Asks name servers for addresses.
pub struct Resolver {
    source: Source,
}

enum Source {
    System(Mutex<SystemResolver>),
    Servers(Arc<TokioResolver>),
}

impl Resolver {
    /// Follows `/etc/resolv.conf` and `/etc/hosts`, also when they change later.
    #[must_use]
    pub fn system() -> Self {
        Self {
            source: Source::System(Mutex::new(SystemResolver::read())),
        }
    }

    /// Asks `servers` and nobody else, over UDP, and over TCP where an answer is truncated.
    #[must_use]
    pub fn with_servers(servers: &[SocketAddr]) -> Self {
        let servers = servers.iter().map(|server| {
            let connections =
                [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                    connection.port = server.port();
                    connection
                });
            NameServerConfig::new(server.ip(), true, connections.into())
        });
        let config = ResolverConfig::from_name_servers(servers.collect());
        let mut options = ResolverOpts::default();
        options.use_hosts_file = ResolveHosts::Never;
        Self {
            source: Source::Servers(Arc::new(build(config, options))),
        }
    }

    /// The address of `host` to check.
    ///
    /// # Errors
    /// A [`Failure`] in the phase `resolve`.
    pub async fn resolve(&self, host: &str, route: Route) -> Result<IpAddr, Failure> {
        let addresses = self.of_one_family(host, route).await?;
        Ok(addresses[0])
    }

    /// All addresses of `host`: of the wanted family, or of both where either will do.
    ///
    /// # Errors
    /// A [`Failure`] in the phase `resolve`, where there is none.
    pub async fn resolve_all(&self, host: &str, route: Route) -> Result<Vec<IpAddr>, Failure> {
        if route.family != IpFamily::Auto {
            return self.of_one_family(host, route).await;
        }
        let resolver = self.current();
        let (ip4, ip6) = tokio::join!(
            addresses(&resolver, host, RecordType::A),
            addresses(&resolver, host, RecordType::AAAA),
        );
        match (ip4, ip6) {
            (Ok(ip4), Ok(ip6)) => Ok([ip4, ip6].concat()),
            (Ok(some), Err(failure)) | (Err(failure), Ok(some)) if is_not_found(&failure) => {
                Ok(some)
            }
            (Err(failure), Err(other)) if is_not_found(&failure) => Err(other),
            (Err(failure), _) | (_, Err(failure)) => Err(failure),
        }
    }

    /// The addresses of the family that is wanted, or of the other one where there are none and that
    /// will do: at least one.
    async fn of_one_family(&self, host: &str, route: Route) -> Result<Vec<IpAddr>, Failure> {
        let resolver = self.current();
        let (first, second, fallback) = match route.family {
            IpFamily::Auto => (RecordType::A, RecordType::AAAA, true),
            IpFamily::Ip4 => (RecordType::A, RecordType::AAAA, route.fallback),
            IpFamily::Ip6 => (RecordType::AAAA, RecordType::A, route.fallback),
        };
        match addresses(&resolver, host, first).await {
            Err(failure) if fallback && is_not_found(&failure) => {
                addresses(&resolver, host, second).await
            }
            result => result,
        }
    }

    /// The addresses of `host` that are of one family; none where it has none, or does not exist.
    ///
    /// # Errors
    /// A [`Failure`] where nobody can tell.
    pub async fn records(&self, host: &str, family: IpFamily) -> Result<Vec<IpAddr>, Failure> {
        let record_type = match family {
            IpFamily::Auto | IpFamily::Ip4 => RecordType::A,
            IpFamily::Ip6 => RecordType::AAAA,
        };
        match addresses(&self.current(), host, record_type).await {
            Err(failure) if is_not_found(&failure) => Ok(Vec::new()),
            result => result,
        }
    }

    /// Where the service `name` is to be had, by its SRV records (RFC 2782): hosts, and ports on them.
    /// None where it has none, or does not exist.
    ///
    /// # Errors
    /// A [`Failure`] where nobody can tell.
    pub async fn services(&self, name: &str) -> Result<Vec<(String, u16)>, Failure> {
        let answer = self.current().lookup(name, RecordType::SRV).await;
        let answer = match answer.map_err(|error| failure(&error)) {
            Err(failure) if is_not_found(&failure) => return Ok(Vec::new()),
            answer => answer?,
        };
        let records = answer.answers().iter();
        let services = records.filter_map(|record| match &record.data {
            RData::SRV(srv) => Some((srv.target.to_ascii(), srv.port)),
            _ => None,
        });
        Ok(services.collect())
    }

    fn current(&self) -> Arc<TokioResolver> {
        match &self.source {
            Source::Servers(resolver) => resolver.clone(),
            Source::System(system) => system
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .current(),
        }
    }
}

/// The addresses that `host` has in records of this type, in the order of the answer: at least one.
async fn addresses(
    resolver: &TokioResolver,
    host: &str,
    record_type: RecordType,
) -> Result<Vec<IpAddr>, Failure> {
    let answer = resolver.lookup(host, record_type).await;
    let answer = answer.map_err(|error| failure(&error))?;
    let records = answer.answers().iter();
    let addresses: Vec<_> = records.filter_map(|record| record.data.ip_addr()).collect();
    if addresses.is_empty() {
        let error = format!("the name has no {record_type} record");
        return Err(Failure::new(Phase::Resolve, Reason::DnsNotFound, error));
    }
    Ok(addresses)
}

fn is_not_found(failure: &Failure) -> bool {
    failure.reason == Reason::DnsNotFound
}

fn failure(error: &NetError) -> Failure {
    let (reason, error) = match error {
        NetError::Dns(DnsError::NoRecordsFound(answer)) => match answer.response_code {
            ResponseCode::NXDomain => (Reason::DnsNotFound, "the name does not exist".to_owned()),
            ResponseCode::NoError => (Reason::DnsNotFound, "the name has no address".to_owned()),
            code => (
                Reason::DnsFailure,
                format!("the name server answered {code}"),
            ),
        },
        NetError::Dns(DnsError::ResponseCode(code)) => (
            Reason::DnsFailure,
            format!("the name server answered {code}"),
        ),
        NetError::Timeout => (
            Reason::Timeout,
            "the name servers did not answer".to_owned(),
        ),
        NetError::Io(error) => io_failure(error),
        // hickory keeps to itself why it has no socket to ask with.
        NetError::NoConnections => match UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)) {
            Err(error) => io_failure(&error),
            Ok(_) => (
                Reason::DnsFailure,
                "the name servers cannot be reached".to_owned(),
            ),
        },
        error => (Reason::DnsFailure, error.to_string()),
    };
    Failure::new(Phase::Resolve, reason, error)
}

fn io_failure(error: &io::Error) -> (Reason, String) {
    match super::io_reason(error) {
        Reason::AgentError => (
            Reason::AgentError,
            format!("the name servers cannot be asked: {error}"),
        ),
        _ => (
            Reason::DnsFailure,
            format!("the name servers cannot be reached: {error}"),
        ),
    }
}

/// A resolver that is read again after the files that it came from have changed.
struct SystemResolver {
    resolver: Arc<TokioResolver>,
    version: FilesVersion,
    looked_at: Instant,
}

/// The modification time and size of each file.
type FilesVersion = [Option<(SystemTime, u64)>; 2];

impl SystemResolver {
    /// As often as Go's resolver, and so blackbox_exporter, looks at the files.
    const LOOK_EVERY: Duration = Duration::from_secs(5);
    const FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

    fn read() -> Self {
        let version = Self::version();
        let (config, options) = system_conf::read_system_conf().unwrap_or_else(|error| {
            // resolv.conf(5): without an entry, the name server is the one on the local machine.
            tracing::debug!(%error, "The resolver configuration names no name server");
            let local = NameServerConfig::udp_and_tcp(IpAddr::from([127, 0, 0, 1]));
            (
                ResolverConfig::from_name_servers(vec![local]),
                ResolverOpts::default(),
            )
        });
        Self {
            resolver: Arc::new(build(config, options)),
            version,
            looked_at: Instant::now(),
        }
    }

    fn current(&mut self) -> Arc<TokioResolver> {
        if self.looked_at.elapsed() >= Self::LOOK_EVERY {
            self.looked_at = Instant::now();
            if Self::version() != self.version {
                *self = Self::read();
            }
        }
        self.resolver.clone()
    }

    fn version() -> FilesVersion {
        let version = |file| -> io::Result<_> {
            let metadata = fs::metadata(file)?;
            Ok((metadata.modified()?, metadata.len()))
        };
        Self::FILES.map(|file| version(file).ok())
    }
}

fn build(config: ResolverConfig, mut options: ResolverOpts) -> TokioResolver {
    options.cache_size = 0;
    // Shared by all checks: the number of concurrent checks is bounded elsewhere.
    options.max_active_requests = 65_536;
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .build()
        .expect("only TLS and DNSSEC settings can fail, and there are none")
}
