//! The system's resolver configuration, which is read again after its files have changed.

use std::{env, fs, io, io::Read, path::PathBuf, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    hosts::Hosts,
    resolv_conf::{Environment, ResolvConf},
    resolver::Stub,
};
use crate::value::FileStamp;

/// Paths of the configuration files.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    pub resolv_conf: PathBuf,
    pub hosts: PathBuf,
}

/// A resolver by the files of the system.
pub(super) struct SystemFiles {
    paths: Paths,
    stub: Arc<Stub>,
    stamps: [Option<FileStamp>; 2],
    looked_at: Instant,
}

impl SystemFiles {
    /// As often as Go's resolver, and so blackbox_exporter, looks at the files.
    const POLL_INTERVAL: Duration = Duration::from_secs(5);

    pub(super) fn read(paths: Paths) -> Self {
        let stamps = paths.stamps();
        let environment = Environment {
            local_domain: env::var("LOCALDOMAIN").ok(),
            options: env::var("RES_OPTIONS").ok(),
            host_name: fs::read_to_string("/proc/sys/kernel/hostname").ok(),
        };
        let resolv_conf = ResolvConf::parse(&read(&paths.resolv_conf), &environment);
        let hosts = Hosts::parse(&read(&paths.hosts));
        Self {
            stub: Arc::new(Stub::new(&resolv_conf, hosts)),
            paths,
            stamps,
            looked_at: Instant::now(),
        }
    }

    /// The resolver of the moment.
    pub(super) fn current(&mut self) -> Arc<Stub> {
        if self.looked_at.elapsed() >= Self::POLL_INTERVAL {
            self.looked_at = Instant::now();
            let mut stamps = self.paths.stamps();
            if !self.stub.follows_resolv_conf() {
                stamps[0] = self.stamps[0];
            }
            if stamps != self.stamps {
                *self = Self::read(self.paths.clone());
            }
        }
        self.stub.clone()
    }
}

impl Paths {
    fn stamps(&self) -> [Option<FileStamp>; 2] {
        [&self.resolv_conf, &self.hosts].map(|file| FileStamp::read(file))
    }
}

/// Room for the longest lists of names that are blocked by way of `/etc/hosts`.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// The text of a file; none if there is no such file, as `resolv.conf(5)` allows.
fn read(path: &PathBuf) -> String {
    let read = || -> io::Result<_> {
        let mut bytes = Vec::new();
        let file = fs::File::open(path)?;
        file.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_else(|error| {
        let file = path.display();
        tracing::debug!(%file, %error, "Failed to read the resolver configuration");
        String::new()
    })
}
