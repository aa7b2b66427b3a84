//! Starts the log: from the settings to the subscriber of the process.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd},
    str::FromStr,
};

use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer, Registry,
    filter::Targets,
    fmt::{self, MakeWriter},
    layer::{Identity, SubscriberExt},
};

use super::{DateFormat, Template, TemplateError, filter, render::Renderer, writer::Logging};

/// Settings of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The most verbose level that is logged, unless `RUST_LOG` is set.
    pub level: LevelFilter,
    /// The format of lines.
    pub format: Format,
    /// The format of `%(asctime)s`, if it is not the default of Python's `logging`.
    pub(crate) date_format: Option<DateFormat>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            level: LevelFilter::INFO,
            format: Format::default(),
            date_format: None,
        }
    }
}

/// The format of lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// A template of Python's `logging`, times local.
    Template(Template),
    /// One JSON object a line, times in UTC.
    Json,
    /// `key=value` pairs, times in UTC.
    Logfmt,
}

impl Default for Format {
    fn default() -> Self {
        Self::Template(Template::default())
    }
}

impl Format {
    /// Returns true if lines have `%(asctime)s`.
    #[must_use]
    pub(crate) fn has_asctime(&self) -> bool {
        match self {
            Self::Template(template) => template.has_asctime(),
            Self::Json | Self::Logfmt => false,
        }
    }
}

impl FromStr for Format {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        match text {
            "json" => Ok(Self::Json),
            "logfmt" => Ok(Self::Logfmt),
            template => template.parse().map(Self::Template),
        }
    }
}

/// The stream that lines go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Standard output, for the daemon.
    Stdout,
    /// Standard error, if standard output is for results.
    Stderr,
}

impl Output {
    /// The stream as a file: unbuffered, and without the lock that a `print!` elsewhere could
    /// hold for as long as the stream is blocked.
    fn open(self) -> io::Result<File> {
        let duplicate = |stream: BorrowedFd<'_>| stream.try_clone_to_owned().map(File::from);
        match self {
            Self::Stdout => duplicate(io::stdout().as_fd()),
            Self::Stderr => duplicate(io::stderr().as_fd()),
        }
    }
}

/// Starts logging all events of the process to the output.
///
/// # Errors
///
/// If the process logs already, or has no descriptor or thread left for it.
pub(crate) fn start(settings: &Settings, output: Output) -> io::Result<Logging> {
    start_with(settings, output, Identity::new())
}

/// The same with a layer that receives each event that is logged.
///
/// # Errors
///
/// If the process logs already, or has no descriptor or thread left for it.
pub(crate) fn start_with<L>(settings: &Settings, output: Output, layer: L) -> io::Result<Logging>
where
    L: Layer<Registry> + Send + Sync,
{
    let (filter, problem) = match filter::from_environment() {
        Ok(asked) => (asked, None),
        Err(problem) => (None, Some(problem)),
    };
    let filter = filter.unwrap_or_else(|| filter::from_level(settings.level));
    let logging = Logging::new(output.open()?)?;
    let renderer = Renderer::new(settings);
    let subscriber = filtered(filter, renderer, logging.queue(), layer);
    tracing::subscriber::set_global_default(subscriber).map_err(io::Error::other)?;
    if let Some(problem) = problem {
        tracing::warn!(error = %problem, "Invalid RUST_LOG ignored; using log.level");
    }
    Ok(logging)
}

/// The subscriber that [`start`] installs, without the environment and the thread: every line is one `write`
/// to the sink, within the call that emits the event.
#[cfg(test)]
pub(crate) fn subscriber<W>(settings: &Settings, sink: W) -> impl Subscriber + Send + Sync + use<W>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = filter::from_level(settings.level);
    let renderer = Renderer::new(settings);
    filtered(filter, renderer, sink, Identity::new())
}

fn filtered<W, L>(
    filter: Targets,
    renderer: Renderer,
    sink: W,
    layer: L,
) -> impl Subscriber + Send + Sync + use<W, L>
where
    L: Layer<Registry> + Send + Sync,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = fmt::layer()
        .event_format(renderer)
        // Its own message about an event would hold the fields unescaped.
        .log_internal_errors(false)
        .with_writer(sink);
    Registry::default().with(layer).with(lines).with(filter)
}

#[cfg(test)]
pub(super) mod tests {
    use std::{io::Read, sync::Arc};

    use super::*;
    use crate::logging::{parse_level, template};

    /// The lines of the events that `emit` emits.
    pub(in crate::logging) fn lines(
        filter: Targets,
        renderer: Renderer,
        emit: impl FnOnce(),
    ) -> String {
        let (mut reader, writer) = io::pipe().expect("a test has descriptors to spare");
        let subscriber = filtered(filter, renderer, Arc::new(writer), Identity::new());
        tracing::subscriber::with_default(subscriber, emit);
        let mut lines = String::new();
        reader
            .read_to_string(&mut lines)
            .expect("a pipe with a closed end is read to its end");
        lines
    }

    #[track_caller]
    fn check(level: &str, expected: &str) {
        let (mut reader, writer) = io::pipe().expect("a test has descriptors to spare");
        let settings = Settings {
            level: parse_level(level).expect("the test's level is known"),
            format: "%(levelname)s "
                .parse()
                .expect("the test's format is valid"),
            date_format: None,
        };
        tracing::subscriber::with_default(subscriber(&settings, Arc::new(writer)), || {
            tracing::trace!("");
            tracing::debug!("");
            tracing::info!("");
            tracing::info!(target: "hyper_util::client", "");
            tracing::warn!("");
            tracing::error!("");
        });
        let mut lines = String::new();
        reader
            .read_to_string(&mut lines)
            .expect("a pipe with a closed end is read to its end");
        assert_eq!(lines.replace('\n', ""), expected, "{level}");
    }

    #[test]
    fn a_level_includes_the_more_severe_ones() {
        check("TRACE", "TRACE DEBUG INFO WARNING ERROR ");
        check("DEBUG", "DEBUG INFO WARNING ERROR ");
        check("INFO", "INFO WARNING ERROR ");
        check("WARNING", "WARNING ERROR ");
        check("ERROR", "ERROR ");
        check("CRITICAL", "");
    }

    #[test]
    fn a_format_is_json_or_logfmt_or_a_template() {
        assert_eq!("json".parse(), Ok(Format::Json));
        assert_eq!("logfmt".parse(), Ok(Format::Logfmt));
        assert_eq!(template::DEFAULT.parse(), Ok(Format::default()));
        assert_eq!("JSON".parse::<Format>(), Err(TemplateError::NoPlaceholder));
    }
}
