//! The arguments of `import`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// The program to import from, and options for all of them.
#[derive(Debug, Args)]
pub struct Options {
    /// Exit with status 0 even if something was left out
    #[arg(long, global = true)]
    pub lenient: bool,

    /// Print passwords, tokens and other secrets instead of references to environment variables
    #[arg(long, global = true)]
    pub include_secrets: bool,

    /// The program to import from.
    #[command(subcommand)]
    pub source: Source,
}

/// A program whose configuration can be imported.
#[derive(Debug, Subcommand)]
pub enum Source {
    /// Modules of blackbox_exporter, and the scrape jobs of Prometheus that use them
    Blackbox {
        /// Configuration of blackbox_exporter
        #[arg(long, value_name = "blackbox.yml")]
        modules: PathBuf,

        /// Configuration of Prometheus
        #[arg(long, value_name = "prometheus.yml")]
        prometheus: Option<PathBuf>,
    },
    /// Endpoints of Gatus
    Gatus {
        /// Configuration file, or a directory of them
        #[arg(value_name = "FILE|DIR")]
        path: PathBuf,
    },
    /// Probes of Cloudprober
    Cloudprober {
        /// Configuration file, in the text format of protocol buffers, YAML or JSON
        #[arg(value_name = "FILE")]
        path: PathBuf,
    },
    /// Monitors of Uptime Kuma
    UptimeKuma {
        /// Its database, or a backup of version 1 in JSON
        #[arg(value_name = "kuma.db")]
        path: PathBuf,
    },
}
