//! The ICMP monitor: sends echo requests and waits for their results.

use std::{net::IpAddr, sync::Arc};

use tokio::time::{Instant, sleep_until};

use super::{echo_counts::EchoCounts, settings::Settings};
use crate::{
    check::{Attempt, Failure, Monitor, Phase, Reason, Report, StepKind, log_check},
    net::{
        Connector, Net,
        icmp::{EchoResult, EchoSession, Family, SocketKey, Sockets},
        with_zone,
    },
    text::counted,
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

    fn socket_key(&self, family: Family) -> SocketKey {
        SocketKey {
            family,
            source: self.settings.route.source,
            ttl: self.settings.ttl,
            dont_fragment: self.settings.dont_fragment,
        }
    }

    /// The probable IP family of the target.
    fn family(&self) -> Family {
        match (&self.settings.target, self.settings.route.family) {
            (Host::Address(IpAddr::V6(_)) | Host::Zoned(_), _) | (Host::Name(_), IpFamily::Ip6) => {
                Family::V6
            }
            _ => Family::V4,
        }
    }

    /// Sends all requests, and waits until each has a result.
    async fn exchange(
        &self,
        session: &mut EchoSession,
        counts: &mut EchoCounts,
        attempt: &Attempt,
    ) -> Result<(), Failure> {
        let settings = &self.settings;
        let mut send_at = Instant::now();
        loop {
            let sends = counts.sent() < settings.count;
            if sends && send_at <= Instant::now() {
                let request = session.send(attempt).await?;
                attempt.step(StepKind::EchoRequest, || {
                    let (number, size) =
                        (request.index + 1, counted(settings.payload_size, "byte"));
                    format!("{number} of {}, {size} of payload", settings.count)
                });
                counts.record_sent();
                send_at += settings.interval;
                attempt.record(counts.fact());
                continue;
            }
            let oldest = session.oldest();
            if oldest.is_none() && !sends {
                return Ok(());
            }
            let reply_timeout = settings.reply_timeout();
            let give_up_at = oldest.and_then(|oldest| oldest.sent_at.checked_add(reply_timeout?));
            let send_at = sends.then_some(send_at);
            tokio::select! {
                biased;
                (request, outcome) = session.next() => {
                    record_result(request.index + 1, outcome, attempt);
                    counts.record_result(request.index, outcome);
                }
                () = sleep_until_opt(give_up_at) => {
                    attempt.step(StepKind::EchoLost, || {
                        let number = oldest.map_or(0, |oldest| oldest.index + 1);
                        format!("{number}: no reply in time")
                    });
                    session.give_up_oldest();
                    counts.record_timeout();
                }
                () = sleep_until_opt(send_at) => continue,
            }
            attempt.record(counts.fact());
            self.set_timeout_failure(counts, attempt);
        }
    }

    /// Sets the failure for a deadline that passes before all requests have results.
    fn set_timeout_failure(&self, counts: &EchoCounts, attempt: &Attempt) {
        let settings = &self.settings;
        if counts.received() > 0 && counts.min_loss_ratio(settings.count) > settings.max_packet_loss
        {
            attempt.set_timeout_failure(attempt.failure(Reason::PacketLoss, counts.loss_message()));
        }
    }

    fn judge(&self, counts: &EchoCounts, attempt: &Attempt) -> Result<(), Failure> {
        let (reason, error) = match counts.icmp_error() {
            _ if counts.received() > 0 => {
                let (lost, max) = (counts.echoes().loss_ratio(), self.settings.max_packet_loss);
                attempt.step(StepKind::verdict(lost <= max), || {
                    let (lost, max) = (lost * 100.0, max * 100.0);
                    format!("packet loss: {lost:.0} %, expected at most {max:.0} %")
                });
                if lost <= max {
                    return Ok(());
                }
                (Reason::PacketLoss, counts.loss_message())
            }
            Some(icmp_error) => (Reason::HostUnreachable, icmp_error.to_string()),
            None => (
                Reason::Timeout,
                counts.no_reply_message(self.settings.reply_timeout()),
            ),
        };
        Err(attempt.failure(reason, error))
    }
}

fn record_result(number: usize, result: EchoResult, attempt: &Attempt) {
    match result {
        EchoResult::Reply {
            round_trip,
            hop_limit,
        } => attempt.step(StepKind::EchoReply, || {
            let millis = round_trip.as_secs_f64() * 1e3;
            let hops = hop_limit.map_or_else(String::new, |hops| format!(", ttl {hops}"));
            format!("{number}: {millis:.3} ms{hops}")
        }),
        EchoResult::Lost(notice) => {
            attempt.step(StepKind::EchoLost, || format!("{number}: {notice}"));
        }
    }
}

/// Sleeps until `moment`, or forever without one.
async fn sleep_until_opt(moment: Option<Instant>) {
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

    fn missing_prerequisite(&self) -> Option<String> {
        self.sockets
            .missing_prerequisite(self.socket_key(self.family()))
    }

    async fn check(&self, attempt: &Attempt) -> Result<(), Failure> {
        let settings = &self.settings;
        let address = self
            .connector
            .resolve(&settings.target, settings.route, attempt)
            .await?;
        let socket_key = self.socket_key(Family::of_address(address));
        let socket = self.sockets.socket(socket_key, attempt)?;
        attempt.enter(Phase::Rtt);
        let count = settings.count;
        let address = with_zone(&settings.target, address, 0, attempt)?;
        let mut session = EchoSession::new(socket, address, settings.payload_size, count);
        let mut counts = EchoCounts::default();
        self.exchange(&mut session, &mut counts, attempt).await?;
        self.judge(&counts, attempt)
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
