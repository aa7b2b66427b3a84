//! Renders `/metrics` on blocking threads, one page or chunk at a time.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::{
    sync::Mutex,
    task::{JoinError, spawn_blocking, yield_now},
    time::Instant,
};

use super::{
    compression::compress,
    response::{Body, full_body},
};
use crate::metrics::{Exposition, Format, Metrics};

/// The page of `/metrics`, rendered on demand.
///
/// Compressed, it is small, and concurrent requests share one. Plain, it may be a
/// hundred megabytes, so it is rendered chunk by chunk, as fast as the client reads.
pub(super) struct MetricsRenderer {
    metrics: Arc<Metrics>,
    /// Locked while a page or chunk is rendered.
    last: Arc<Mutex<LastPage>>,
}

/// The last compressed page, as long as it is still being sent.
#[derive(Default)]
struct LastPage {
    began: Option<Instant>,
    page: Weak<Vec<u8>>,
    format: Format,
}

impl MetricsRenderer {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            last: Arc::default(),
        }
    }

    /// A plain page, not older than this call.
    pub(super) async fn plain(&self, format: Format) -> Result<Body, JoinError> {
        let metrics = self.metrics.clone();
        let turn = self.last.lock().await;
        let (first, page) = spawn_blocking(move || next_chunk(metrics.exposition(format))).await?;
        drop(turn);
        if page.is_finished() {
            return Ok(full_body(first.into()));
        }
        let turns = self.last.clone();
        let others = stream::try_unfold((page, turns), async |(page, turns)| {
            if page.is_finished() {
                return Ok(None);
            }
            let turn = turns.lock().await;
            let (chunk, page) = spawn_blocking(move || next_chunk(page)).await?;
            drop(turn);
            Ok(Some((chunk, (page, turns))))
        });
        let chunks = stream::once(async { Ok(first) }).chain(others);
        let frames = chunks.map_ok(|chunk| Frame::data(Bytes::from(chunk)));
        Ok(BodyExt::boxed_unsync(StreamBody::new(frames)))
    }

    /// The same, compressed.
    pub(super) async fn gzip(&self, format: Format) -> Result<Body, JoinError> {
        let page = self.compressed(format).await?;
        // A small page is sent and dropped within one poll: waiting requests must take it over before.
        yield_now().await;
        Ok(full_body(Bytes::from_owner(SharedBytes(page))))
    }

    async fn compressed(&self, format: Format) -> Result<Arc<Vec<u8>>, JoinError> {
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        let shared = last
            .page
            .upgrade()
            .filter(|_| last.format == format && last.began.is_some_and(|began| began >= asked));
        if let Some(page) = shared {
            return Ok(page);
        }
        let began = Instant::now();
        let metrics = self.metrics.clone();
        let page = Arc::new(spawn_blocking(move || compress(metrics.exposition(format))).await?);
        *last = LastPage {
            began: Some(began),
            page: Arc::downgrade(&page),
            format,
        };
        Ok(page)
    }
}

fn next_chunk(mut page: Exposition) -> (Vec<u8>, Exposition) {
    (page.next().unwrap_or_default(), page)
}

/// The bytes of a compressed page, which share its ownership.
struct SharedBytes(Arc<Vec<u8>>);

impl AsRef<[u8]> for SharedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
