//! The WebSocket monitor: one connection, from its upgrade to its close.

use std::sync::Arc;

use super::{session::WebSocketSession, settings::Settings, upgrade::Upgrade};
use crate::{
    check::{Attempt, Failure, Monitor, Phase, Report, log_check},
    net::{Connector, Net, SentWords, TlsTarget},
    value::{Host, ZonedHttpUrl},
};

/// Target of log lines: the type.
const LOG_TARGET: &str = "monitoringdaemon::monitors::websocket";

/// Checks one WebSocket.
pub struct WebSocket {
    connector: Connector,
    tls: Option<TlsTarget>,
    settings: Arc<Settings>,
    upgrade: Upgrade,
    /// The URL without secrets.
    redacted_url: String,
}

impl Settings {
    /// The monitor that checks as these settings say.
    #[must_use]
    pub fn bind(self: &Arc<Self>, net: &Net) -> WebSocket {
        let tls = self.tls.as_ref().map(|tls| {
            net.tls_client(tls, tls.server_name_for(&self.endpoint.host), &["http/1.1"])
        });
        WebSocket::new(net.connector(), tls, self.clone())
    }
}

impl WebSocket {
    fn new(connector: Connector, tls: Option<TlsTarget>, settings: Arc<Settings>) -> Self {
        let zone = match &settings.endpoint.host {
            Host::Zoned(zoned) => Some(&*zoned.zone),
            _ => None,
        };
        Self {
            connector,
            tls,
            upgrade: Upgrade::new(&settings),
            redacted_url: ZonedHttpUrl::redacted(&settings.url, zone),
            settings,
        }
    }
}

impl Monitor for WebSocket {
    fn kind(&self) -> &'static str {
        "websocket"
    }

    fn target(&self) -> String {
        self.redacted_url.clone()
    }

    fn host(&self) -> Option<String> {
        Some(self.settings.endpoint.host.to_string())
    }

    fn request_method(&self) -> Option<&str> {
        Some("GET")
    }

    fn phases(&self) -> Vec<Phase> {
        let named = self.settings.endpoint.host.is_name();
        let resolve = named.then_some(Phase::Resolve);
        let tls = self.tls.as_ref().map(|_| Phase::Tls);
        let rest = [Phase::Processing, Phase::Transfer];
        let phases = resolve.into_iter().chain([Phase::Connect]).chain(tls);
        phases.chain(rest).collect()
    }

    async fn check(&self, attempt: &Attempt) -> Result<(), Failure> {
        let Settings {
            endpoint, route, ..
        } = &*self.settings;
        let connect = self
            .connector
            .connect_with_tls(self.tls.as_ref(), endpoint, *route, attempt);
        let mut stream = connect.await?;
        attempt.enter(Phase::Processing);
        let rest = self.upgrade.run(&mut stream, attempt).await?;
        attempt.enter(Phase::Transfer);
        let mut sent = SentWords::default();
        let headers = self.settings.headers.iter();
        headers.for_each(|(_, value)| sent.add(value.as_bytes()));
        let mut session = WebSocketSession::begin(stream, rest, sent, attempt).await;
        session.run(&self.settings.query_response).await?;
        if self.settings.ping {
            session.ping().await?;
        }
        session.close().await?;
        self.settings.min_validity.judge(attempt)
    }

    fn log(&self, monitor: &str, report: &Report) {
        log_check!(target: LOG_TARGET, monitor, report, target = self.redacted_url);
    }
}
