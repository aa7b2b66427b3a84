//! Reading a body to its end, decoding it where it is encoded, and judging it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use http::{Method, Response, StatusCode};
use tokio::task::spawn_blocking;
use tokio_util::task::AbortOnDropHandle;

use super::{
    Http,
    encoding::{Decoder, Encoding, Sink, Undecodable},
    hops::Hop,
    json::TooManySteps,
};
use crate::{
    check::{Attempt, Fact, Failure, Phase, Reason},
    net::http::{Body, Transport},
};

/// Bytes that are matched right away: what the slowest expressions take some milliseconds for.
const MATCHED_AT_ONCE: usize = 64 << 10;

/// Bytes that are decoded at once, and what may come of them before others get their turn.
const DECODED_AT_ONCE: usize = 4 << 10;
const TURN: u64 = 1 << 20;

impl<T: Transport> Http<T> {
    /// How the body of the response to `hop` is encoded.
    pub(super) fn encoding_of<B>(&self, hop: &Hop, response: &Response<B>) -> Option<Encoding> {
        let encoding = self.settings.rare.as_ref()?.compression?;
        let status = response.status();
        let bodiless = hop.method == Method::HEAD
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        (encoding != Encoding::Identity && !bodiless).then_some(encoding)
    }

    /// Reads the body to its end, and returns as much of it as matchers need.
    pub(super) async fn read_body(
        &self,
        body: &mut T::Body,
        encoding: Option<Encoding>,
        attempt: &Attempt,
    ) -> Result<Vec<u8>, Failure> {
        let limit = self.settings.body_size_limit;
        let keep = !self.settings.body_matchers.is_empty();
        let (mut received, mut kept) = (0, Vec::new());
        let sink = || Sink {
            kept: keep.then(Vec::new),
            limit,
            length: 0,
        };
        let mut decoder = encoding.map(|encoding| Box::new(Decoder::new(encoding, sink())));
        attempt.learn(Fact::ResponseBytes(received));
        while let Some(chunk) = body.chunk().await? {
            received += chunk.len() as u64;
            attempt.learn(Fact::ResponseBytes(received));
            if limit.is_some_and(|limit| received > limit) {
                let error = format!(
                    "the body is larger than {} bytes",
                    limit.unwrap_or_default()
                );
                return Err(attempt.failure(Reason::BodyTooLarge, error));
            }
            if let Some(decoder) = &mut decoder {
                let result = decode(decoder, &chunk).await;
                result.map_err(|wrong| self.undecodable(&wrong, encoding, attempt))?;
            } else if keep {
                kept.extend_from_slice(&chunk);
            }
        }
        if let Some(decoder) = decoder {
            let sink = decoder.finish();
            let sink = sink.map_err(|wrong| self.undecodable(&wrong, encoding, attempt))?;
            kept = sink.kept.unwrap_or_default();
        }
        Ok(kept)
    }

    fn undecodable(
        &self,
        wrong: &Undecodable,
        encoding: Option<Encoding>,
        attempt: &Attempt,
    ) -> Failure {
        match wrong {
            Undecodable::TooLarge => {
                let limit = self.settings.body_size_limit.unwrap_or_default();
                let error = format!("the decoded body is larger than {limit} bytes");
                attempt.failure(Reason::BodyTooLarge, error)
            }
            Undecodable::Broken => {
                let encoding = encoding.map_or("", Encoding::as_str);
                let error = format!("the body is not encoded in {encoding}");
                attempt.failure(Reason::ProtocolError, error)
            }
        }
    }

    /// Judges the body: where that may take long, on a thread where it keeps no other check waiting.
    pub(super) async fn judge_body(&self, body: Vec<u8>) -> Result<(), Failure> {
        let matchers = self.settings.body_matchers.clone();
        let failure = |reason, error| Failure::new(Phase::Transfer, reason, error);
        let complaint = if body.len() <= MATCHED_AT_ONCE && !matchers.have_loops() {
            matchers.complaint(&body, &AtomicBool::new(false))
        } else {
            let stop = StopOnDrop::default();
            let stopped = stop.0.clone();
            // Dropped with the check, it does not begin; what has begun is stopped, or ends in linear time.
            let matched =
                AbortOnDropHandle::new(spawn_blocking(move || matchers.complaint(&body, &stopped)));
            match matched.await {
                Ok(complaint) => complaint,
                Err(error) => match error.try_into_panic() {
                    Ok(payload) if payload.is::<TooManySteps>() => {
                        let error = "an expression takes too many steps for the body";
                        return Err(failure(Reason::JsonMismatch, error.to_owned()));
                    }
                    _ => {
                        let error = "the body could not be matched".to_owned();
                        return Err(failure(Reason::AgentError, error));
                    }
                },
            }
        };
        match complaint {
            None => Ok(()),
            Some((reason, error)) => Err(failure(reason, error)),
        }
    }
}

/// Decodes `chunk` little by little: a few bytes may stand for very many.
async fn decode(decoder: &mut Decoder, chunk: &[u8]) -> Result<(), Undecodable> {
    let mut turn = decoder.length();
    for part in chunk.chunks(DECODED_AT_ONCE) {
        decoder.write(part)?;
        if decoder.length() - turn > TURN {
            turn = decoder.length();
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

/// Tells a thread that nobody waits for it any more.
#[derive(Default)]
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
