//! Runs the daemon without monitors, as the flags of blackbox_exporter say.

use std::{env, io, io::Write, path::Path, process::ExitCode, sync::Arc, time::Duration};

use tracing::level_filters::LevelFilter;
use url::Url;

use super::flags::{Flags, LogFormat, LogLevel};
use crate::{
    app::{self, ReadConfig, RunOptions},
    config::{self, Config, Invalid},
    exit_code,
    logging::Format,
    probe::ProbeLog,
    server::{Address, Mount},
    value::{FromNode, Node},
};

/// Does what blackbox_exporter does with `flags`; problems have been printed to stderr by then.
#[must_use]
pub(crate) fn run(flags: &Flags) -> ExitCode {
    match start(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = io::stderr().write_all(format!("{error}\n").as_bytes());
            ExitCode::from(exit_code::FAILURE)
        }
    }
}

fn start(flags: &Flags) -> Result<(), String> {
    let flags = Arc::new(flags.clone());
    let probing = flags.clone();
    let read: Arc<ReadConfig> = Arc::new(move |path: &Path| read_config(path, &probing));
    let mut config = read(&flags.config_file).map_err(|invalid| invalid.to_string())?;
    if flags.check {
        for warning in &config.warnings {
            let _ = io::stderr().write_all(format!("warning: {warning}\n").as_bytes());
        }
        let _ = io::stdout().write_all(b"Config file is ok exiting...\n");
        return Ok(());
    }
    let web = flags.web_config_file.as_ref();
    if let Some(file) = web.filter(|file| !file.is_empty()) {
        config.server = config::read_web(Path::new(file)).map_err(|invalid| invalid.to_string())?;
    }
    config.server.listen = listen_addresses(&flags)?;
    config.server.mount = Some(mount(&flags)?);
    config.log.level = match flags.log_level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    config.log.format = match flags.log_format {
        LogFormat::Logfmt => Format::Logfmt,
        LogFormat::Json => Format::Json,
    };
    let options = RunOptions {
        config_path: Some(flags.config_file.clone()),
        read_config: read,
        watch: flags.auto_reload,
        poll_interval: Duration::from_secs(flags.auto_reload_interval),
        ..RunOptions::default()
    };
    app::run_with_options(config, options).map_err(|error| format!("monitoringdaemon: {error}"))
}

/// The configuration in the file at `path`, with what `flags` say of probes.
fn read_config(path: &Path, flags: &Flags) -> Result<Config, Invalid> {
    let mut config = config::read_blackbox(path)?;
    config.probe.timeout_offset = flags.timeout_offset;
    config.probe.history_limit = flags.history_limit.into();
    config.probe.log = match flags.log_prober {
        LogLevel::Debug => ProbeLog::All,
        LogLevel::Info | LogLevel::Warn | LogLevel::Error => ProbeLog::Failures,
    };
    Ok(config)
}

fn listen_addresses(flags: &Flags) -> Result<Vec<Address>, String> {
    if flags.systemd_socket {
        return Ok(vec![Address::Inherited]);
    }
    let address = |text: &String| {
        let address = Address::from_node(&Node::Text(text.clone()));
        address.map_err(|wrong| {
            let expected = Address::EXPECTED;
            format!("--web.listen-address: {wrong}: expected {expected}")
        })
    };
    flags.listen_addresses.iter().map(address).collect()
}

/// Where everything is served.
fn mount(flags: &Flags) -> Result<Mount, String> {
    let wrong = |wrong: &str| format!("--web.external-url: {wrong}");
    let is_quote = |c| matches!(c, '"' | '\'');
    let external_url = match flags.external_url.as_deref() {
        Some(text) if text.starts_with(is_quote) || text.ends_with(is_quote) => {
            return Err(wrong("URL must not begin or end with quotes"));
        }
        Some("") | None => None,
        Some(text) => Some(Url::parse(text).map_err(|error| wrong(&error.to_string()))?),
    };
    let path = external_url.as_ref().map_or("", |url| url.path());
    let prefix = flags.route_prefix.as_deref().unwrap_or(path);
    let prefix = match prefix.trim_matches('/') {
        "" => String::new(),
        prefix => format!("/{prefix}"),
    };
    let url = external_url.map_or_else(|| format!("{prefix}/"), Into::into);
    Ok(Mount {
        prefix,
        external_url: url,
    })
}

/// True if the program was called by the name of blackbox_exporter.
#[must_use]
pub(crate) fn is_called_blackbox_exporter() -> bool {
    let name = env::args_os().next();
    let name = name.as_deref().map(Path::new).and_then(Path::file_name);
    name.is_some_and(|name| name == "blackbox_exporter" || name == "prometheus-blackbox-exporter")
}
