//! The flags of blackbox_exporter, with its defaults.

use std::{path::PathBuf, time::Duration};

use clap::{ArgAction, Args, ValueEnum};

/// The flags of blackbox_exporter.
#[derive(Clone, Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "they are flags")]
pub(crate) struct Flags {
    /// Configuration file of blackbox_exporter
    #[arg(
        long = "config.file",
        value_name = "FILE",
        default_value = "blackbox.yml"
    )]
    pub config_file: PathBuf,

    /// Check the configuration file and exit
    #[arg(long = "config.check", overrides_with = "no_check")]
    pub check: bool,

    #[arg(long = "no-config.check", hide = true)]
    no_check: bool,

    /// Reload when the configuration file changes (SIGHUP and POST /-/reload always do)
    #[arg(long = "config.enable-auto-reload", overrides_with = "no_auto_reload")]
    pub(crate) auto_reload: bool,

    #[arg(long = "no-config.enable-auto-reload", hide = true)]
    no_auto_reload: bool,

    /// Seconds between two looks at the configuration file
    #[arg(
        long = "config.auto-reload-interval",
        value_name = "SECONDS",
        default_value_t = 30,
        value_parser = clap::value_parser!(u64).range(1..=86_400)
    )]
    pub(crate) auto_reload_interval: u64,

    /// Seconds to subtract from the timeout of a scrape
    #[arg(
        long = "timeout-offset",
        value_name = "SECONDS",
        default_value = "0.5",
        value_parser = seconds
    )]
    pub(crate) timeout_offset: Duration,

    /// Probes to keep, and failed ones before them
    #[arg(
        long = "history.limit",
        value_name = "COUNT",
        default_value_t = 100,
        value_parser = clap::value_parser!(u16).range(0..=10_000)
    )]
    pub history_limit: u16,

    /// URL under which the server is reachable; its path is the prefix of all paths
    #[arg(long = "web.external-url", value_name = "URL")]
    pub(crate) external_url: Option<String>,

    /// Prefix of all paths [default: the path of --web.external-url]
    #[arg(long = "web.route-prefix", value_name = "PATH")]
    pub(crate) route_prefix: Option<String>,

    /// Address to listen on, as often as needed
    #[arg(
        long = "web.listen-address",
        value_name = "ADDRESS",
        default_value = ":9115",
        action = ArgAction::Append
    )]
    pub(crate) listen_addresses: Vec<String>,

    /// Listen on the sockets of systemd
    #[arg(long = "web.systemd-socket")]
    pub(crate) systemd_socket: bool,

    /// Web configuration file: TLS, users, headers and a rate limit
    #[arg(long = "web.config.file", value_name = "FILE")]
    pub(crate) web_config_file: Option<String>,

    /// Level of the log
    #[arg(long = "log.level", value_enum, default_value_t)]
    pub(crate) log_level: LogLevel,

    /// Format of the log
    #[arg(long = "log.format", value_enum, default_value_t)]
    pub(crate) log_format: LogFormat,

    /// Level of the lines about probes: failed ones are logged, and with debug all
    #[arg(long = "log.prober", value_enum, default_value_t)]
    pub(crate) log_prober: LogLevel,
}

/// A level of blackbox_exporter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    Debug,
    #[default]
    Info,
    Warn,
    Error,
}

/// A format of blackbox_exporter's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    #[default]
    Logfmt,
    Json,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok();
    let offset = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    offset.ok_or_else(|| "expected seconds such as 0.5".to_owned())
}
