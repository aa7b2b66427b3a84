//! `validate`: checks configurations, and prints what would change.

use std::{
    fmt::Write as _,
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::ValueEnum;
use http::Method;
use serde::Serialize;
use tokio::{runtime::Builder, time::timeout};
use url::Url;

use super::daemon_request;
use crate::{
    check::missing_prerequisites,
    config::{self, Config, Invalid, LocatedProblem},
    dispatcher::{ConfigDiff, Shard},
    exit_code::{self, WithExitCode},
    net::{FetchOptions, Net, http::OfferedVersions, tls},
    text::counted,
    value::WarningKind,
};

/// A form of the problems.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// A line for each problem and warning
    #[default]
    Text,
    /// A JSON array with an object for each, for editors and CI
    Json,
}

/// The arguments of the command.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The configurations; `-` is standard input.
    pub files: Vec<PathBuf>,
    /// The file, or the URL of a daemon, to compare with.
    pub diff: Option<String>,
    /// The share of the monitors that is compared.
    pub shard: Option<Shard>,
    /// The form of the problems.
    pub output: Output,
    /// True if warnings are errors.
    pub strict: bool,
}

/// The reason why changes cannot be listed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The other configuration is invalid.
    #[error("{0}")]
    Invalid(Invalid),
    /// The request to the daemon failed.
    #[error("request to the daemon failed: {0}")]
    Request(String),
    /// The daemon does not take its configuration.
    #[error("the daemon responded with {status}: {response}")]
    Refused {
        /// The status of its response.
        status: u16,
        /// The body of its response.
        response: String,
    },
    /// A thread could not be started.
    #[error("failed to start: {0}")]
    Start(#[from] io::Error),
}

impl WithExitCode for Error {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Invalid(_) => exit_code::USAGE,
            _ => exit_code::FAILURE,
        }
    }

    fn has_location(&self) -> bool {
        matches!(self, Self::Invalid(_))
    }
}

/// The time that the daemon has to read its configuration.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A problem or a warning, as JSON has it.
#[derive(Serialize)]
struct Finding {
    file: String,
    /// Counted from 1.
    line: Option<usize>,
    column: Option<usize>,
    path: Option<String>,
    message: String,
    severity: Severity,
    /// The same as text.
    #[serde(skip)]
    text: String,
}

#[derive(Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    Error,
    Warning,
    /// Nothing that could be done better.
    Note,
}

impl Finding {
    fn new(problem: &LocatedProblem, severity: Severity) -> Self {
        Self {
            file: problem.file.display().to_string(),
            line: Some(problem.position.line),
            column: Some(problem.position.column),
            path: Some(problem.path.clone()),
            message: problem.message.clone(),
            severity,
            text: problem.to_string(),
        }
    }

    /// A finding on the whole configuration in `file`.
    fn general(file: &Path, message: String, severity: Severity) -> Self {
        Self {
            file: file.display().to_string(),
            line: None,
            column: None,
            path: None,
            text: message.clone(),
            message,
            severity,
        }
    }
}

/// Checks configurations and prints problems to stderr. Returns the text for standard output, and the exit
/// code: that of bad usage if a configuration is invalid.
///
/// # Errors
/// If changes cannot be listed.
pub(crate) fn run(options: &Options) -> Result<(String, u8), Error> {
    let is_error = |finding: &Finding| match finding.severity {
        Severity::Error => true,
        Severity::Warning => options.strict,
        Severity::Note => false,
    };
    let mut findings = Vec::new();
    let mut text = String::new();
    for file in &options.files {
        match config::read(file) {
            Ok(mut config) => {
                if let Some(shard) = options.shard {
                    config.retain_shard(shard);
                }
                let warnings = warnings(file, &config);
                let is_bad = warnings.iter().any(&is_error);
                findings.extend(warnings);
                if is_bad {
                    continue;
                }
                let monitors = counted(config.monitors.len(), "monitor");
                let _ = writeln!(text, "{} is valid: {monitors}", file.display());
                if let Some(other) = &options.diff {
                    text += &difference(&config, other, options.shard)?;
                }
            }
            Err(invalid) => findings.extend(problems(file, &invalid)),
        }
    }
    let is_bad = findings.iter().any(is_error);
    match options.output {
        Output::Text => {
            let mut messages = String::new();
            for finding in findings {
                let prefix = match finding.severity {
                    Severity::Error => "",
                    Severity::Warning => "warning: ",
                    Severity::Note => "note: ",
                };
                let _ = writeln!(messages, "{prefix}{}", finding.text);
            }
            // If stderr is closed, the exit code has to do.
            let _ = io::stderr().write_all(messages.as_bytes());
        }
        Output::Json => {
            let findings = serde_json::to_string_pretty(&findings);
            text = findings.expect("text and numbers can be written as JSON") + "\n";
        }
    }
    Ok((
        text,
        if is_bad {
            exit_code::USAGE
        } else {
            exit_code::SUCCESS
        },
    ))
}

