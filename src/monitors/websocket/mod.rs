//! `type: websocket`: upgrades a connection, holds a dialogue over it, and closes it in good order.

mod conversation;
mod dialogue;
mod settings;
mod upgrade;

use std::sync::Arc;

use self::{conversation::Conversation, upgrade::Upgrade};
use crate::{
    check::{Attempt, Failure, Monitor, Phase, Report, log_check},
    net::{Connector, TlsClient},
    value::HttpUrl,
};

pub use dialogue::Turn;
pub use settings::Settings;

/// Checks one WebSocket.
pub struct WebSocket {
    connector: Connector,
    tls: Option<TlsClient>,
    settings: Arc<Settings>,
    upgrade: Upgrade,
    /// The URL as it may be seen.
    shown_url: String,
}

impl WebSocket {
    fn new(connector: Connector, tls: Option<TlsClient>, settings: Arc<Settings>) -> Self {
        Self {
            connector,
            tls,
            upgrade: Upgrade::new(&settings),
            shown_url: HttpUrl::redacted(&settings.url),
            settings,
        }
    }
}

impl Monitor for WebSocket {
    fn kind(&self) -> &'static str {
        "websocket"
    }

    fn target(&self) -> String {
        self.shown_url.clone()
    }

    fn host(&self) -> Option<String> {
        Some(self.settings.endpoint.host.to_string())
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
            .connect_over(self.tls.as_ref(), endpoint, *route, attempt);
        let mut stream = connect.await?;
        attempt.enter(Phase::Processing);
        let rest = self.upgrade.run(&mut stream, attempt).await?;
        attempt.enter(Phase::Transfer);
        let mut conversation = Conversation::begin(stream, rest, attempt).await;
        conversation.hold(&self.settings.dialogue).await?;
        if self.settings.ping {
            conversation.ping().await?;
        }
        conversation.close().await?;
        self.settings.freshness.judge(attempt)
    }

    fn log(&self, monitor: &str, report: &Report) {
        log_check!(monitor, report, target = self.shown_url);
    }
}
