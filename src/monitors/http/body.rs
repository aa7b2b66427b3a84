//! Reads a body to its end, decodes it if it is encoded, and checks it against its matchers.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use scopeguard::guard;

use super::{
    Http,
    encoding::{DecodeError, DecodedBody, Decoder, Encoding},
    redirects::Hop,
    segments::Segments,
};
use crate::{
    check::{Attempt, Fact, Failure, Phase, Reason, StepKind, Steps},
    net::http::{Body, Transport},
    offload::{self, CancelFlag, TimeSlice},
    text::counted,
};

/// Matching that costs more, in steps of some nanoseconds, leaves the worker thread.
const MAX_INLINE_COST: u64 = 100_000;

impl<T: Transport> Http<T> {
    /// The encoding of the response to `hop`.
    pub(super) fn encoding_of(&self, hop: &Hop, status: StatusCode) -> Option<Encoding> {
        let encoding = self.settings.advanced.as_ref()?.compression?;
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
    ) -> Result<Segments, Failure> {
        let limit = self.settings.body_size_limit;
        let keep = self.settings.body_matchers.is_some();
        let (mut received, mut kept) = (0, Segments::default());
        // Also of a body that does not come to its end.
        let _quote = guard(attempt, record_beginning);
        let empty_body = || DecodedBody {
            kept: keep.then(Segments::default),
            limit,
            length: 0,
            steps: attempt.steps().clone(),
        };
        let mut decoder = encoding.map(|encoding| Box::new(Decoder::new(encoding, empty_body())));
        let mut slice = TimeSlice::default();
        // As much of the decoded body as is within the limit.
        let record_decoded = |bytes: u64| {
            let bytes = limit.map_or(bytes, |limit| bytes.min(limit));
            attempt.record_detail(|| Fact::DecodedBytes(bytes));
        };
        attempt.record(Fact::ResponseBytes(received));
        while let Some(chunk) = body.chunk().await? {
            received += chunk.len() as u64;
            attempt.record(Fact::ResponseBytes(received));
            if decoder.is_none() {
                record_decoded(received);
            }
            if limit.is_some_and(|limit| received > limit) {
                let error = format!(
                    "the body is larger than {}",
                    counted(limit.unwrap_or_default(), "byte")
                );
                return Err(attempt.failure(Reason::BodyTooLarge, error));
            }
            if let Some(previous) = decoder.take() {
                let result = decode(previous, chunk, &mut slice).await;
                if let Err(DecodeError::TooLarge) = result {
                    record_decoded(u64::MAX);
                }
                let next = result.map_err(|wrong| self.decode_failure(wrong, encoding, attempt))?;
                decoder = Some(next);
            } else {
                attempt.steps().keep(&chunk);
                if keep {
                    kept.push(&chunk);
                }
            }
            slice.yield_if_used().await;
        }
        if let Some(decoder) = decoder {
            let result = match decoder.finish() {
                Err(_) if received == 0 => Err(DecodeError::Empty),
                result => result,
            };
            let body = result.map_err(|wrong| self.decode_failure(wrong, encoding, attempt))?;
            record_decoded(body.length);
            attempt.step(StepKind::ResponseBody, || {
                let encoding = encoding.map_or("", Encoding::as_str);
                let (received, length) = (counted(received, "byte"), counted(body.length, "byte"));
                format!("{received} of {encoding} data, {length} decoded")
            });
            kept = body.kept.unwrap_or_default();
        } else {
            attempt.step(StepKind::ResponseBody, || counted(received, "byte"));
        }
        Ok(kept)
    }

    fn decode_failure(
        &self,
        wrong: DecodeError,
        encoding: Option<Encoding>,
        attempt: &Attempt,
    ) -> Failure {
        let encoding = encoding.map_or("", Encoding::as_str);
        let (reason, error) = match wrong {
            DecodeError::TooLarge => {
                let limit = self.settings.body_size_limit.unwrap_or_default();
                let error = format!("the decoded body is larger than {}", counted(limit, "byte"));
                (Reason::BodyTooLarge, error)
            }
            DecodeError::Truncated => {
                let error = format!("the {encoding} data of the body is incomplete");
                (Reason::TruncatedBody, error)
            }
            DecodeError::Empty => {
                let error = format!("the body is empty, expected {encoding} data");
                (Reason::ProtocolError, error)
            }
            DecodeError::Malformed => {
                let error = format!("the body is not {encoding} data");
                (Reason::ProtocolError, error)
            }
        };
        attempt.failure(reason, error)
    }

    /// The first mismatch of `headers`, found on a blocking thread if that can take long.
    pub(super) async fn header_mismatch(
        &self,
        headers: &HeaderMap,
        steps: &Steps,
    ) -> Option<String> {
        let settings = &self.settings;
        let cost = settings
            .header_matchers
            .iter()
            .map(|matcher| matcher.cost(headers));
        if cost.sum::<u64>() <= MAX_INLINE_COST {
            let mut matchers = settings.header_matchers.iter();
            return matchers.find_map(|matcher| matcher.mismatch(headers, steps));
        }
        let (settings, headers, steps) = (settings.clone(), headers.clone(), steps.clone());
        let mismatch = offload::run(false, move |_| {
            let mut matchers = settings.header_matchers.iter();
            matchers.find_map(|matcher| matcher.mismatch(&headers, &steps))
        });
        mismatch.await
    }

    /// Checks the body against its matchers, on a blocking thread if that can take long.
    pub(super) async fn check_body(&self, body: Segments, steps: &Steps) -> Result<(), Failure> {
        let Some(matchers) = self.settings.body_matchers.clone() else {
            return Ok(());
        };
        let is_short = matchers.cost(body.len()) <= MAX_INLINE_COST;
        let steps = steps.clone();
        let mismatch = offload::run(is_short, move |cancel| {
            matchers.mismatch(&body.join(), cancel, &steps)
        });
        match mismatch.await {
            None => Ok(()),
            Some((reason, error)) => Err(Failure::new(Phase::Transfer, reason, error)),
        }
    }
}

/// Tells how the body that was kept begins.
fn record_beginning(attempt: &Attempt) {
    let quote = attempt.steps().quote_kept();
    if !quote.is_empty() {
        attempt.step(StepKind::ResponseBody, || format!("begins with {quote}"));
    }
}

/// Decodes `chunk`. A few bytes may expand to very many.
async fn decode(
    mut decoder: Box<Decoder>,
    chunk: Bytes,
    slice: &mut TimeSlice,
) -> Result<Box<Decoder>, DecodeError> {
    if decoder.has_long_steps() {
        let decode = move |cancel: &CancelFlag| {
            let mut input = &chunk[..];
            while !cancel.is_set() && decoder.step(&mut input)? {}
            Ok(decoder)
        };
        return offload::run(false, decode).await;
    }
    let mut input = &chunk[..];
    while decoder.step(&mut input)? {
        slice.yield_if_used().await;
    }
    Ok(decoder)
}
