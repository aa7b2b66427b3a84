//! The monitor: sends echo requests, and waits for what becomes of them.

use std::{net::IpAddr, sync::Arc};

use tokio::time::{Instant, sleep_until};

use super::{settings::Settings, tally::Tally};
use crate::{
    check::{Attempt, Failure, Monitor, Phase, Reason, Report, log_check},
    net::{
        Connector, Net,
        icmp::{EchoSession, Family, Profile, Sockets},
        with_zone,
    },
    value::{Host, IpFamily},
};

/// Target of log lines: the type.
const LOG_TARGET: &str = "monitoringdaemon::monitors::icmp";

/// Checks one host.
pub struct Icmp {
    connector: Connector,
    sockets: Arc<Sockets>,
    settings: Arc<Settings>,
}

impl Settings {
    /// The monitor that checks as these settings say.
    #[must_use]
    pub fn bind(self: &Arc<Self>, net: &Net) -> Icmp {
        Icmp::new(net, self.clone())
    }
}

impl Icmp {
    fn new(net: &Net, settings: Arc<Settings>) -> Self {
        Self {
            connector: net.connector(),
            sockets: net.icmp(),
            settings,
        }
    }

    fn profile(&self, family: Family) -> Profile {
        Profile {
            family,
            source: self.settings.route.source,
            ttl: self.settings.ttl,
            dont_fragment: self.settings.dont_fragment,
        }
    }

    /// The family of the address that is probably checked.
    fn family(&self) -> Family {
        match (&self.settings.target, self.settings.route.family) {
            (Host::Address(IpAddr::V6(_)) | Host::Zoned(_), _) | (Host::Name(_), IpFamily::Ip6) => {
                Family::V6
            }
            _ => Family::V4,
        }
    }

    /// Sends what there is to send, until something has become of all of it.
    async fn exchange(
        &self,
        session: &mut EchoSession,
        tally: &mut Tally,
        attempt: &Attempt,
    ) -> Result<(), Failure> {
        let settings = &self.settings;
        let mut send_at = Instant::now();
        loop {
            let sends = tally.sent() < settings.count;
            if sends && send_at <= Instant::now() {
                session.send(attempt).await?;
                tally.send();
                send_at += settings.interval;
                attempt.learn(tally.fact());
                continue;
            }
            let oldest = session.oldest();
            if oldest.is_none() && !sends {
                return Ok(());
            }
            let patience = settings.reply_timeout();
            let give_up_at = oldest.and_then(|oldest| oldest.sent_at.checked_add(patience?));
            let send_at = sends.then_some(send_at);
            tokio::select! {
                biased;
                (request, outcome) = session.next() => tally.note(request.index, outcome),
                () = until(give_up_at) => {
                    session.give_up_oldest();
                    tally.give_up();
                }
                () = until(send_at) => continue,
            }
            attempt.learn(tally.fact());
            self.presume(tally, attempt);
        }
    }

    /// Should the deadline pass before something has become of all requests, what is certain counts.
    fn presume(&self, tally: &Tally, attempt: &Attempt) {
        let settings = &self.settings;
        if tally.received() > 0 && tally.least_loss(settings.count) > settings.max_packet_loss {
            attempt.presume(attempt.failure(Reason::PacketLoss, tally.loss()));
        }
    }

    fn judge(&self, tally: &Tally, attempt: &Attempt) -> Result<(), Failure> {
        let (reason, error) = match tally.notice() {
            _ if tally.received() > 0 => {
                if tally.echoes().loss_ratio() <= self.settings.max_packet_loss {
                    return Ok(());
                }
                (Reason::PacketLoss, tally.loss())
            }
            Some(notice) => (Reason::HostUnreachable, notice.to_string()),
            None => (
                Reason::Timeout,
                tally.silence(self.settings.reply_timeout()),
            ),
        };
        Err(attempt.failure(reason, error))
    }
}

/// Until that moment; for ever where there is none.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

impl Monitor for Icmp {
    fn kind(&self) -> &'static str {
        "icmp"
    }

    fn target(&self) -> String {
        self.settings.target.to_string()
    }

    fn host(&self) -> Option<String> {
        Some(self.target())
    }

    fn phases(&self) -> Vec<Phase> {
        let resolve = self.settings.target.is_name().then_some(Phase::Resolve);
        let phases = resolve.into_iter().chain([Phase::Setup, Phase::Rtt]);
        phases.collect()
    }

    fn obstacle(&self) -> Option<String> {
        self.sockets.obstacle(self.profile(self.family()))
    }

    async fn check(&self, attempt: &Attempt) -> Result<(), Failure> {
        let settings = &self.settings;
        let address = self
            .connector
            .resolve(&settings.target, settings.route, attempt)
            .await?;
        let profile = self.profile(Family::of(address));
        let socket = self.sockets.socket(profile, attempt)?;
        attempt.enter(Phase::Rtt);
        let count = settings.count;
        let address = with_zone(&settings.target, address, 0, attempt)?;
        let mut session = EchoSession::new(socket, address, settings.payload_size, count);
        let mut tally = Tally::default();
        self.exchange(&mut session, &mut tally, attempt).await?;
        self.judge(&tally, attempt)
    }

    fn log(&self, monitor: &str, report: &Report) {
        let echoes = report.echoes();
        log_check!(
            target: LOG_TARGET,
            monitor,
            report,
            target = self.target(),
            sent = echoes.map(|echoes| echoes.sent),
            received = echoes.map(|echoes| echoes.received),
            loss = echoes.map(|echoes| echoes.loss_ratio()),
        );
    }
}
