//! `type: tls`: a TLS handshake and nothing else, from the first byte or after STARTTLS.

use std::sync::Arc;

use crate::{
    check::{Attempt, Failure, Monitor, Phase, Reason, Report, log_check},
    net::{Connector, Net, Route, StartTls, TlsTarget, tls},
    settings::{read_min_validity, read_route, read_tls_config},
    value::{Endpoint, Fields, FromNode, Node, Target},
};

/// Settings of a TLS check.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The host and its port.
    pub target: Endpoint,
    /// The IP family and source address to use.
    pub route: Route,
    /// TLS settings.
    pub tls_config: tls::Settings,
    /// The protocol of STARTTLS; `None` if TLS starts immediately.
    pub starttls: Option<StartTls>,
    /// The protocols to offer, of which the peer must choose one; empty to offer none.
    pub alpn: Vec<Protocol>,
    /// Minimum validity of the certificates.
    pub(crate) min_validity: tls::MinCertificateValidity,
}

/// The port of HTTPS (RFC 9110, section 4.2.2).
const PORT: u16 = 443;

/// A protocol as ALPN names it (RFC 7301, section 3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol(pub String);

impl FromNode for Protocol {
    const EXPECTED: &'static str =
        "the name of a protocol such as h2 or http/1.1, of 1 to 255 bytes";

    fn from_node(node: &Node) -> Result<Self, String> {
        let name = String::from_node(node)?;
        match name.len() {
            1..=255 => Ok(Self(name)),
            _ => Err(format!("invalid protocol name {name:?}")),
        }
    }
}

impl Settings {
    /// Reads the keys; `None` without a target.
    pub fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let target: Option<Target> = fields.required("target");
        let starttls: Option<StartTls> = fields.optional("starttls");
        let tls_config = read_tls_config(fields);
        let (route, alpn) = (read_route(fields), fields.list("alpn"));
        let min_validity = read_min_validity(fields);
        Some(Self {
            target: target?.endpoint(starttls.map_or(PORT, StartTls::port)),
            route,
            tls_config,
            starttls,
            alpn,
            min_validity,
        })
    }

    /// The monitor that checks as these settings say.
    #[must_use]
    pub fn bind(self: &Arc<Self>, net: &Net) -> Tls {
        let protocols: Vec<_> = self.alpn.iter().map(|protocol| &*protocol.0).collect();
        Tls {
            connector: net.connector(),
            client: net.tls_client(
                &self.tls_config,
                self.tls_config.server_name_for(&self.target.host),
                &protocols,
            ),
            settings: self.clone(),
        }
    }
}

/// Checks the TLS of one port.
pub struct Tls {
    connector: Connector,
    client: TlsTarget,
    settings: Arc<Settings>,
}

impl Monitor for Tls {
    fn kind(&self) -> &'static str {
        "tls"
    }

    fn target(&self) -> String {
        self.settings.target.to_string()
    }

    fn host(&self) -> Option<String> {
        Some(self.settings.target.host.to_string())
    }

    fn phases(&self) -> Vec<Phase> {
        let resolve = self
            .settings
            .target
            .host
            .is_name()
            .then_some(Phase::Resolve);
        let asking = self.settings.starttls.map(|_| Phase::Processing);
        let always = [Phase::Connect, Phase::Tls];
        resolve.into_iter().chain(always).chain(asking).collect()
    }

    async fn check(&self, attempt: &Attempt) -> Result<(), Failure> {
        let settings = &*self.settings;
        let connect = self
            .connector
            .connect(&settings.target, settings.route, attempt);
        let stream = connect.await?;
        let stream = match settings.starttls {
            None => stream.handshake(&self.client).await?,
            Some(protocol) => stream.start_tls(protocol, &self.client).await?,
        };
        if !settings.alpn.is_empty() && stream.protocol().is_none() {
            let error = "the peer chose none of the offered protocols (ALPN)";
            return Err(attempt.failure(Reason::ResponseMismatch, error));
        }
        settings.min_validity.judge(attempt)?;
        stream.finish(settings.starttls).await
    }

    fn log(&self, monitor: &str, report: &Report) {
        let (version, cipher) = report.tls().unzip();
        log_check!(
            monitor,
            report,
            target = self.target(),
            version = version,
            cipher = cipher,
        );
    }
}
