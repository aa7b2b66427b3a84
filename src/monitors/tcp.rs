//! `type: tcp`: connects to a port, and runs the steps of `query_response`.

use std::sync::Arc;

use crate::{
    check::{Attempt, Failure, Monitor, Phase, Report, log_check},
    net::{
        Connector, Net, Route,
        query_response::{self, QueryResponse},
    },
    settings::{read_query_response, read_route},
    value::{Endpoint, Fields},
};

/// Settings of a TCP check.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The host and its port.
    pub target: Endpoint,
    /// The IP family and source address to use.
    pub route: Route,
    /// TLS and `query_response` on the connection.
    pub query_response: query_response::Settings,
}

impl Settings {
    /// Reads the keys; `None` without a target.
    pub fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let target = fields.required("target");
        let (route, query_response) = (read_route(fields), read_query_response(fields));
        Some(Self {
            target: target?,
            route,
            query_response,
        })
    }

    /// The monitor that checks as these settings say.
    #[must_use]
    pub fn bind(self: &Arc<Self>, net: &Net) -> Tcp {
        Tcp {
            connector: net.connector(),
            query_response: self.query_response.bind(net, Some(&self.target.host)),
            settings: self.clone(),
        }
    }
}

/// Checks one port.
pub struct Tcp {
    connector: Connector,
    query_response: QueryResponse,
    settings: Arc<Settings>,
}

impl Monitor for Tcp {
    fn kind(&self) -> &'static str {
        "tcp"
    }

    fn target(&self) -> String {
        self.settings.target.to_string()
    }

    fn host(&self) -> Option<String> {
        Some(self.settings.target.host.to_string())
    }

    fn phases(&self) -> Vec<Phase> {
        let Settings {
            target,
            query_response,
            ..
        } = &*self.settings;
        let resolve = target.host.is_name().then_some(Phase::Resolve);
        let phases = resolve.into_iter().chain([Phase::Connect]);
        phases.chain(query_response.phases()).collect()
    }

    async fn check(&self, attempt: &Attempt) -> Result<(), Failure> {
        let Settings { target, route, .. } = &*self.settings;
        let stream = self.connector.connect(target, *route, attempt).await?;
        self.query_response.run(stream, attempt).await
    }

    fn log(&self, monitor: &str, report: &Report) {
        log_check!(monitor, report, target = self.target());
    }
}
