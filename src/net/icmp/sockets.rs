//! The sockets that all monitors share.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use super::{
    open::{OpenError, Profile},
    socket::Socket,
};
use crate::check::{Attempt, Failure, Phase, Reason};

/// The sockets for echo requests: each is opened when somebody first asks for it, and then kept.
#[derive(Default)]
pub struct Sockets {
    open: Mutex<HashMap<Profile, Arc<Socket>>>,
    /// What was found out about those that nobody has asked for yet.
    obstacles: Mutex<HashMap<Profile, Option<String>>>,
}

impl Sockets {
    /// The socket for `profile`, by the phase `setup`.
    ///
    /// # Errors
    /// A [`Failure`] of ours where there can be none.
    pub fn socket(&self, profile: Profile, attempt: &Attempt) -> Result<Arc<Socket>, Failure> {
        attempt.enter(Phase::Setup);
        let mut open = self.open.lock();
        if let Some(socket) = open.get(&profile).filter(|socket| socket.is_alive()) {
            return Ok(socket.clone());
        }
        let opened = profile.open().and_then(|opened| {
            let started = Socket::start(opened);
            started.map_err(OpenError::Io)
        });
        let socket = opened.map_err(|error| {
            let error = error.to_string();
            attempt.failure(Reason::AgentError, error)
        })?;
        let socket = Arc::new(socket);
        open.insert(profile, socket.clone());
        Ok(socket)
    }

    /// Why there can be no socket for `profile`, if that is so; found out once.
    pub fn obstacle(&self, profile: Profile) -> Option<String> {
        let mut known = self.obstacles.lock();
        let find_out = || profile.open().err().map(|error| error.to_string());
        known.entry(profile).or_insert_with(find_out).clone()
    }
}
