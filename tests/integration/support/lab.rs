//! Checks as the program runs them: settings from YAML, over names and authorities of the tests' own.

use std::{io::Write, time::Duration};

use monitoringdaemon::{
    check::{Job, Report},
    config::{self, Config},
    net::{Net, Resolver, tls::TrustStore},
};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::{dns::Dns, pki, report::assert_consistent};

/// The network that monitors are bound to.
pub struct Lab {
    pub dns: Dns,
    pub net: Net,
}

impl Lab {
    /// Every name is 127.0.0.1, and [`pki::AUTHORITY`] is trusted.
    pub fn new() -> Self {
        Self::with_dns(Dns::loopback())
    }

    pub fn with_dns(dns: Dns) -> Self {
        let resolver = Resolver::with_servers(&[dns.address]);
        let net = Net::new(resolver, TrustStore::new(pki::AUTHORITY.roots()));
        Self { dns, net }
    }

    /// Runs one check of the monitor with these keys.
    pub async fn check(&self, monitor: Value) -> Report {
        let report = self.job(monitor).check_once().await;
        assert_consistent(&report);
        report
    }

    /// The monitor with these keys, and with a timeout that does not matter unless they say so.
    pub fn job(&self, monitor: Value) -> Job {
        let config = config(monitor);
        let monitor = &config.monitors[0];
        let mut job = monitor.settings.bind(&monitor.name, &self.net);
        job.timeout = monitor.timeout;
        job.propagate = monitor.propagate;
        job.fail_if_slower_than = monitor.fail_if_slower_than;
        job
    }
}

/// A configuration of one monitor with these keys.
pub fn config(mut monitor: Value) -> Config {
    if monitor.get("timeout").is_none() {
        monitor["timeout"] = json!(super::PATIENCE.as_secs());
    }
    config_of(&json!({ "monitors": { "example": monitor } }))
}

/// A whole configuration; JSON is YAML, and needs nobody to think of indentation.
#[track_caller]
pub fn config_of(whole: &Value) -> Config {
    config_from(&whole.to_string())
}

/// A whole configuration from its text.
#[track_caller]
pub fn config_from(yaml: &str) -> Config {
    let mut file = NamedTempFile::new().expect("a temporary file");
    write!(file, "{yaml}").expect("room for a temporary file");
    config::read(file.path()).unwrap_or_else(|wrong| panic!("{wrong}"))
}

/// Milliseconds as settings have them.
pub fn millis(millis: u64) -> Value {
    json!(format!("{}ms", Duration::from_millis(millis).as_millis()))
}
