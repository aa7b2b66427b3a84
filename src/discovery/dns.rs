//! `dns_sd_configs`: targets from DNS.

use std::{sync::Arc, time::Duration};

use super::{
    payload::Target,
    refresh_interval,
    relabel::Labels,
    source::{Found, PollResult, Source},
};
use crate::{
    check::Failure,
    net::{Net, Resolver},
    value::{Fields, FromNode, IpFamily, Node, format_duration},
};

/// The key of this kind of source.
pub(super) const KEY: &str = "dns_sd_configs";

/// Timeout of the queries for one name.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(60);

/// The settings of one `dns_sd_configs` entry.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    names: Vec<String>,
    records: Records,
    /// Port of targets whose records have none.
    port: u16,
    refresh_interval: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Records {
    Srv,
    Addresses(IpFamily),
    /// Mail exchangers.
    Mx,
    /// Name servers.
    Ns,
}

impl FromNode for Records {
    const EXPECTED: &'static str = "SRV, A, AAAA, MX or NS";

    fn from_node(node: &Node) -> Result<Self, String> {
        let word = String::from_node(node)?;
        match word.to_uppercase().as_str() {
            "SRV" => Ok(Self::Srv),
            "A" => Ok(Self::Addresses(IpFamily::Ip4)),
            "AAAA" => Ok(Self::Addresses(IpFamily::Ip6)),
            "MX" => Ok(Self::Mx),
            "NS" => Ok(Self::Ns),
            _ => Err(format!("unknown record type {word:?}")),
        }
    }
}

struct Port(u16);

impl FromNode for Port {
    const EXPECTED: &'static str = "a port from 1 to 65535";

    fn from_node(node: &Node) -> Result<Self, String> {
        match node {
            Node::Int(number) => match u16::try_from(*number) {
                Ok(port @ 1..) => Ok(Self(port)),
                _ => Err(format!("{number} is out of range")),
            },
            _ => Err(format!("found {}", node.kind())),
        }
    }
}

impl Settings {
    pub(super) fn read(mut fields: Fields<'_>) -> Option<Self> {
        let problems = fields.problems().count();
        let names: Vec<String> = fields.list("names");
        if names.iter().any(String::is_empty) {
            fields.add_value_problem("names", "empty name", "names to look up");
        } else if names.is_empty() && fields.problems().count() == problems {
            fields.add_problem("names is missing", "names to look up");
        }
        let records = match fields.node("type") {
            Some(_) => fields.optional("type"),
            None => Some(Records::Srv),
        };
        let port = fields.optional("port").map(|Port(port)| port);
        if let Some(records) = records
            && records != Records::Srv
            && fields.node("port").is_none()
        {
            let wrong = "port is missing (only SRV records have one)";
            fields.add_problem(wrong, Port::EXPECTED);
        }
        let refresh_interval = refresh_interval::read(&mut fields, Duration::from_secs(30));
        fields.reject_unknown_keys();
        Some(Self {
            names,
            records: records?,
            port: port.unwrap_or_default(),
            refresh_interval,
        })
    }

    pub(super) fn source(&self, net: &Net) -> DnsSource {
        DnsSource {
            settings: self.clone(),
            resolver: net.resolver(),
        }
    }
}

/// The source of one `dns_sd_configs` entry.
pub(super) struct DnsSource {
    settings: Settings,
    resolver: Arc<Resolver>,
}

impl Source for DnsSource {
    async fn poll(&mut self) -> Vec<PollResult> {
        let names = self.settings.names.iter();
        futures_util::future::join_all(names.map(|name| self.poll_name(name))).await
    }

    fn interval(&self) -> Duration {
        self.settings.refresh_interval
    }
}

impl DnsSource {
    async fn poll_name(&self, name: &str) -> PollResult {
        let patience = self.settings.refresh_interval.min(LOOKUP_TIMEOUT);
        let found = match tokio::time::timeout(patience, self.targets(name)).await {
            Ok(targets) => targets
                .map(Found::Targets)
                .map_err(|failure| failure.error.into()),
            Err(_) => Err(format!("no answer within {}", format_duration(patience))),
        };
        PollResult {
            list_name: name.to_owned(),
            found,
        }
    }

    /// The targets of `name`. A name without records has no targets, which is not an error.
    async fn targets(&self, name: &str) -> Result<Vec<Target>, Failure> {
        let mut targets = match self.settings.records {
            Records::Srv => {
                let services = self
                    .resolver
                    .lookup_srv(name)
                    .await?
                    .into_iter()
                    .filter(|(host, _)| host != NULL_HOST);
                let targets = services.map(|(host, port)| Target {
                    address: format!("{}:{port}", host.trim_end_matches('.')),
                    labels: labels(&[
                        ("__meta_dns_name", name),
                        ("__meta_dns_srv_record_target", &host),
                        ("__meta_dns_srv_record_port", &port.to_string()),
                    ]),
                });
                targets.collect::<Vec<_>>()
            }
            Records::Mx => {
                let hosts = self.resolver.lookup_mx(name).await?;
                self.host_targets(name, "__meta_dns_mx_record_target", hosts)
            }
            Records::Ns => {
                let hosts = self.resolver.lookup_ns(name).await?;
                self.host_targets(name, "__meta_dns_ns_record_target", hosts)
            }
            Records::Addresses(family) => {
                let labels = labels(&[("__meta_dns_name", name)]);
                let addresses = self.resolver.lookup_family(name, family).await?;
                let targets = addresses.into_iter().map(|address| Target {
                    address: std::net::SocketAddr::new(address, self.settings.port).to_string(),
                    labels: labels.clone(),
                });
                targets.collect()
            }
        };
        // Name servers rotate the order of records.
        targets.sort_by(|a, b| a.address.cmp(&b.address));
        Ok(targets)
    }

    fn host_targets(&self, name: &str, label: &str, hosts: Vec<String>) -> Vec<Target> {
        let hosts = hosts.into_iter().filter(|host| host != NULL_HOST);
        let targets = hosts.map(|host| Target {
            address: format!("{}:{}", host.trim_end_matches('.'), self.settings.port),
            labels: labels(&[("__meta_dns_name", name), (label, &host)]),
        });
        targets.collect()
    }
}

/// The host in a record that means "no host" (RFC 2782, RFC 7505).
const NULL_HOST: &str = ".";

fn labels(pairs: &[(&str, &str)]) -> Arc<Labels> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Arc::new(pairs.iter().map(owned).collect())
}
