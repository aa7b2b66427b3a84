//! Renders `/metrics` away from the threads that run checks, once for all who ask at the same time.

use std::{
    io::Write,
    sync::{Arc, Weak},
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use tokio::{
    sync::Mutex,
    task::{JoinError, spawn_blocking, yield_now},
    time::Instant,
};

use crate::metrics::Metrics;

/// The page of `/metrics`, rendered on demand.
pub(super) struct Scrapes {
    metrics: Arc<Metrics>,
    last: Mutex<Last>,
}

/// The last page, for as long as somebody is still being sent it.
#[derive(Default)]
struct Last {
    began: Option<Instant>,
    page: Weak<Page>,
}

/// A page at one moment.
struct Page {
    plain: Vec<u8>,
    /// The same, compressed, where the first who asked for the page takes it so.
    gzip: Option<Vec<u8>>,
}

/// The bytes of a page in one of its forms; they keep the page.
struct Form {
    page: Arc<Page>,
    gzip: bool,
}

impl Scrapes {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            last: Mutex::default(),
        }
    }

    /// A page that is not older than this call.
    pub async fn page(&self, gzip: bool) -> Result<Bytes, JoinError> {
        let page = self.current(gzip).await?;
        // A small page is sent, and gone, within one poll: whoever waits for it takes it over first.
        yield_now().await;
        Ok(Bytes::from_owner(Form { page, gzip }))
    }

    async fn current(&self, gzip: bool) -> Result<Arc<Page>, JoinError> {
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        let shared = last
            .page
            .upgrade()
            .filter(|_| last.began.is_some_and(|began| began >= asked))
            .filter(|page| page.gzip.is_some() || !gzip);
        if let Some(page) = shared {
            return Ok(page);
        }
        let began = Instant::now();
        let metrics = self.metrics.clone();
        // In one go on one thread: a second one would have a heap of its own, which keeps as much
        // memory as the greatest page took there.
        let page = spawn_blocking(move || Page::render(&metrics, gzip)).await?;
        let page = Arc::new(page);
        *last = Last {
            began: Some(began),
            page: Arc::downgrade(&page),
        };
        Ok(page)
    }
}

impl Page {
    fn render(metrics: &Metrics, gzip: bool) -> Self {
        let plain = metrics.render();
        let gzip = gzip.then(|| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&plain).expect("a Vec takes all bytes");
            encoder.finish().expect("a Vec takes all bytes")
        });
        Self { plain, gzip }
    }
}

impl AsRef<[u8]> for Form {
    fn as_ref(&self) -> &[u8] {
        match &self.page.gzip {
            Some(compressed) if self.gzip => compressed,
            _ => &self.page.plain,
        }
    }
}
