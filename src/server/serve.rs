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
                accepted = accept(&listeners), if connections.has_room() => accepted,
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
                Some(()) = connections.next_end() => continue,
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

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use rcgen::generate_simple_self_signed;
    use serde_json::json;
    use tokio::time::timeout;

    use super::*;
    use crate::{
        metrics::{self, Metrics},
        server::{Readiness, tls},
        value::{self, Fields, Problems, parse_json},
    };

    /// Writes a new certificate and its key into `folder`.
    fn write_certificate(folder: &Path) {
        let issued = generate_simple_self_signed(["a.test".to_owned()]).expect("a certificate");
        fs::write(folder.join("cert.pem"), issued.cert.pem()).expect("room");
        fs::write(folder.join("key.pem"), issued.signing_key.serialize_pem()).expect("room");
    }

    #[tokio::test]
    async fn the_certificate_is_watched_again_after_a_panic() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        write_certificate(folder.path());
        let keys = json!({
            "cert_file": folder.path().join("cert.pem"),
            "key_file": folder.path().join("key.pem"),
        });
        let problems = Problems::default();
        let node = parse_json(&keys.to_string()).expect("JSON");
        let fields = Fields::from_node(&node, value::Path::default(), &problems);
        let settings = fields.and_then(tls::Settings::read);
        let tls = Arc::new(TlsReloader::new(settings.expect("valid settings")));
        let services = Services {
            metrics: Arc::new(Metrics::new(&metrics::Settings::default(), || 0)),
            readiness: Readiness::default(),
            status: None,
            probe: None,
            reload: None,
            poll_interval: Duration::from_millis(1),
        };
        let settings = Settings {
            listen: vec![Address::Tcp(([127, 0, 0, 1], 0).into())],
            ..Settings::default()
        };
        let server = Server::bind(&settings, services).await;
        let mut server = server.unwrap_or_else(|(_, error)| panic!("{error}"));
        server.tls = Some(tls.clone());
        tls.panic_at_next_look();
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(server.serve(shutdown.clone()));
        let before = tls.acceptor();
        let reloaded = async {
            while !tls.has_panicked() {
                sleep(Duration::from_millis(1)).await;
            }
            write_certificate(folder.path());
            while Arc::ptr_eq(before.config(), tls.acceptor().config()) {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let reloaded = timeout(Duration::from_secs(20), reloaded).await;
        assert!(reloaded.is_ok(), "the certificate is not followed any more");
        shutdown.cancel();
        assert!(serving.await.is_ok());
    }
}
