//! `type: unix`: connects to the socket of a program on this machine, and sends and awaits there what
//! `query_response` has.

use std::{fmt, path::PathBuf, sync::Arc};

use crate::{
    check::{Attempt, Failure, Monitor, Phase, Report, log_check},
    net::{
        Net, connect_unix,
        query_response::{self, QueryResponse},
    },
    settings::read_query_response,
    value::{Fields, FromNode, Node},
};

/// Settings of a check of a Unix socket.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Path of the socket.
    pub target: SocketPath,
    /// TLS and `query_response` on the connection.
    pub query_response: query_response::Settings,
}

/// The path of a socket, or the name of an abstract one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketPath(pub(crate) PathBuf);

impl SocketPath {
    /// Marks the name of an abstract socket in a configuration, as in `ss` and systemd.
    const ABSTRACT: char = '@';
}

impl FromNode for SocketPath {
    const EXPECTED: &'static str =
        "a socket path, or @ and the name of an abstract socket, of 1 to 107 bytes";

    fn from_node(node: &Node) -> Result<Self, String> {
        // unix(7): sun_path has 108 bytes; the last of them is 0 in a path, and the first in a name.
        const MAX_BYTES: usize = 107;
        let text = String::from_node(node)?;
        let (prefix, name) = match text.strip_prefix(Self::ABSTRACT) {
            Some(name) => ("\0", name),
            None => ("", &*text),
        };
        if name.is_empty() || name.len() > MAX_BYTES || name.contains('\0') {
            return Err(format!("invalid socket path {text:?}"));
        }
        Ok(Self(format!("{prefix}{name}").into()))
    }
}

impl fmt::Display for SocketPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.0.to_string_lossy();
        match path.strip_prefix('\0') {
            Some(name) => write!(f, "{}{name}", Self::ABSTRACT),
            None => f.write_str(&path),
        }
    }
}

impl Settings {
    /// Reads the keys; `None` without a target.
    pub fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let target = fields.required("target");
        let query_response = read_query_response(fields);
        if query_response.speaks_tls() && !query_response.has_server_name() {
            let wrong = "a socket has no name to verify the certificate against";
            fields.add_problem(wrong, "tls_config with server_name");
        }
        Some(Self {
            target: target?,
            query_response,
        })
    }

    /// The monitor that checks as these settings say.
    #[must_use]
    pub fn bind(self: &Arc<Self>, net: &Net) -> Unix {
        Unix {
            query_response: self.query_response.bind(net, None),
            settings: self.clone(),
        }
    }
}

/// Checks one socket.
pub struct Unix {
    query_response: QueryResponse,
    settings: Arc<Settings>,
}

impl Monitor for Unix {
    fn kind(&self) -> &'static str {
        "unix"
    }

    fn target(&self) -> String {
        self.settings.target.to_string()
    }

    fn phases(&self) -> Vec<Phase> {
        let query_response = self.settings.query_response.phases();
        [Phase::Connect].into_iter().chain(query_response).collect()
    }

    async fn check(&self, attempt: &Attempt) -> Result<(), Failure> {
        let stream = connect_unix(&self.settings.target.0, attempt).await?;
        self.query_response.run(stream, attempt).await
    }

    fn log(&self, monitor: &str, report: &Report) {
        log_check!(monitor, report, target = self.target());
    }
}