fn problems(file: &Path, invalid: &Invalid) -> Vec<Finding> {
    let listed = invalid.problems().iter();
    let mut findings: Vec<_> = listed
        .map(|problem| Finding::new(problem, Severity::Error))
        .collect();
    if invalid.more() > 0 {
        let more = format!("and {}", counted(invalid.more(), "more problem"));
        let mut finding = Finding::general(file, more, Severity::Error);
        finding.text = format!("{}: {}", file.display(), finding.message);
        findings.push(finding);
    }
    findings
}

/// Settings that are probably not meant, and what keeps monitors from checking anything on this machine: the
/// configuration may be for another one.
fn warnings(file: &Path, config: &Config) -> Vec<Finding> {
    let warnings = config.warnings.iter();
    let warnings = warnings.map(|warning| {
        let severity = match warning.kind {
            WarningKind::Suspicious | WarningKind::ValidateOnly => Severity::Warning,
            WarningKind::Note => Severity::Note,
        };
        Finding::new(&warning.problem, severity)
    });
    let missing = missing_prerequisites(&config.jobs(&Net::system()));
    let missing = missing.into_iter().map(|(missing, monitors)| {
        let monitors = counted(monitors, "monitor");
        let message = format!("{monitors} will always fail on this machine: {missing}");
        Finding::general(file, message, Severity::Warning)
    });
    warnings.chain(missing).collect()
}

/// Returns what would change: from the configuration in the file `other`, or from what the daemon at the URL
/// `other` runs, by the file that it has itself.
fn difference(config: &Config, other: &str, shard: Option<Shard>) -> Result<String, Error> {
    if other.starts_with("http://") || other.starts_with("https://") {
        return fetch_dry_run(other);
    }
    let mut old = config::read(Path::new(other)).map_err(Error::Invalid)?;
    if let Some(shard) = shard {
        old.retain_shard(shard);
    }
    let names: Vec<_> = config.fingerprints().map(|(name, _)| name).collect();
    let mut summary = ConfigDiff::new(old.fingerprints(), config.fingerprints()).describe(&names);
    let restart_required = old
        .restart_only_keys
        .changed_keys(&config.restart_only_keys);
    if !restart_required.is_empty() {
        let keys = restart_required.join(", ");
        let _ = writeln!(summary, "restart required for {keys}");
    }
    Ok(summary)
}

/// Returns what the daemon at `url` would change if it read its configuration now.
fn fetch_dry_run(url: &str) -> Result<String, Error> {
    let mut url = Url::parse(url).map_err(|error| Error::Request(error.to_string()))?;
    url.set_path("/-/reload");
    url.set_query(Some("dry_run=true"));
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(async {
        let silent =
            |_| Error::Request(format!("no answer within {} s", REQUEST_TIMEOUT.as_secs()));
        let options = FetchOptions {
            tls: &tls::Settings::default(),
            versions: OfferedVersions::Http1,
            proxies: None,
            unix_socket: None,
        };
        let answer = daemon_request::send(Method::POST, url, options);
        timeout(REQUEST_TIMEOUT, answer).await.map_err(silent)
    });
    let (status, answer) = answer?.map_err(|failure| Error::Request(failure.error.into()))?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    if status.is_success() {
        Ok(answer)
    } else {
        let status = status.as_u16();
        Err(Error::Refused {
            status,
            response: answer,
        })
    }
}
