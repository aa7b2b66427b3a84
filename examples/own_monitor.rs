//! A monitor of one's own: it is up while a file is there.
//!
//! `cargo run --example own_monitor`, and then `curl localhost:9115/metrics`.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use monitoringdaemon::check::{Attempt, Failure, Job, Monitor, Reason};
use monitoringdaemon::dispatcher::{Dispatcher, Settings};
use monitoringdaemon::server::{Readiness, Server};
use monitoringdaemon::{logging, metrics::Metrics};
use tokio_util::sync::CancellationToken;

struct FileExists(PathBuf);

impl Monitor for FileExists {
    fn kind(&self) -> &'static str {
        "file"
    }
    fn target(&self) -> String {
        self.0.display().to_string()
    }
    async fn check(&self, attempt: &Attempt) -> Result<(), Failure> {
        let exists = self.0.exists();
        exists
            .then_some(())
            .ok_or_else(|| attempt.failure(Reason::ResponseMismatch, "no such file"))
    }
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let _log = logging::start(&logging::Settings::default(), logging::Output::Stdout)?;
    let (metrics, shutdown) = (Arc::new(Metrics::new(None, || 0)), CancellationToken::new());
    let server = Server::bind(
        ([127, 0, 0, 1], 9115).into(),
        metrics.clone(),
        Readiness::default(),
    );
    let serving = tokio::spawn(server.await?.serve(shutdown.clone()));
    let mut job = Job::new("readme", FileExists("README.md".into()));
    job.check_every = Duration::from_secs(1);
    let mut dispatcher = Dispatcher::new(Settings::default(), metrics, shutdown.clone());
    dispatcher.start(vec![job]);
    tokio::spawn(async move { tokio::signal::ctrl_c().await.map(|()| shutdown.cancel()) });
    dispatcher.run().await;
    serving.await.map_err(io::Error::other)
}
