//! Imports a configuration, validates the result, and prints it with the report.

use std::{
    collections::HashMap,
    fmt::Write as _,
    io::{self, Write},
    mem,
    path::Path,
};

use super::{
    blackbox, cloudprober,
    configuration::Configuration,
    context::Context,
    gatus,
    options::{Options, Source},
    report::Outcome,
    sources::ImportError,
    uptime_kuma,
};
use crate::{
    config::{escape_references, problems_of_draft},
    exit_code::{self, WithExitCode},
    value::{EntryPart, Segment},
};

/// Why an import printed nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The files cannot be read.
    #[error("{0}")]
    Import(#[from] ImportError),
    /// The configuration cannot be printed.
    #[error("failed to print the configuration: {0}")]
    Print(#[from] io::Error),
}

impl WithExitCode for Error {
    fn exit_code(&self) -> u8 {
        exit_code::USAGE
    }
}

/// Imports what `options` say; prints the configuration to `out` and the report to `notes`.
///
/// Returns whether nothing was left out, or that does not matter.
///
/// # Errors
/// Where a file cannot be read, or the configuration cannot be printed.
pub fn run(options: &Options, out: &mut impl Write, notes: &mut impl Write) -> Result<bool, Error> {
    let mut context = Context::new(options.include_secrets);
    let source = match &options.source {
        Source::Blackbox {
            modules,
            prometheus,
        } => {
            blackbox::import(
                &blackbox::Files {
                    modules: modules.clone(),
                    prometheus: prometheus.clone(),
                },
                &mut context,
            )?;
            "blackbox_exporter"
        }
        Source::Gatus { path } => {
            gatus::import(path, &mut context)?;
            "Gatus"
        }
        Source::Cloudprober { path } => {
            cloudprober::import(path, &mut context)?;
            "Cloudprober"
        }
        Source::UptimeKuma { path } => {
            uptime_kuma::import(path, &mut context)?;
            "Uptime Kuma"
        }
    };
    let comment = format!(
        "Imported from {source} by monitoringdaemon. Check it with `monitoringdaemon validate`."
    );
    context.configuration.comments.insert(0, comment);
    let has_references = matches!(
        options.source,
        Source::Gatus { .. } | Source::Cloudprober { .. }
    );
    if !has_references {
        escape(&mut context.configuration);
    }
    remove_invalid(&mut context)?;
    out.write_all(context.configuration.to_string().as_bytes())?;
    out.flush()?;
    // The report is a courtesy: the exit code says the most important part of it.
    let _ = notes.write_all(describe(&context).as_bytes());
    Ok(options.lenient || context.report.count(Outcome::LeftOut) == 0)
}

/// Escapes texts that would be references to variables.
fn escape(configuration: &mut Configuration) {
    for section in ["maintenance", "templates", "discovery", "monitors"] {
        for entry in configuration.section_mut(section).into_iter().flatten() {
            for (_, node) in &mut entry.keys.0 {
                escape_references(node);
            }
        }
    }
}

/// Removes the entries that the daemon would refuse, and says so.
fn remove_invalid(context: &mut Context) -> Result<(), ImportError> {
    // A template that is removed may be missed by another entry.
    for _ in 0..10 {
        let text = context.configuration.to_string();
        let problems = problems_of_draft(&text, Path::new("")).map_err(|error| {
            ImportError(format!("the imported configuration is not valid: {error}"))
        })?;
        if problems.is_empty() {
            return Ok(());
        }
        let mut refused: HashMap<(String, String), String> = HashMap::new();
        for problem in problems {
            if let [
                Segment::Entry { name: section, .. },
                Segment::Entry { name, .. },
                ..,
            ] = &problem.path.segments[..]
            {
                let entry = refused.entry((section.clone(), name.clone()));
                entry.or_insert_with(|| format!("{}: {}", problem.path, problem.message));
            }
        }
        let mut removed = false;
        for section in ["maintenance", "templates", "discovery", "monitors"] {
            let Some(entries) = context.configuration.section_mut(section) else {
                continue;
            };
            let (wrong, right): (Vec<_>, Vec<_>) = mem::take(entries)
                .into_iter()
                .partition(|entry| refused.contains_key(&(section.to_owned(), entry.name.clone())));
            *entries = right;
            for entry in wrong {
                removed = true;
                let why = &refused[&(section.to_owned(), entry.name)];
                let detail = format!("not valid here: {why}");
                let remark = format!("Left out: {detail}");
                context.configuration.remarks.push(remark);
                context.report.left_out(&entry.origin, detail);
            }
        }
        if !removed {
            break;
        }
    }
    Err(ImportError(
        "the imported configuration is too large or not valid".to_owned(),
    ))
}

/// The report, and the variables that the daemon needs.
fn describe(context: &Context) -> String {
    let mut text = context.report.describe(&context.sources);
    let variables = context.secrets.variables();
    if variables.is_empty() {
        return text;
    }
    text.push_str("\nSet these environment variables for the daemon:\n");
    let places: Vec<_> = variables
        .iter()
        .map(|(_, path)| (path, EntryPart::Key))
        .collect();
    for ((name, path), position) in variables.iter().zip(context.sources.locate(&places)) {
        let _ = writeln!(text, "  {name}  from {position}: {path}");
    }
    text
}
