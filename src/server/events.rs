//! Server-sent events: the ids of monitors that changed, in batches.

use std::{collections::BTreeSet, fmt::Write, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::{
    sync::{
        OwnedSemaphorePermit, Semaphore,
        broadcast::{Receiver, error::RecvError, error::TryRecvError},
    },
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::response::{HttpResponse, error_response};
use crate::history::{History, MonitorUpdate};

/// Maximum number of event streams.
const MAX_STREAMS: usize = 32;
/// Time in which updates are collected for one event.
const BATCH_WINDOW: Duration = Duration::from_millis(200);
/// Maximum silence of a stream: proxies close silent connections, commonly after a minute.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Maximum age of a stream, less than that of a connection. A browser then opens the next one.
const MAX_STREAM_AGE: Duration = Duration::from_secs(240);
/// Tells a browser to wait a second after the end of a stream.
const RETRY_HINT: &str = "retry: 1000\n\n";

/// Creates event streams.
pub(super) struct Events {
    slots: Arc<Semaphore>,
    closing: CancellationToken,
}

struct EventStream {
    updates: Receiver<MonitorUpdate>,
    closing: CancellationToken,
    until: Instant,
    begun: bool,
    _slot: OwnedSemaphorePermit,
}

impl Events {
    pub(super) fn new(closing: CancellationToken) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(MAX_STREAMS)),
            closing,
        }
    }

    /// A stream of the updates of `history` from now on.
    pub(super) fn answer(&self, history: &History) -> HttpResponse {
        let Ok(slot) = self.slots.clone().try_acquire_owned() else {
            let mut answer =
                error_response(StatusCode::SERVICE_UNAVAILABLE, "too many event streams");
            let headers = answer.headers_mut();
            headers.insert(RETRY_AFTER, HeaderValue::from_static("10"));
            return answer;
        };
        let stream = EventStream {
            updates: history.updates(),
            closing: self.closing.clone(),
            until: Instant::now() + MAX_STREAM_AGE,
            begun: false,
            _slot: slot,
        };
        let events = stream::unfold(stream, async |mut stream| {
            let event = stream.next().await?;
            Some((Ok(Frame::data(Bytes::from(event))), stream))
        });
        let mut answer = Response::new(BodyExt::boxed_unsync(StreamBody::new(events)));
        let headers = answer.headers_mut();
        let kind = HeaderValue::from_static("text/event-stream; charset=utf-8");
        headers.insert(CONTENT_TYPE, kind);
        // So that the connection ends with the stream.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        answer
    }
}

impl EventStream {
    /// The next event, or a comment as keepalive; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        if !std::mem::replace(&mut self.begun, true) {
            return Some(RETRY_HINT.to_owned());
        }
        let (closing, until) = (self.closing.clone(), self.until);
        tokio::select! {
            biased;
            () = closing.cancelled() => None,
            () = sleep_until(until) => None,
            event = self.event() => event,
        }
    }

    async fn event(&mut self) -> Option<String> {
        let mut batch = EventBatch::default();
        match timeout(KEEPALIVE_INTERVAL, self.updates.recv()).await {
            Err(_) => return Some(":\n\n".to_owned()),
            Ok(Ok(update)) => batch.add(update),
            Ok(Err(RecvError::Lagged(_))) => batch.all = true,
            Ok(Err(RecvError::Closed)) => return None,
        }
        sleep(BATCH_WINDOW).await;
        loop {
            match self.updates.try_recv() {
                Ok(update) => batch.add(update),
                Err(TryRecvError::Lagged(_)) => batch.all = true,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return Some(batch.event()),
            }
        }
    }
}

/// The updates of one event.
#[derive(Default)]
struct EventBatch {
    /// True if some changes were missed, so that any monitor may have changed.
    all: bool,
    checked: BTreeSet<u32>,
    changed: BTreeSet<u32>,
}

impl EventBatch {
    fn add(&mut self, update: MonitorUpdate) {
        self.checked.insert(update.id);
        if update.state_changed {
            self.changed.insert(update.id);
        }
    }

    fn event(&self) -> String {
        if self.all {
            return "event: all\ndata: {}\n\n".to_owned();
        }
        let (checked, changed) = (list(&self.checked), list(&self.changed));
        format!("data: {{\"checked\":[{checked}],\"changed\":[{changed}]}}\n\n")
    }
}

fn list(ids: &BTreeSet<u32>) -> String {
    let mut list = String::new();
    for id in ids {
        let comma = if list.is_empty() { "" } else { "," };
        let _ = write!(list, "{comma}{id}");
    }
    list
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast;

    use super::*;

    fn stream() -> (
        broadcast::Sender<MonitorUpdate>,
        CancellationToken,
        EventStream,
    ) {
        let (sender, updates) = broadcast::channel(4);
        let closing = CancellationToken::new();
        let slot = Arc::new(Semaphore::new(1)).try_acquire_owned();
        let stream = EventStream {
            updates,
            closing: closing.clone(),
            until: Instant::now() + MAX_STREAM_AGE,
            begun: true,
            _slot: slot.expect("there is one"),
        };
        (sender, closing, stream)
    }

    fn send(sender: &broadcast::Sender<MonitorUpdate>, id: u32, state_changed: bool) {
        let sent = sender.send(MonitorUpdate { id, state_changed });
        sent.expect("the stream listens");
    }

    #[tokio::test(start_paused = true)]
    async fn updates_within_the_window_are_one_event() {
        let (sender, _closing, mut stream) = stream();
        send(&sender, 2, false);
        let sending = async {
            sleep(BATCH_WINDOW / 2).await;
            send(&sender, 1, true);
            send(&sender, 2, false);
        };
        let (event, ()) = tokio::join!(stream.next(), sending);
        let expected = "data: {\"checked\":[1,2],\"changed\":[1]}\n\n";
        assert_eq!(event.as_deref(), Some(expected));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lagging_stream_gets_the_event_all() {
        let (sender, _closing, mut stream) = stream();
        for id in 0..100 {
            send(&sender, id, false);
        }
        let event = stream.next().await;
        assert_eq!(event.as_deref(), Some("event: all\ndata: {}\n\n"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_sends_keepalives_and_ends_before_its_connection() {
        let (_sender, closing, mut stream) = stream();
        let began = Instant::now();
        assert_eq!(stream.next().await.as_deref(), Some(":\n\n"));
        assert_eq!(began.elapsed(), KEEPALIVE_INTERVAL);
        while stream.next().await.is_some() {}
        assert_eq!(began.elapsed(), MAX_STREAM_AGE);
        assert!(MAX_STREAM_AGE < crate::server::connections::LIFETIME);
        stream.until = Instant::now() + MAX_STREAM_AGE;
        closing.cancel();
        assert_eq!(stream.next().await, None);
        assert_eq!(began.elapsed(), MAX_STREAM_AGE);
    }
}
