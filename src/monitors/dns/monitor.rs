//! The DNS monitor: sends a query and checks the response.

use std::sync::Arc;

use url::Host;

use super::{
    message::Response,
    presentation,
    settings::{Server, Settings},
    transport::Client,
};
use crate::{
    check::{Attempt, Failure, Monitor, Phase, Rcode, Reason, Report, StepKind, Steps, log_check},
    net::Net,
    offload,
    value::{Endpoint, Pattern},
};

/// Target of log lines: the type.
const LOG_TARGET: &str = "monitoringdaemon::monitors::dns";

/// Steps for the bytes of a message that is matched right away. With its names compressed, one that was made
/// for it becomes a hundred times as much text.
const MAX_INLINE_STEPS: u64 = Pattern::MAX_QUICK_STEPS / 10;

/// A monitor that sends one query to one server.
pub struct Dns {
    client: Client,
    settings: Arc<Settings>,
    target: String,
    query_name: String,
}

impl Settings {
    /// The monitor that checks as these settings say.
    #[must_use]
    pub fn bind(self: &Arc<Self>, net: &Net) -> Dns {
        Dns::new(Client::new(self, net), self.clone())
    }
}

impl Dns {
    fn new(client: Client, settings: Arc<Settings>) -> Self {
        let mut query_name = String::new();
        presentation::write_name(&settings.question.name, &mut query_name);
        Self {
            client,
            target: settings.server.to_string(),
            query_name,
            settings,
        }
    }

    /// Sends the query, a second time without EDNS if the server does not know that.
    async fn query(&self, attempt: &Attempt) -> Result<Response, Failure> {
        attempt.step(StepKind::DnsQuery, || {
            let question = &self.settings.question;
            let recursion = if self.settings.recursion_desired {
                "with recursion"
            } else {
                "without recursion"
            };
            format!(
                "{} {} to {}, {recursion}",
                question.kind, self.query_name, self.target
            )
        });
        let response = self.client.ask(&self.settings, true, attempt).await?;
        // What a server summary that has never heard of EDNS (RFC 6891, section 7).
        if response.summary.rcode == FORMERR && !response.has_edns {
            attempt.step(
                StepKind::DnsQuery,
                || "again without EDNS, as it says FORMERR",
            );
            return self.client.ask(&self.settings, false, attempt).await;
        }
        Ok(response)
    }

    /// The first mismatch of `response`, found on a blocking thread if it is large.
    async fn mismatch(&self, response: Response, steps: &Steps) -> Option<String> {
        let rules = self.settings.rules.clone();
        let length = u64::try_from(response.len()).unwrap_or(u64::MAX);
        let is_short = length.saturating_mul(rules.steps_per_byte()) <= MAX_INLINE_STEPS;
        // What has begun ends in linear time.
        let steps = steps.clone();
        offload::run(is_short, move |_| rules.mismatch(&response, &steps)).await
    }
}

const FORMERR: Rcode = Rcode(1);

impl Monitor for Dns {
    fn kind(&self) -> &'static str {
        "dns"
    }

    fn target(&self) -> String {
        self.target.clone()
    }

    fn host(&self) -> Option<String> {
        match &self.settings.server {
            Server::Udp(Endpoint { host, .. })
            | Server::Tcp(Endpoint { host, .. })
            | Server::Tls(Endpoint { host, .. }) => Some(host.to_string()),
            Server::Https(url) => url.host_str().map(str::to_owned),
        }
    }

    fn phases(&self) -> Vec<Phase> {
        let (named, then) = match &self.settings.server {
            Server::Udp(server) | Server::Tcp(server) => {
                (server.host.is_name(), &[Phase::Connect, Phase::Request][..])
            }
            Server::Tls(server) => (
                server.host.is_name(),
                &[Phase::Connect, Phase::Tls, Phase::Request][..],
            ),
            Server::Https(url) => (
                matches!(url.host(), Some(Host::Domain(_))),
                &[
                    Phase::Connect,
                    Phase::Tls,
                    Phase::Processing,
                    Phase::Transfer,
                ][..],
            ),
        };
        let resolve = named.then_some(Phase::Resolve);
        resolve.into_iter().chain(then.iter().copied()).collect()
    }

    async fn check(&self, attempt: &Attempt) -> Result<(), Failure> {
        let response = self.query(attempt).await?;
        response.report(attempt);
        response.tell(attempt.steps());
        match self.mismatch(response, attempt.steps()).await {
            None => self.settings.min_validity.judge(attempt),
            Some(error) => Err(attempt.failure(Reason::ResponseMismatch, error)),
        }
    }

    fn log(&self, monitor: &str, report: &Report) {
        let response = report.dns();
        log_check!(
            target: LOG_TARGET,
            monitor,
            report,
            target = self.target,
            query_name = self.query_name,
            query_type = self.settings.question.kind.to_string(),
            rcode = response.map(|response| response.rcode.to_string()),
            answers = response.map(|response| response.answers),
        );
    }
}
