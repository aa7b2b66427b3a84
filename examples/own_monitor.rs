//! A custom type of monitor, which is up while a file exists.
//!
//! Run `cargo run --example own_monitor`, and then `curl localhost:9115/metrics`.

use std::{path::PathBuf, time::Duration};

use monitoringdaemon::{
    app,
    check::{Attempt, Failure, Job, Monitor, Reason},
    config::Config,
};

struct FileExists(PathBuf);

impl Monitor for FileExists {
    fn kind(&self) -> &'static str {
        "file"
    }

    fn target(&self) -> String {
        self.0.display().to_string()
    }

    async fn check(&self, attempt: &Attempt) -> Result<(), Failure> {
        if self.0.exists() {
            return Ok(());
        }
        Err(attempt.failure(Reason::ResponseMismatch, "no such file"))
    }
}

fn main() -> Result<(), app::Error> {
    let mut job = Job::new("readme", FileExists("README.md".into()));
    job.check_every = Duration::from_secs(1);
    app::run_with_jobs(&Config::default(), vec![job])
}
