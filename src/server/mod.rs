//! The HTTP server of `/metrics` and the rest: an accept loop that no client can hold up.

mod events;
mod reload;
mod routes;
mod scrape;
mod stall;
mod status;

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{metrics::Metrics, status::Status};
use events::Lasting;
pub use reload::{Reload, Reloads};
use routes::Routes;
use stall::WriteStall;

/// Connections at once. One more takes the place of the one that has been idle for longest.
pub(crate) const MAX_CONNECTIONS: usize = 256;
/// How long a client may take for the head of a request, and be silent between two.
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
    listener: TcpListener,
    routes: Arc<Routes>,
    /// Cancelled once what is under way is to be finished.
    closing: CancellationToken,
}

impl Server {
    /// Takes `address`, to serve `site` there.
    ///
    /// # Errors
    /// Where it cannot be listened on.
    pub async fn bind(address: SocketAddr, site: Site) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let closing = CancellationToken::new();
        Ok(Self {
            listener,
            routes: Arc::new(Routes::new(site, &closing)),
            closing,
        })
    }

    /// The address that it has, with the port that the system chose where none was given.
    ///
    /// # Errors
    /// Where the system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `shutdown`, and then finishes what is under way within moments.
    pub async fn serve(self, shutdown: CancellationToken) {
        let Self {
            listener,
            routes,
            closing,
        } = self;
        let mut connections = Connections::new(closing);
        while let Some(stream) = shutdown.run_until_cancelled(accept(&listener)).await {
            connections.add(stream, routes.clone());
        }
        drop(listener);
        connections.close().await;
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
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
    closing: CancellationToken,
}

struct Connection {
    task: AbortHandle,
    /// Whether a request on it is being answered.
    busy: Arc<AtomicBool>,
}

impl Connections {
    fn new(closing: CancellationToken) -> Self {
        Self {
            tasks: JoinSet::new(),
            open: VecDeque::new(),
            closing,
        }
    }

    fn add(&mut self, stream: TcpStream, routes: Arc<Routes>) {
        while let Some(ended) = self.tasks.try_join_next() {
            if ended.is_err_and(|error| error.is_panic()) {
                tracing::error!("Answering a connection panicked");
            }
        }
        self.open
            .retain(|connection| !connection.task.is_finished());
        if self.open.len() >= MAX_CONNECTIONS {
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
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(
                TokioIo::new(WriteStall::new(stream, WRITE_TIMEOUT)),
                service,
            );
        let closing = self.closing.clone();
        let task = self.tasks.spawn(async move {
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
