//! The accept loop, which no client can block.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use futures_util::future::select_all;
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    Address, LOG_TARGET, Services, Settings,
    connections::Connections,
    listener::{Io, Listener},
    routes::Routes,
    tls::TlsReloader,
};

/// Pause after a failed accept, usually for lack of file descriptors, to avoid spinning until some are
/// free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A server that listens already. [`serve`](Self::serve) answers requests.
pub struct Server {
    listeners: Vec<Listener>,
    /// Takes handshakes, if TLS is configured.
    tls: Option<Arc<TlsReloader>>,
    poll_interval: Duration,
    max_connections: usize,
    routes: Arc<Routes>,
    /// Cancelled to make connections finish.
    closing: CancellationToken,
}

impl Server {
    /// Listens on every address of `settings`, to serve `services` there.
    ///
    /// # Errors
    /// The address that cannot be listened on, and why.
    pub async fn bind(
        settings: &Settings,
        services: Services,
    ) -> Result<Self, (Address, io::Error)> {
        let mut listeners = Vec::new();
        for address in &settings.listen {
            let bound = Listener::bind(address).await;
            listeners.extend(bound.map_err(|error| (address.clone(), error))?);
        }
        let closing = CancellationToken::new();
        let tls = settings.tls.clone().map(TlsReloader::new);
        Ok(Self {
            listeners,
            tls: tls.map(Arc::new),
            poll_interval: services.poll_interval,
            max_connections: settings.max_connections,
            routes: Arc::new(Routes::new(services, settings, &closing)),
            closing,
        })
    }

    /// The addresses, with the ports that the system chose for port 0.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.listeners.iter().map(Listener::name).collect()
    }

    /// Answers until `shutdown`, then finishes responses in progress.
    pub async fn serve(self, shutdown: CancellationToken) {
        let Self {
            listeners,
            tls,
            poll_interval,
            max_connections,
            routes,
            closing,
        } = self;
        let mut watching = JoinSet::new();
        let mut connections = Connections::new(closing, max_connections);
        loop {
            if let Some(tls) = tls.as_ref().filter(|_| watching.is_empty()) {
                watching.spawn(tls.clone().watch_files(poll_interval));
            }
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = accept(&listeners) => accepted,
                Some(ended) = watching.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(
                            target: LOG_TARGET,
                            %error,
                            "The task that watches the server certificate ended unexpectedly"
                        );
                    }
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (stream, peer) = accepted;
            let acceptor = tls
                .as_ref()
                .filter(|_| peer.is_some())
                .map(|tls| tls.acceptor());
            connections.add(stream, peer, acceptor, routes.clone());
        }
        drop(listeners);
        watching.shutdown().await;
        connections.close().await;
    }
}

/// The next connection, and the client's address if it came over TCP.
async fn accept(listeners: &[Listener]) -> (Box<dyn Io>, Option<IpAddr>) {
    loop {
        let accepts = listeners.iter().map(|listener| Box::pin(listener.accept()));
        match select_all(accepts).await.0 {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::warn!(target: LOG_TARGET, %error, "Failed to accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
