//! The sockets that all monitors share.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use super::{
    open::{OpenError, SocketKey},
    socket::Socket,
};
use crate::check::{Attempt, Failure, Phase, Reason};

/// The sockets for echo requests. Each is opened at its first use, and then kept.
#[derive(Default)]
pub struct Sockets {
    open: Mutex<HashMap<SocketKey, Arc<Socket>>>,
    /// Results for sockets that have not been opened yet.
    missing_prerequisites: Mutex<HashMap<SocketKey, Option<String>>>,
}

impl Sockets {
    /// The socket for `key`, by the phase `setup`.
    ///
    /// # Errors
    /// A [`Failure`] with `agent_error` if it cannot be opened.
    pub fn socket(&self, key: SocketKey, attempt: &Attempt) -> Result<Arc<Socket>, Failure> {
        attempt.enter(Phase::Setup);
        let mut open = self.open.lock();
        if let Some(socket) = open.get(&key).filter(|socket| socket.is_alive()) {
            return Ok(socket.clone());
        }
        let socket = key
            .open()
            .and_then(|open_socket| {
                let started = Socket::start(open_socket);
                started.map_err(OpenError::Io)
            })
            .map_err(|error| {
                let error = error.to_string();
                attempt.failure(Reason::AgentError, error)
            })?;
        let socket = Arc::new(socket);
        open.insert(key, socket.clone());
        Ok(socket)
    }

    /// The reason why no socket for `key` can be opened, if so. It is determined once.
    pub fn missing_prerequisite(&self, key: SocketKey) -> Option<String> {
        let mut known = self.missing_prerequisites.lock();
        let find_out = || key.open().err().map(|error| error.to_string());
        known.entry(key).or_insert_with(find_out).clone()
    }
}
