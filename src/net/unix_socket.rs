//! Connections to sockets of programs on this machine.

use std::{io, path::Path};

use tokio::{
    net::UnixStream,
    time::{Duration, sleep},
};

use super::{ErrorClassifier, MeasuredStream, stream::Transport};
use crate::check::{Attempt, Failure, Phase, Reason, StepKind};

/// Pauses before a socket whose backlog is full is tried again: the kernel does not tell
/// when there is room. Doubled each time, up to the second value.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

/// A connection to the socket at `path`, in the phase `connect`. A path that starts with a null byte
/// is the name of an abstract socket (unix(7)).
///
/// Waits while the backlog of the socket is full, as a connection over TCP does.
///
/// # Errors
/// A [`Failure`] if there is no connection.
pub(crate) async fn connect_unix(
    path: &Path,
    attempt: &Attempt,
) -> Result<MeasuredStream, Failure> {
    attempt.enter(Phase::Connect);
    attempt.step(StepKind::Connect, || {
        format!("to {}", path.to_string_lossy().replacen('\0', "@", 1))
    });
    let errors = ErrorClassifier::new(attempt);
    let (mut delay, max_delay) = RETRY_AFTER;
    loop {
        match UnixStream::connect(path).await {
            Ok(stream) => {
                attempt.step(StepKind::Connected, || "to the socket");
                return Ok(MeasuredStream::new(Transport::Unix(stream), errors));
            }
            // Like a port on which nothing listens.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(attempt.failure(Reason::ConnectionRefused, "the socket does not exist"));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                attempt.explain_timeout("the backlog of the socket is full".to_owned());
                sleep(delay).await;
                delay = max_delay.min(delay * 2);
            }
            Err(error) => return Err(errors.failure(&error)),
        }
    }
}
