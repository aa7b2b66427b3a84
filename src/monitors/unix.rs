//! `type: unix`: connects to the socket of a program on this machine, and says and awaits there what
//! `query_response` has.

use std::{path::PathBuf, sync::Arc};

use crate::{
    check::{Attempt, Failure, Monitor, Phase, Report, log_check},
    net::{
        Net, connect_unix,
        dialogue::{self, Dialogue},
    },
    value::{Fields, FromNode, Node},
};

/// How to check one socket.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the socket is.
    pub target: SocketPath,
    /// What happens on the connection.
    pub dialogue: dialogue::Settings,
}

/// The path of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketPath(pub PathBuf);

impl FromNode for SocketPath {
    const ALLOWED: &'static str = "the path of a socket, of 1 to 107 bytes";

    fn from_node(node: &Node) -> Result<Self, String> {
        // unix(7): sun_path has 108 bytes, the last of them 0.
        const LONGEST: usize = 107;
        let text = String::from_node(node)?;
        if text.is_empty() || text.len() > LONGEST || text.contains('\0') {
            return Err(format!("{text:?} cannot be the path of a socket"));
        }
        Ok(Self(text.into()))
    }
}

impl Settings {
    /// Reads the keys; `None` where there is no target to check.
    pub fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let target = fields.required("target");
        let dialogue = dialogue::Settings::read(fields);
        if dialogue.speaks_tls() && !dialogue.has_server_name() {
            let wrong = "a socket has no name that a certificate could be for";
            fields.wrong(wrong, "tls_config with server_name");
        }
        Some(Self {
            target: target?,
            dialogue,
        })
    }

    /// The monitor that checks as these settings say.
    #[must_use]
    pub fn bind(self: &Arc<Self>, net: &Net) -> Unix {
        Unix {
            dialogue: self.dialogue.bind(net, None),
            settings: self.clone(),
        }
    }
}

/// Checks one socket.
pub struct Unix {
    dialogue: Dialogue,
    settings: Arc<Settings>,
}

impl Monitor for Unix {
    fn kind(&self) -> &'static str {
        "unix"
    }

    fn target(&self) -> String {
        self.settings.target.0.display().to_string()
    }

    fn phases(&self) -> Vec<Phase> {
        let dialogue = self.settings.dialogue.phases();
        [Phase::Connect].into_iter().chain(dialogue).collect()
    }

    async fn check(&self, attempt: &Attempt) -> Result<(), Failure> {
        let stream = connect_unix(&self.settings.target.0, attempt).await?;
        self.dialogue.hold(stream, attempt).await
    }

    fn log(&self, monitor: &str, report: &Report) {
        log_check!(monitor, report, target = self.target());
    }
}
