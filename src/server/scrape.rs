//! Renders `/metrics` away from the threads that run checks, once for all who ask at the same time.

use std::{
    io::Write,
    sync::{Arc, Weak},
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use tokio::{
    sync::{Mutex, OnceCell},
    task::{JoinError, spawn_blocking},
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
pub(super) struct Page {
    plain: Bytes,
    gzip: OnceCell<Bytes>,
}

impl Scrapes {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            last: Mutex::default(),
        }
    }

    /// A page that is not older than this call.
    pub async fn page(&self) -> Result<Arc<Page>, JoinError> {
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        if last.began.is_some_and(|began| began >= asked)
            && let Some(page) = last.page.upgrade()
        {
            return Ok(page);
        }
        let began = Instant::now();
        let metrics = self.metrics.clone();
        let plain = spawn_blocking(move || metrics.render()).await?;
        let page = Arc::new(Page {
            plain: plain.into(),
            gzip: OnceCell::new(),
        });
        *last = Last {
            began: Some(began),
            page: Arc::downgrade(&page),
        };
        Ok(page)
    }
}

impl Page {
    pub fn plain(&self) -> Bytes {
        self.plain.clone()
    }

    pub async fn gzip(&self) -> Result<Bytes, JoinError> {
        let compress = || {
            let plain = self.plain.clone();
            spawn_blocking(move || {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(&plain).expect("a Vec takes all bytes");
                Bytes::from(encoder.finish().expect("a Vec takes all bytes"))
            })
        };
        self.gzip.get_or_try_init(compress).await.cloned()
    }
}
