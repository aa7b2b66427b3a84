//! The HTTP server of `/metrics` and the rest: an accept loop that no client can hold up.

mod events;
mod listener;
mod rate;
mod reload;
mod routes;
mod scrape;
mod settings;
mod stall;
mod status;
mod tls;
mod users;

use std::{
    collections::VecDeque,
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::select_all;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{metrics::Metrics, status::Status};
use events::Lasting;
use listener::{Io, Listener};
pub use reload::{Reload, Reloads};
use routes::Routes;
pub use settings::{Address, Settings};
use stall::WriteStall;
use tls::Acceptor;

/// How long a client may take for the head of a request or a handshake, and be silent between two.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take nothing of a response.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may last, whatever happens on it.
const LIFETIME: Duration = Duration::from_secs(300);
const MAX_HEADERS: usize = 64;
const MAX_HEAD_BYTES: usize = 16 << 10;
/// How long responses that are under way may take once the daemon stops.
const DRAIN: Duration = Duration::from_millis(200);
/// After an accept that failed, most often for want of file descriptors: no spinning until some come free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Whether every monitor has been started, and the daemon is not about to stop.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Sets it.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is served.
pub struct Site {
    /// `/metrics`
    pub metrics: Arc<Metrics>,
    /// `/-/ready`
    pub readiness: Readiness,
    /// The status page, where there is one.
    pub status: Option<Status>,
    /// `/-/reload`, where there is something to read again.
    pub reloads: Option<Reloads>,
}

/// A server that has its port, so that only [`serve`](Self::serve) is left to do.
pub struct Server {
    listeners: Vec<Listener>,
    /// What takes handshakes, where TLS is spoken.
    acceptor: Option<Arc<Acceptor>>,
    max_connections: usize,
    routes: Arc<Routes>,
    /// Cancelled once what is under way is to be finished.
    closing: CancellationToken,
}

impl Server {
    /// Takes every address of `settings`, to serve `site` there.
    ///
    /// # Errors
    /// The address that cannot be listened on, and why.
    pub async fn bind(settings: &Settings, site: Site) -> Result<Self, (Address, io::Error)> {
        let mut listeners = Vec::new();
        for address in &settings.listen {
            let bound = Listener::bind(address).await;
            listeners.extend(bound.map_err(|error| (address.clone(), error))?);
        }
        let closing = CancellationToken::new();
        let acceptor = settings.tls.clone().map(Acceptor::new);
        Ok(Self {
            listeners,
            acceptor: acceptor.map(Arc::new),
            max_connections: settings.max_connections,
            routes: Arc::new(Routes::new(site, settings, &closing)),
            closing,
        })
    }

    /// Where it listens, with the ports that the system chose where none were given.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.listeners.iter().map(Listener::name).collect()
    }

    /// Answers until `shutdown`, and then finishes what is under way within moments.
    pub async fn serve(self, shutdown: CancellationToken) {
        let Self {
            listeners,
            acceptor,
            max_connections,
            routes,
            closing,
        } = self;
        let mut keeper = JoinSet::new();
        if let Some(acceptor) = acceptor.clone() {
            keeper.spawn(acceptor.keep());
        }
        let mut connections = Connections::new(closing, max_connections);
        while let Some((stream, over_tcp)) = shutdown.run_until_cancelled(accept(&listeners)).await
        {
            let acceptor = acceptor.as_ref().filter(|_| over_tcp);
            let acceptor = acceptor.map(|acceptor| acceptor.current());
            connections.add(stream, acceptor, routes.clone());
        }
        drop(listeners);
        keeper.shutdown().await;
        connections.close().await;
    }
}

/// The next connection of any, and whether it came over TCP.
async fn accept(listeners: &[Listener]) -> (Box<dyn Io>, bool) {
    loop {
        let accepts = listeners.iter().map(|listener| Box::pin(listener.accept()));
        match select_all(accepts).await.0 {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::warn!(%error, "A connection cannot be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The connections that are open, oldest first.
struct Connections {
    tasks: JoinSet<()>,
    open: VecDeque<Connection>,
    /// One more takes the place of the one that has been idle for longest.
    max: usize,
    closing: CancellationToken,
}

struct Connection {
    task: AbortHandle,
    /// Whether a request on it is being answered.
    busy: Arc<AtomicBool>,
}

impl Connections {
    fn new(closing: CancellationToken, max: usize) -> Self {
        Self {
            tasks: JoinSet::new(),
            open: VecDeque::new(),
            max,
            closing,
        }
    }

    fn add(&mut self, stream: Box<dyn Io>, acceptor: Option<TlsAcceptor>, routes: Arc<Routes>) {
        while let Some(ended) = self.tasks.try_join_next() {
            if ended.is_err_and(|error| error.is_panic()) {
                tracing::error!("Answering a connection panicked");
            }
        }
        self.open
            .retain(|connection| !connection.task.is_finished());
        if self.open.len() >= self.max {
            let idle = |connection: &Connection| !connection.busy.load(Ordering::Relaxed);
            let place = self.open.iter().position(idle).unwrap_or(0);
            if let Some(connection) = self.open.remove(place) {
                connection.task.abort();
            }
        }

        let busy = Arc::new(AtomicBool::new(false));
        let service = service_fn({
            let busy = busy.clone();
            move |request| {
                busy.store(true, Ordering::Relaxed);
                let (routes, busy) = (routes.clone(), busy.clone());
                async move {
                    let response = routes.answer(&request).await;
                    let lasting = response.extensions().get::<Lasting>().is_some();
                    busy.store(lasting, Ordering::Relaxed);
                    Ok::<_, std::convert::Infallible>(response)
                }
            }
        });
        let stream = WriteStall::new(stream, WRITE_TIMEOUT);
        let closing = self.closing.clone();
        let task = self.tasks.spawn(async move {
            let stream: Box<dyn Io> = match acceptor {
                None => Box::new(stream),
                Some(acceptor) => match timeout(HEADER_TIMEOUT, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => Box::new(stream),
                    _ => return,
                },
            };
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .max_headers(MAX_HEADERS)
                .max_buf_size(MAX_HEAD_BYTES)
                .serve_connection(TokioIo::new(stream), service);
            let mut connection = pin!(connection);
            // How a connection ended matters to its client alone.
            tokio::select! {
                _ = connection.as_mut() => return,
                () = closing.cancelled() => {}
                () = sleep(LIFETIME) => {}
            }
            // What is under way is finished, and no further request taken.
            connection.as_mut().graceful_shutdown();
            let _ = timeout(WRITE_TIMEOUT, connection).await;
        });
        self.open.push_back(Connection { task, busy });
    }

    async fn close(mut self) {
        self.closing.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _ = timeout(DRAIN, all).await;
        self.tasks.shutdown().await;
    }
}
